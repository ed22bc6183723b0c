/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * Import: what others put into a bucket becomes part of the volume. Each object that the catalog
 * does not know is read through once, in order, for its digest and block map, and is then an
 * evicted file with that copy: nothing of it stays here. One of ours whose content is known is
 * believed by its metadata, as confirm() does. Names and metadata are hostile until checked; a name
 * of the tree that has other bytes is never touched.
 */
#include "volume/volume.h"

enum import_result {
	IMPORT_ADOPTED,
	IMPORT_CONFLICT, /* adopted beside what has its name */
	IMPORT_SAME,     /* the tree has those bytes under that name: only the copy is new */
	IMPORT_WOULD,    /* nothing was done */
	IMPORT_REFUSED,  /* it cannot be a file here */
	IMPORT_FAILED,
};

/* One object that was dealt with. Lasts as long as the call. */
struct import_object {
	const char *key;  /* any bytes */
	const char *path; /* where it is now; NULL nowhere */
	uint64_t size;
	enum import_result result;
	int error;       /* of a failure */
	const char *why; /* of a refusal; static */
};

struct import_counts {
	uint64_t files, bytes;           /* that the catalog does not know */
	uint64_t known;                  /* that it does */
	uint64_t ignored;                /* by the rule "ignore" */
	uint64_t done_files, done_bytes; /* of files and bytes, whatever came of them */
	uint64_t results[IMPORT_FAILED + 1];
};

/* Both: non-zero ends the import. */
struct import_host {
	void *arg;
	int (*object)(void *arg, const struct import_object *object);
	int (*progress)(void *arg, const struct import_counts *counts); /* a few times a second */
};

enum import_flags { IMPORT_DRY_RUN = 1 << 0 };

/*
 * From the tier called @tier (NULL: the first bucket) below @prefix ("": all of it); @actor for
 * the events. What was adopted before an error stays; the same call goes on. -ENOENT no such tier,
 * -ENOTSUP no bucket, -EROFS this site tells others nothing, -EHOSTDOWN.
 */
int volume_import(struct volume *volume, const char *tier, const char *prefix,
		  enum import_flags flags, const char *actor, const struct import_host *host,
		  struct import_counts *ret_counts);
