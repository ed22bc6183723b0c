/* SPDX-License-Identifier: Apache-2.0 */
#include <stdint.h>
#include <stdlib.h>

#include "probe/sidecar.h"

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t length);

/* What is found can always be told as JSON. */
int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t length)
{
	json_t *fields = json_object();
	char *text;

	(void)sidecar_read(bytes, length, fields);
	text = json_dumps(fields, JSON_COMPACT);
	if (!text)
		abort();
	free(text);
	json_decref(fields);
	return 0;
}
