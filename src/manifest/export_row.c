/* SPDX-License-Identifier: Apache-2.0 */
#include "manifest/export.h"

#include <errno.h>

#include "util/json.h"

static const char *type_name(enum member_kind kind)
{
	if (kind == MEMBER_FOLDER)
		return "folder";
	return kind == MEMBER_LINK ? "link" : "file";
}

int export_put_row(FILE *out, const struct member *member, uint64_t offset)
{
	cleanup_json json_t *row =
		json_pack("{s:o,s:s,s:i,s:I,s:I}", "path", json_path(member->path), "type",
			  type_name(member->kind), "mode", (int)member->mode, "mtime_ns",
			  (json_int_t)member->mtime_ns, "offset", (json_int_t)offset);
	char hex[DIGEST_HEX_SIZE];
	int r = row ? 0 : -1;

	if (r == 0 && member->kind == MEMBER_FILE)
		r = json_object_set_new(row, "size", json_integer(member->size));
	if (r == 0 && member->has_digest) {
		digest_hex(&member->digest, hex);
		r = json_object_set_new(row, "xxh128", json_string(hex));
	}
	if (r == 0 && member->target)
		r = json_object_set_new(row, "target", json_path(member->target));
	if (r == 0)
		r = json_dumpf(row, out, JSON_COMPACT);
	return r < 0 ? -ENOMEM : 0;
}

void export_last_line(const struct digest *archive, const struct digest *index,
		      char ret_line[EXPORT_LAST_SIZE])
{
	char first[DIGEST_HEX_SIZE], second[DIGEST_HEX_SIZE];

	digest_hex(archive, first);
	digest_hex(index, second);
	(void)snprintf(ret_line, EXPORT_LAST_SIZE,
		       "{\"archive_xxh128\":\"%s\",\"index_xxh128\":\"%s\"}\n", first, second);
}
