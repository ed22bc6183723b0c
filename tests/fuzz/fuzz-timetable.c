/* SPDX-License-Identifier: Apache-2.0 */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "util/timetable.h"

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t length);

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t length)
{
	char *text = strndup((const char *)bytes, length);
	struct timetable table;
	uint64_t per_second;

	if (text && timetable_parse(text, &table) == 0)
		(void)timetable_at(&table, 0, &per_second);
	free(text);
	return 0;
}
