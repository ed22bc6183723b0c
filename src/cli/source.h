/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * Source: what lies on a card, or in any folder that is about to be copied or judged. Nothing here
 * writes to it. Symbolic links are not followed, and other file systems mounted in it not entered.
 *
 * Litter is what computers leave behind (.DS_Store, ._*, System Volume Information): `junk` of the
 * rules for cards, mediafs-cards(5). It is listed like all else, and marked.
 */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "card/card.h"
#include "hash/digest.h"
#include "hash/formats.h"
#include "hash/readback.h"

struct source_entry {
	char *path;    /* owned; relative to the source */
	uint32_t mode; /* type and permissions, as st_mode; 0: could not be looked at */
	uint64_t size; /* of files; 0 of all else */
	int64_t mtime_ns, ctime_ns;
	bool litter;
	/* Negative errno: it could not be looked at, or (of a folder) not be listed to its end;
	 * -EXDEV: another file system is mounted there. */
	int error;
};

struct source {
	char *top; /* owned; absolute, without symbolic links */
	int fd;    /* owned; the folder */
	dev_t device;
	struct source_entry *entries; /* owned; a folder before what it holds, names in order */
	size_t count;
};

/*
 * List the folder @path. @rules say what is litter; NULL: nothing is. What goes wrong further down
 * is told by the entries' errors. -ENOTDIR, -EACCES, ... of @path itself; -E2BIG more than two
 * million names: it is no card; -ENOMEM. source_close() in any case.
 */
int source_open(const char *path, const struct card_rules *rules, struct source *ret_source);
void source_close(struct source *source);

/* How many regular files that are no litter, and their bytes. */
uint64_t source_total(const struct source *source, uint64_t *ret_bytes);

/* -ESTALE unless @entry is still what was listed: type, size and times. -ENOENT, -EIO, ... */
int source_check(const struct source *source, const struct source_entry *entry);

struct source_hash {
	/* In: */
	unsigned formats; /* HASH_BIT()s besides XXH3-128 */
	/* All may be NULL. Before each block: not 0 ends the read (-ECANCELED), it may sleep. */
	int (*pace)(void *arg, uint64_t bytes);
	/* With each block's bytes, in order: not 0 ends the read with it. */
	int (*tap)(void *arg, const void *bytes, size_t length);
	void (*release)(void *arg); /* as that of hash/readback.h */
	void *arg;

	/* Out: */
	struct digest digest;
	uint8_t values[HASH_FORMATS][HASH_MAX_BYTES]; /* of the formats that were wanted */
	enum readback_source from;                    /* READBACK_CACHED: perhaps memory's bytes */
};

/*
 * Read the file @entry once, past the page cache, and hash it. By the calling thread (a second one
 * reads ahead); 8 MiB of memory. -ESTALE when it is not, or no longer, what was listed; -EIO and
 * what else reading gives.
 */
int source_hash(const struct source *source, const struct source_entry *entry,
		struct source_hash *hash);

struct source_identity {
	bool is_whole;         /* the source is the top of a file system: the rest is about it */
	char label[256];       /* of the file system, "" none or not known */
	char uuid[64];         /* likewise, as blkid(8) writes it; of FAT and exFAT 8 digits */
	uint64_t device_bytes; /* of the device, or of the file system where there is none */
};

/* Which card it is, as far as can be told without privileges (udev's links, the kernel). */
void source_identify(const struct source *source, struct source_identity *ret_identity);
