/* SPDX-License-Identifier: Apache-2.0 */
#include "manifest/sums.h"

/*
 * A line is "VALUE  NAME" or "VALUE *NAME" (coreutils), "WORD (NAME) = VALUE" (BSD, xxhsum --tag),
 * or in a file for one other file the value alone. Blank lines and those with '#' or ';' say
 * nothing. Sources: md5sum(1), "The checksum program" of coreutils' manual, xxhsum(1).
 */
#include <ctype.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "util/cleanup.h"
#include "util/io.h"

#define LINE_MAX_BYTES 8192

struct sums {
	enum hash_format format;
	struct list *list;
	char *stem; /* owned; the name of the file without its ending */
	const char *why;
};

bool sums_format(const char *name, enum hash_format *ret_format)
{
	static const struct {
		const char *ending;
		enum hash_format format;
	} endings[] = {
		{ ".md5", HASH_MD5 },       { ".sha1", HASH_SHA1 }, { ".xxh64", HASH_XXH64 },
		{ ".xxh128", HASH_XXH128 }, { ".xxh3", HASH_XXH3 },
	};
	const char *dot = strrchr(name, '.');

	for (size_t i = 0; dot && name[0] != '.' && i < ARRAY_SIZE(endings); i++) {
		if (strcasecmp(dot, endings[i].ending) != 0)
			continue;
		*ret_format = endings[i].format;
		return true;
	}
	return false;
}

static int refuse(struct sums *sums, const char *why)
{
	sums->why = why;
	return -EPROTO;
}

static int add(struct sums *sums, const char *name, const char *value)
{
	struct list_hash hash = { .format = sums->format, .date_ns = NO_TIME };
	struct list_record *record;

	if (hash_parse(sums->format, value, hash.bytes) < 0)
		return refuse(sums, "there is no value of that kind in it");
	while (strncmp(name, "./", 2) == 0)
		name += 2;
	if (!path_ok(name))
		return refuse(sums, "the name leads out of the folder, or is none");
	record = list_add(sums->list);
	if (!record)
		return -ENOMEM;
	record->path = strdup(name);
	return record->path ? list_add_hash(&record->hashes, &record->hash_count, &hash) : -ENOMEM;
}

/* Programs for Windows write '\' between folders. */
static void turn_slashes(char *name)
{
	if (strchr(name, '/'))
		return;
	for (char *at = strchr(name, '\\'); at; at = strchr(at, '\\'))
		*at = '/';
}

static int read_line(struct sums *sums, char *line)
{
	char *equals = strstr(line, ") = "), *open = strchr(line, '('), *name;
	size_t value;

	if (*line == '\0' || *line == '#' || *line == ';')
		return 0;
	if (equals && open && open < equals) {
		*equals = '\0';
		turn_slashes(open + 1);
		return add(sums, open + 1, equals + 4);
	}
	value = strcspn(line, " \t");
	if (!line[value])
		return sums->list->record_count ? refuse(sums, "there is no name in it")
						: add(sums, sums->stem, line);
	name = line + value + 1;
	line[value] = '\0';
	name += *name == ' ' || *name == '*';
	if (*line == '\\')
		return refuse(sums, "names with line ends or backslashes are not understood");
	turn_slashes(name);
	return add(sums, name, line);
}

int sums_read(const char *name, const char *bytes, size_t length, struct list *ret_list,
	      const char **ret_why, unsigned long *ret_line)
{
	cleanup_free char *line = malloc(LINE_MAX_BYTES);
	cleanup_free char *stem = strdup(name);
	struct sums sums = { .list = ret_list, .stem = stem };
	const char *end = bytes + length;
	int r = 0;

	*ret_list = (struct list){ .kind = LIST_LEGACY, .created_ns = NO_TIME };
	*ret_line = 0;
	if (!line || !stem)
		return -ENOMEM;
	if (!sums_format(name, &sums.format))
		return -EINVAL;
	*strrchr(stem, '.') = '\0';
	for (const char *at = bytes; r == 0 && at < end;) {
		const char *next = memchr(at, '\n', (size_t)(end - at));
		size_t size = (size_t)((next ? next : end) - at);

		++*ret_line;
		if (size >= LINE_MAX_BYTES || memchr(at, '\0', size)) {
			r = refuse(&sums, "it is no list of checksums");
			break;
		}
		while (size && isspace((unsigned char)at[size - 1]))
			size--;
		memcpy(line, at, size);
		line[size] = '\0';
		r = read_line(&sums, line);
		at = next ? next + 1 : end;
	}
	if (r == 0 && !ret_list->record_count)
		r = refuse(&sums, "it is empty");
	*ret_why = sums.why;
	return r;
}
