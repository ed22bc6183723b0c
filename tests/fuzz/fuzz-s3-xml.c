/* SPDX-License-Identifier: Apache-2.0 */
#include <stdint.h>

#include "tier/s3_xml.h"

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t length);

/* Touch every byte that is handed out. */
static int look(void *arg, const char *path, const char *text)
{
	size_t *sum = arg;

	while (*path)
		*sum += (unsigned char)*path++;
	while (*text)
		*sum += (unsigned char)*text++;
	return 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t length)
{
	size_t sum = 0;

	(void)s3_xml_read(bytes, length, look, &sum);
	return 0;
}
