/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * Fsck: proves that what is there is what was shot, and mends what can be mended. Prints
 * nothing: what is found goes to the host, in the order found.
 *
 * An unmounted store is locked meanwhile. A mounted one is only read: a difference counts when
 * it is still there a moment later. Media is never deleted; a block is only overwritten when it
 * is not what was verified, by one that is.
 */
#include <stdbool.h>
#include <stdint.h>

enum fsck_flags {
	FSCK_FULL = 1 << 0,       /* read every resident byte past the page cache */
	FSCK_REMOTE = 1 << 1,     /* read every copy in the tiers */
	FSCK_READ_ONLY = 1 << 2,  /* -n: write nothing, not even that a file is damaged */
	FSCK_REPAIR = 1 << 3,     /* -p: what can be mended without doubt */
	FSCK_REPAIR_ALL = 1 << 4, /* -y: implies FSCK_REPAIR; also what takes a decision */
	FSCK_REBUILD = 1 << 5,    /* put the catalog aside and make a new one */
};

enum fsck_outcome {
	FSCK_NOTE,      /* worth knowing, nothing is wrong */
	FSCK_CORRECTED, /* was wrong, is right now */
	FSCK_LEFT,      /* is wrong */
};

struct fsck_finding {
	enum fsck_outcome outcome;
	const char *what;   /* "damaged block", "missing", "bad copy", ...: man/mediafs-fsck.8 */
	const char *path;   /* of the file, or the key of a copy; "" when about none */
	const char *detail; /* for a person; "" */
	bool has_block;     /* the rest is about one block */
	bool unreadable;    /* no @actual */
	uint64_t offset, length;
	uint64_t expected, actual; /* XXH3-64 */
};

struct fsck_progress {
	const char *what; /* "files", "copies" */
	uint64_t done, total, done_bytes, total_bytes;
	uint64_t rate;  /* bytes/s */
	int64_t eta_ns; /* -1 unknown */
};

struct fsck_host {
	void *arg;
	void (*found)(void *arg, const struct fsck_finding *finding);
	void (*progress)(void *arg,
			 const struct fsck_progress *progress); /* a few times a second */
	/* The check cannot be made or ends: a sentence that names the thing and what to do. */
	void (*failed)(void *arg, const char *text);
	const _Atomic bool *stop; /* true: end soon, nothing half done */
};

struct fsck_report {
	bool mounted;
	uint64_t names;             /* in the tree */
	uint64_t files, file_bytes; /* read and compared */
	uint64_t copies, copy_bytes;
	uint64_t archived;   /* copies that are there, and cannot be read without asking for them */
	uint64_t unverified; /* received, or being received: nothing to compare with yet */
	uint64_t notes, corrected, left;
	bool incomplete;     /* something could not be checked: host->failed() said it */
	int64_t duration_ns; /* of the reading of files */
};

/*
 * Check the store at @path. 0 when it ran to its end (see the report), -ECANCELED, or
 * another error after host->failed(). The report holds what was counted so far in any case.
 */
int fsck_run(const char *path, enum fsck_flags flags, const struct fsck_host *host,
	     struct fsck_report *ret_report);
