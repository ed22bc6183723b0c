/* SPDX-License-Identifier: Apache-2.0 */
#include <stdint.h>
#include <stdlib.h>

#include "store/settings.h"

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t length);

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t length)
{
	struct settings *settings = NULL;
	char *message = NULL;

	if (settings_parse((const char *)bytes, length, &settings, &message) == 0)
		settings_free(settings);
	free(message);
	return 0;
}
