/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * Record: one line of JSON in a journal segment. Pure; what is read is hostile until checked.
 *
 *   verb    "put" or "del"
 *   path    relative, json_path(); no part of it ".mediafs" or ".mediafs-..."
 *   base    [[site UUID, record number], ...]: the versions that this record replaces
 * and of a put
 *   kind    "file", "dir", "link"
 *   mode    permissions (no set-id bits for files)
 *   sealed  true for a folder whose contents stay as they are; absent otherwise
 *   mtime   ns since 1970
 *   size    files: bytes
 *   digest  files: XXH3-128, 32 hex digits
 *   map     files: XXH3-64 of every block, 16 hex digits each
 *   target  links
 *   tier    files: UUID of the tier that has the bytes; absent with
 *   key       its key there, when none has yet ("announced")
 * Members unknown to us are ignored; a verb or kind unknown to us is refused.
 */
#include "catalog/sync.h"

#define RECORD_BASE_MAX 4096u
#define RECORD_FILE_MODES 0777u
#define RECORD_DIR_MODES 03777u /* besides VERSION_SEALED */
/* A map of 16 MiB of hashes: 8 TiB of file. */
#define RECORD_MAP_MAX (16u << 20)

/* A path that a record may name. */
bool record_path_ok(const char *path);

/* Whether a file or link of such a size can be told at all. */
bool record_body_ok(const struct version_body *body);

/* One line without newline. Caller frees. -EINVAL for a record that record_read() would refuse. */
int record_write(const struct sync_record *record, char **ret_line);

/* -EINVAL with *ret_why (static) when the line is none that we accept. */
int record_read(const char *line, size_t length, struct sync_record *ret_record,
		const char **ret_why);
