/* SPDX-License-Identifier: Apache-2.0 */
#include <string.h>

#include "sync/record.h"
#include "util/cleanup.h"

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t length);

/* What is taken is written so that it is read as the same: written twice, it is equal. */
int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t length)
{
	struct sync_record record = { 0 }, again = { 0 };
	cleanup_free char *line = NULL, *second = NULL;
	const char *why;

	if (record_read((const char *)bytes, length, &record, &why) < 0)
		return 0;
	if (record_write(&record, &line) < 0 || record_read(line, strlen(line), &again, &why) < 0 ||
	    record_write(&again, &second) < 0 || strcmp(line, second) != 0)
		abort();
	sync_record_fini(&record);
	sync_record_fini(&again);
	return 0;
}
