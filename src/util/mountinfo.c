/* SPDX-License-Identifier: Apache-2.0 */
#include "util/mountinfo.h"

#include <stddef.h>
#include <string.h>

static bool is_octal(char c)
{
	return c >= '0' && c <= '7';
}

/* Blank, tab, newline and backslash are written as \ooo. In place. */
static void unescape(char *text)
{
	char *to = text;

	for (const char *from = text; *from; to++) {
		if (from[0] == '\\' && from[1] <= '3' && is_octal(from[1]) && is_octal(from[2]) &&
		    is_octal(from[3])) {
			*to = (char)((from[1] - '0') << 6 | (from[2] - '0') << 3 | (from[3] - '0'));
			from += 4;
		} else {
			*to = *from++;
		}
	}
	*to = '\0';
}

bool mountinfo_parse(char *line, struct mountinfo *ret_mount)
{
	struct mountinfo mount = { 0 };
	char *rest = line, *word;

	for (int field = 0; (word = strsep(&rest, " \n")); field++) {
		if (field == 2)
			mount.device = word;
		if (field == 4)
			mount.point = word;
		if (field > 5 && strcmp(word, "-") == 0)
			break;
	}
	mount.type = strsep(&rest, " \n");
	mount.source = strsep(&rest, " \n");
	if (!mount.source)
		return false;
	unescape(mount.point);
	unescape(mount.source);
	*ret_mount = mount;
	return true;
}
