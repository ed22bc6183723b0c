/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * Import rules: which members of an archive may come in. An archive is hostile until each of its
 * members passed here. No I/O.
 */
#include "manifest/archive.h"
#include "util/table.h"

struct import_limits {
	uint64_t max_bytes; /* all files together, as they unpack */
	uint64_t max_members;
	unsigned max_ratio; /* of what unpacks to what lies there, once that is IMPORT_RATIO_FROM */
};

#define IMPORT_MEMBERS_DEFAULT 1000000u
#define IMPORT_RATIO_DEFAULT 100u

/* Small files may be packed as tightly as they like. */
#define IMPORT_RATIO_FROM ((uint64_t)64 << 20)

/*
 * How a file is called until its bytes are there and compared: these around 16 hex digits. What
 * ends so is never sent to a tier. No member may be called so.
 */
#define IMPORT_PARTIAL_START ".import-"
#define IMPORT_PARTIAL_END ".part"

struct import_path; /* one that the archive makes */

struct import_rules {
	struct import_limits limits;
	uint64_t raw_bytes; /* of the whole archive; 0: not known beforehand */
	struct table paths; /* struct import_path by hash of the normalised path, owned */
	uint64_t members, bytes;
	char *index; /* owned; of an export of ours: the member that must come last. NULL */
	bool ended;  /* that one came */
};

void import_rules_init(struct import_rules *rules, const struct import_limits *limits);
void import_rules_fini(struct import_rules *rules);

/*
 * May @member come in? 1: as *ret_path (relative, clean; caller frees); 0: it is the top folder
 * itself, nothing to do; -EPERM: *ret_why says why not, for a person (caller frees); -ENOMEM.
 */
int import_rules_check(struct import_rules *rules, const struct member *member, char **ret_path,
		       char **ret_why);

/*
 * @length more bytes came out of the @raw read so far. -EPERM when that is too much, as above.
 */
int import_rules_grow(struct import_rules *rules, uint64_t length, uint64_t raw, char **ret_why);

/* The archive ended: -EPERM, as above, when something has to come yet. */
int import_rules_end(const struct import_rules *rules, char **ret_why);

/* The path of a hard link's target, as its member came in; NULL: there is none (or no memory). */
const char *import_rules_target(const struct import_rules *rules, const char *target);
