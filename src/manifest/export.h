/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * Export: files whose digests are known, in one pax archive that any tar reads and that proves
 * itself: a packing list (ASC MHL) first, then the members, each with its digest, an index last.
 *
 * The index `index_NAME_DATEZ.jsonl` is JSON, an object a line:
 *
 *   {"mediafs_index":1,...}           what made it, when, how many files and bytes
 *   {"path","type","mode","mtime_ns","offset","size","xxh128"|"target"}
 *                                     a line for each member in their order, the packing list
 *                                     first, without the index; offset: of its first byte in the
 *                                     archive (in records of 512 KiB for mt seek, divide)
 *   {"archive_xxh128","index_xxh128"} over all bytes of the archive before the index's first, and
 *                                     over the lines above
 *
 * After the index there are zeros only, to the end of a record. So no byte can change unnoticed.
 */
#include <stdio.h>

#include "manifest/archive.h"
#include "manifest/verdict.h"

struct export_progress {
	uint64_t files, bytes, of_files, of_bytes;
};

/* Called now and then; not 0 ends the work with -ECANCELED. */
typedef int (*export_tick)(void *arg, const struct export_progress *progress);

struct export_job {
	int root_fd;      /* the folder that the members' paths begin at */
	int fd;           /* where the archive goes */
	const char *name; /* of the packing list and the index */
	int64_t now_ns;
	const struct member *members; /* files with digest and size, folders, symbolic links */
	size_t count;
	export_tick tick; /* NULL: none */
	void *arg;
};

struct export_result {
	uint64_t files, bytes, records;
	char *manifest, *index; /* owned: what the first and the last member are called */
	const char *failed;     /* the member at which it ended, borrowed; NULL: at none */
};
void export_result_fini(struct export_result *result);

/*
 * Write the archive. Each file is hashed as its bytes go in, and its last bytes only follow when
 * they are what its digest says: -EBADMSG with @ret_result->failed otherwise, -ESTALE when its size
 * or time changed. After any error the stream ends with what no tar takes for an end.
 * export_result_fini() in any case.
 */
int export_write(const struct export_job *job, struct export_result *ret_result);

/*
 * Read an export from @fd to its end and prove it: each member against its own digest, the packing
 * list and the index, all other bytes against the index. Findings and class are in @verdict;
 * CLASS_OK is the only good one. `why` is set when it is no export at all. It is read in a process
 * of its own (apart.h), so no other thread may run; negative errno also without a sandbox.
 */
int export_verify(int fd, export_tick tick, void *arg, struct verdict *verdict);

/* The same in this process: what runs in that one, and for fuzzing. */
int export_check(int fd, export_tick tick, void *arg, struct verdict *verdict);

/* The index's line about @member, without its end. For both sides of it. -ENOMEM. */
int export_put_row(FILE *out, const struct member *member, uint64_t offset);

#define EXPORT_MANIFEST_START "packinglist_"
#define EXPORT_MANIFEST_END ".mhl"
#define EXPORT_INDEX_START "index_"
#define EXPORT_INDEX_END ".jsonl"
#define EXPORT_FIRST_LINE "{\"mediafs_index\":1,"

/* The index's last line. */
#define EXPORT_LAST_SIZE 128
void export_last_line(const struct digest *archive, const struct digest *index,
		      char ret_line[EXPORT_LAST_SIZE]);
