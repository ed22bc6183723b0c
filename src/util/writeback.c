/* SPDX-License-Identifier: Apache-2.0 */
#include "util/writeback.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "util/cleanup.h"
#include "util/io.h"

#define VMSTAT "/proc/vmstat"
#define VMSTAT_MAX_BYTES (64u << 10) /* Linux 6.18: 5 KiB */

/* The value in the line of @name. */
static bool find_pages(const char *text, const char *name, uint64_t *ret_pages)
{
	size_t length = strlen(name);

	for (const char *line = text; line; line = strchr(line, '\n')) {
		line += *line == '\n';
		if (strncmp(line, name, length) == 0 && line[length] == ' ')
			return sscanf(line + length, "%" SCNu64, ret_pages) == 1;
	}
	return false;
}

int writeback_parse(const char *text, uint64_t page_bytes, struct writeback *ret_writeback)
{
	uint64_t dirty, written, most, background;

	if (!find_pages(text, "nr_dirty", &dirty) || !find_pages(text, "nr_writeback", &written) ||
	    !find_pages(text, "nr_dirty_threshold", &most) ||
	    !find_pages(text, "nr_dirty_background_threshold", &background))
		return -EPROTO;
	/* Half way between the two. Source: Linux, mm/page-writeback.c, dirty_freerun_ceiling(). */
	*ret_writeback = (struct writeback){
		.unwritten_bytes = (dirty + written) * page_bytes,
		.holds_up_bytes = (most + background) / 2 * page_bytes,
	};
	return 0;
}

int writeback_get(struct writeback *ret_writeback)
{
	cleanup_free char *text = NULL;
	size_t length;
	int r = read_file(AT_FDCWD, VMSTAT, VMSTAT_MAX_BYTES, &text, &length);

	return r < 0 ? r : writeback_parse(text, (uint64_t)sysconf(_SC_PAGESIZE), ret_writeback);
}
