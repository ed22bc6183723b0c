/* SPDX-License-Identifier: Apache-2.0 */
#include "manifest/import_rules.h"

#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include <utf8proc.h>

#include "manifest/export.h"
#include "manifest/history.h"
#include "util/xml.h"
#include "util/cleanup.h"
#include "util/io.h"
#include "util/units.h"

#define MAX_DEPTH 200

struct import_path {
	char *path;               /* owned; as it is written */
	char *normal;             /* owned; its composed form, what makes two names the same */
	struct import_path *next; /* of the same hash */
	bool folder, file;        /* neither: a link */
};

void import_rules_init(struct import_rules *rules, const struct import_limits *limits)
{
	*rules = (struct import_rules){ .limits = *limits };
	table_init(&rules->paths);
}

void import_rules_fini(struct import_rules *rules)
{
	struct import_path *path, *next;
	size_t at = 0;
	uint64_t key;
	void *value;

	while (table_next(&rules->paths, &at, &key, &value)) {
		for (path = value; path; path = next) {
			next = path->next;
			free(path->path);
			free(path->normal);
			free(path);
		}
	}
	table_fini(&rules->paths);
	free(rules->index);
	rules->index = NULL;
}

static int refuse(char **ret_why, const char *format, ...) __attribute__((format(printf, 2, 3)));

static int refuse(char **ret_why, const char *format, ...)
{
	va_list ap;
	int n;

	va_start(ap, format);
	n = vasprintf(ret_why, format, ap);
	va_end(ap);
	if (n >= 0)
		return -EPERM;
	*ret_why = NULL;
	return -ENOMEM;
}

/* Names --------------------------------------------------------------------------------- */

/* "C:\..." and "C:/..." are absolute where they come from. */
static bool has_drive(const char *path)
{
	char letter = (char)(path[0] | 0x20);

	return letter >= 'a' && letter <= 'z' && path[1] == ':' &&
	       (path[2] == '/' || path[2] == '\\');
}

/* Why a part of a path is none for us; NULL: it is one. */
static const char *part_why(const char *part, size_t length)
{
	if (length == 2 && memcmp(part, "..", 2) == 0)
		return "it leads out of the folder (..)";
	if (length > 255)
		return "a name in it is longer than 255 bytes";
	if (length >= strlen(IMPORT_PARTIAL_START) + strlen(IMPORT_PARTIAL_END) &&
	    strncmp(part, IMPORT_PARTIAL_START, strlen(IMPORT_PARTIAL_START)) == 0 &&
	    strncmp(part + length - strlen(IMPORT_PARTIAL_END), IMPORT_PARTIAL_END,
		    strlen(IMPORT_PARTIAL_END)) == 0)
		return "files on their way in are called so";
	/* volume/tree.h, sync/record.h */
	if (length >= 8 && strncmp(part, ".mediafs", 8) == 0 && (length == 8 || part[8] == '-'))
		return "names such as .mediafs are for mediafs itself";
	return NULL;
}

/* Without "." and doubled slashes. 0, *ret_clean owned by the caller, "" for the top itself. */
static int clean_path(const char *path, char **ret_clean, char **ret_why)
{
	cleanup_free char *clean = malloc(strlen(path) + 1);
	unsigned depth = 0;
	char *to = clean;

	if (!clean)
		return -ENOMEM;
	if (path[0] == '/' || has_drive(path))
		return refuse(ret_why, "its path is absolute");
	if (strchr(path, '\\'))
		return refuse(ret_why, "a backslash in its name");
	if (!xml_can_carry(path))
		return refuse(ret_why, "its name is no UTF-8, or has control characters");
	while (*path) {
		size_t length = strcspn(path, "/");
		const char *why = part_why(path, length);

		if (why)
			return refuse(ret_why, "%s", why);
		if (length > 0 && !(length == 1 && *path == '.')) {
			if (to != clean)
				*to++ = '/';
			memcpy(to, path, length);
			to += length;
			depth++;
		}
		path += length + (path[length] == '/');
	}
	*to = '\0';
	if (to - clean > 4000 || depth > MAX_DEPTH)
		return refuse(ret_why, "its path is too long");
	*ret_clean = take_ptr(clean);
	return 0;
}

static struct import_path *find(const struct import_rules *rules, const char *normal)
{
	struct import_path *path = table_get(&rules->paths, history_key(normal));

	while (path && strcmp(path->normal, normal) != 0)
		path = path->next;
	return path;
}

/* Caller frees; NULL without memory, or for what utf8proc does not take for UTF-8. */
static char *normalise(const char *path)
{
	return (char *)utf8proc_NFC((const utf8proc_uint8_t *)path);
}

/* Let the archive have @path. */
static int enter(struct import_rules *rules, const char *path, enum member_kind kind,
		 char **ret_why)
{
	cleanup_free char *normal = normalise(path);
	struct import_path *had, *entry;
	uint64_t key;

	if (!normal)
		return -ENOMEM;
	had = find(rules, normal);
	if (had && strcmp(had->path, path) != 0)
		return refuse(ret_why,
			      "it and %s differ only in how their letters are written: many "
			      "systems take them for one",
			      had->path);
	if (had && had->folder && kind == MEMBER_FOLDER)
		return 0;
	if (had)
		return refuse(ret_why, "it is in the archive twice");
	entry = calloc(1, sizeof(*entry));
	if (!entry)
		return -ENOMEM;
	key = history_key(normal);
	entry->path = strdup(path);
	entry->folder = kind == MEMBER_FOLDER;
	entry->file = kind == MEMBER_FILE;
	entry->next = table_get(&rules->paths, key);
	if (!entry->path || table_put(&rules->paths, key, entry) < 0) {
		free(entry->path);
		free(entry);
		return -ENOMEM;
	}
	entry->normal = take_ptr(normal);
	return 0;
}

static int enter_with_parents(struct import_rules *rules, const char *path, enum member_kind kind,
			      char **ret_why)
{
	cleanup_free char *parent = strdup(path);
	int r = parent ? 0 : -ENOMEM;

	for (char *slash = parent ? strchr(parent, '/') : NULL; r == 0 && slash;
	     slash = strchr(slash + 1, '/')) {
		*slash = '\0';
		r = enter(rules, parent, MEMBER_FOLDER, ret_why);
		*slash = '/';
	}
	return r < 0 ? r : enter(rules, path, kind, ret_why);
}

/* Links --------------------------------------------------------------------------------- */

/*
 * Symbolic links may lead up only at their beginning, and not above the top: a ".." later may come
 * behind another link and lead anywhere.
 */
static int check_link(const char *path, const char *target, char **ret_why)
{
	bool leading = true;
	int depth = 0;

	if (!target || !*target || target[0] == '/' || has_drive(target) || strchr(target, '\\'))
		return refuse(ret_why, "a link to an absolute path, or to none");
	if (!xml_can_carry(target) || strlen(target) > 4000)
		return refuse(ret_why, "a link to what is no path");
	for (; *path; path++)
		depth += *path == '/';
	while (*target) {
		size_t length = strcspn(target, "/");
		bool up = length == 2 && memcmp(target, "..", 2) == 0;

		if (up && (!leading || depth-- == 0))
			return refuse(ret_why, "a link that leads out of the folder");
		leading = leading && (up || length == 0 || (length == 1 && *target == '.'));
		target += length + (target[length] == '/');
	}
	return 0;
}

const char *import_rules_target(const struct import_rules *rules, const char *target)
{
	cleanup_free char *clean = NULL;
	cleanup_free char *normal = NULL;
	cleanup_free char *why = NULL;
	const struct import_path *path;

	if (!target || clean_path(target, &clean, &why) < 0)
		return NULL;
	normal = normalise(clean);
	path = normal ? find(rules, normal) : NULL;
	return path && path->file && strcmp(path->path, clean) == 0 ? path->path : NULL;
}

/* The whole ----------------------------------------------------------------------------- */

static int check_kind(const struct import_rules *rules, const struct member *member,
		      const char *path, char **ret_why)
{
	if (member->encrypted)
		return refuse(ret_why, "it is encrypted: unpack it by hand");
	switch (member->kind) {
	case MEMBER_FILE:
		if (member->mode & (S_ISUID | S_ISGID))
			return refuse(ret_why, "it is a program with the rights of its owner "
					       "(set-user-ID or set-group-ID)");
		return 0;
	case MEMBER_FOLDER:
		return 0;
	case MEMBER_LINK:
		return check_link(path, member->target, ret_why);
	case MEMBER_HARD_LINK:
		if (!import_rules_target(rules, member->target))
			return refuse(ret_why, "a link to what is no file before it");
		return 0;
	default:
		return refuse(ret_why, "a device, a pipe or a socket");
	}
}

/* The first member of an export names the last, as export_verify.c has it. */
static int note_export(struct import_rules *rules, const struct member *member, const char *path,
		       char **ret_why)
{
	size_t start = strlen(EXPORT_MANIFEST_START), end = strlen(EXPORT_MANIFEST_END);
	size_t length = strlen(path);

	if (rules->ended)
		return refuse(ret_why, "it stands behind the index of the export");
	if (rules->index && strcmp(path, rules->index) == 0)
		rules->ended = true;
	if (rules->members > 1 || !member->has_digest || length < start + end ||
	    strncmp(path, EXPORT_MANIFEST_START, start) != 0 ||
	    strcmp(path + length - end, EXPORT_MANIFEST_END) != 0)
		return 0;
	if (asprintf(&rules->index, EXPORT_INDEX_START "%.*s" EXPORT_INDEX_END,
		     (int)(length - start - end), path + start) < 0) {
		rules->index = NULL;
		return -ENOMEM;
	}
	return 0;
}

static int too_large(const struct import_rules *rules, uint64_t bytes, uint64_t raw, char **ret_why)
{
	char most[32];

	if (bytes > rules->limits.max_bytes)
		return refuse(ret_why, "with it the archive is larger than %s (--max-size)",
			      format_bytes(rules->limits.max_bytes, most, sizeof(most)));
	if (raw && bytes > IMPORT_RATIO_FROM && bytes / raw >= rules->limits.max_ratio)
		return refuse(ret_why,
			      "with it the archive unpacks to more than %u times its size "
			      "(--max-ratio)",
			      rules->limits.max_ratio);
	return 0;
}

int import_rules_check(struct import_rules *rules, const struct member *member, char **ret_path,
		       char **ret_why)
{
	uint64_t size =
		member->kind == MEMBER_FILE && member->size > 0 ? (uint64_t)member->size : 0;
	cleanup_free char *path = NULL;
	int r = clean_path(member->path, &path, ret_why);

	if (r < 0)
		return r;
	if (!*path)
		return member->kind == MEMBER_FOLDER ? 0 : refuse(ret_why, "it has no name");
	if (++rules->members > rules->limits.max_members)
		return refuse(ret_why, "more than %" PRIu64 " members (--max-files)",
			      rules->limits.max_members);
	r = check_kind(rules, member, path, ret_why);
	if (r == 0)
		r = enter_with_parents(rules, path, member->kind, ret_why);
	if (r == 0)
		r = note_export(rules, member, path, ret_why);
	/* What it says of its size; what it has is counted as it comes. */
	if (r == 0)
		r = too_large(rules, size > UINT64_MAX / 2 ? size : rules->bytes + size,
			      rules->raw_bytes, ret_why);
	if (r < 0)
		return r;
	*ret_path = take_ptr(path);
	return 1;
}

int import_rules_grow(struct import_rules *rules, uint64_t length, uint64_t raw, char **ret_why)
{
	rules->bytes += length;
	return too_large(rules, rules->bytes, raw, ret_why);
}

int import_rules_end(const struct import_rules *rules, char **ret_why)
{
	if (rules->members == 0)
		return refuse(ret_why, "there is nothing in it");
	if (rules->index && !rules->ended)
		return refuse(ret_why,
			      "it is an export of mediafs and not whole: its index (%s) is "
			      "not there",
			      rules->index);
	return 0;
}
