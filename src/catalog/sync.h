/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * What sites tell each other, as the catalog keeps it (HACKING, "Sites").
 *
 * A version is one state of one path, made by one put record and named by (site, number of the
 * record). The set of live versions is all puts that no record names as a base: a union, so the
 * order in which sites are read does not matter. `shown` says at which path of our tree a version
 * is shown; that is local and the only part that other sites do not share.
 * Two lists of paths drive the syncer: unpublished (the tree changed there) and unshown (the
 * versions changed there). An entry is removed only if it was not renewed meanwhile.
 */
#include "catalog/catalog.h"
#include "hash/blockmap.h"

enum version_kind { /* Stored: never renumber. */
		    VERSION_FILE = 1,
		    VERSION_DIR = 2,
		    VERSION_LINK = 3,
};

struct version_id {
	char site[37];
	uint64_t seq; /* of the record among those of its site, from 1 */
};

/* In the mode of a folder: it is sealed (volume/seals.h). Stored: never renumber. */
#define VERSION_SEALED 0x10000u

struct version_body {
	enum version_kind kind;
	uint32_t mode; /* permissions, and VERSION_SEALED */
	int64_t mtime_ns;
	uint64_t size;        /* files; 0 otherwise */
	struct digest digest; /* files */
	struct blockmap map;  /* files; owned */
	char *target;         /* links; owned */
	char tier[37];        /* UUID of the tier that has the bytes, "" when none has yet */
	char *key;            /* of the copy there; owned; NULL when none */
};
void version_body_fini(struct version_body *body);

enum record_verb { RECORD_PUT = 1, RECORD_DEL = 2 };

struct sync_record {
	enum record_verb verb;
	char *path;               /* owned */
	struct version_body body; /* of a put */
	struct version_id *base;  /* versions that this one replaces; owned */
	size_t base_count;
};
void sync_record_fini(struct sync_record *record);

/* A file whose bytes no tier has yet. */
static inline bool version_is_announced(const struct version_body *body)
{
	return body->kind == VERSION_FILE && !body->key;
}

struct version_row {
	struct version_id id;
	char site_name[64];
	uint64_t lamport;
	char *path; /* that the record named; owned */
	struct version_body body;
	bool live;
	char *shown; /* path in our tree, NULL when it is not there; owned */
};
void version_row_fini(struct version_row *row);
void version_rows_free(struct version_row *rows, size_t count);

/* How far a site's journal was read (or, of our own, written). */
struct sync_position {
	char site[37];
	char name[64];
	uint64_t segment;           /* last one applied, 0 none */
	uint8_t chain[CHAIN_BYTES]; /* SHA-256 of it */
	uint64_t records;           /* number of its last record */
	uint64_t lamport;           /* of its last segment */
};

/* 1 found, 0 not (@ret_position: all zero but the site). */
int catalog_get_position(struct catalog *catalog, const char *site,
			 struct sync_position *ret_position);
int catalog_each_position(struct catalog *catalog,
			  int (*fn)(void *arg, const struct sync_position *position), void *arg);

/* The highest lamport of any site, 0 when there is none. */
int catalog_max_lamport(struct catalog *catalog, uint64_t *ret_lamport);

/*
 * One segment: its records become versions, their bases are replaced, the paths concerned
 * unshown; the position moves. One transaction, waited for; with @outbox it is durable. -ESTALE
 * when @segment's number is not the next one of its site or its records do not follow.
 * @shown (our own segment; NULL otherwise): shown[i] is the path in our tree of record i (NULL
 * for a del), and their bases are no longer shown; @outbox are the packed bytes, kept until
 * catalog_remove_outbox().
 * @tiers (another site's; NULL: none): a copy of other bytes under the key of a record is doubted
 * (catalog/doubts.h).
 */
struct sync_segment {
	struct sync_position position; /* as it is after this segment */
	uint64_t first;                /* number of the first record */
	const struct sync_record *records;
	size_t count;
	const char *const *shown;
	const uint32_t *tiers; /* tiers.id that the key of record i is in; 0: none, or not ours */
	const void *outbox;
	size_t outbox_bytes;
};
int catalog_apply_segment(struct catalog *catalog, const struct sync_segment *segment);

/* Segments of ours that the tier does not have yet, oldest first. 1 found (caller frees), 0 not. */
int catalog_next_outbox(struct catalog *catalog, uint64_t *ret_segment, void **ret_bytes,
			size_t *ret_length);
int catalog_remove_outbox(struct catalog *catalog, uint64_t segment);

/* Forget everything about sites: it will be read again. Every path becomes unpublished. Waits. */
int catalog_reset_sync(struct catalog *catalog);

/* Live or shown versions whose records named @path. Caller: version_rows_free(). */
int catalog_get_versions(struct catalog *catalog, const char *path, struct version_row **ret_rows,
			 size_t *ret_count);

/* Versions shown at @path of our tree. */
int catalog_get_shown(struct catalog *catalog, const char *path, struct version_row **ret_rows,
		      size_t *ret_count);

/* Dead versions of files of these bytes that are still shown: what goes and could be moved. */
int catalog_get_dead_shown(struct catalog *catalog, const struct digest *digest,
			   struct version_row **ret_rows, size_t *ret_count);

/* True (1) when a live version that is not just announced lies below @path. */
int catalog_has_versions_below(struct catalog *catalog, const char *path);

/* Paths of our tree below @path ("" = all) where versions are shown, each once, in order. */
int catalog_each_shown_below(struct catalog *catalog, const char *path,
			     int (*fn)(void *arg, const char *path), void *arg);

/* Every live file that no tier has yet, by path. @row is the callee's only while it runs. */
int catalog_each_pending(struct catalog *catalog,
			 int (*fn)(void *arg, const struct version_row *row), void *arg);

/* Queued. @path NULL: no longer shown (and dropped, if it is not live either). */
int catalog_set_shown(struct catalog *catalog, const struct version_id *id, const char *path);

/*
 * The disk lost what it had at @path and below: nobody removed it. Versions shown there are not
 * shown any more, and are to be shown again. Queued.
 */
int catalog_lose_shown(struct catalog *catalog, const char *path);

/*
 * Whether the machine was started anew since catalog_note_boot(): 1 yes, 0 no (or never noted).
 * Only then may a name that is missing have been lost by the disk.
 */
int catalog_was_rebooted(struct catalog *catalog);
int catalog_note_boot(struct catalog *catalog);

/* The two lists -------------------------------------------------------------------------- */

struct sync_note {
	char *path; /* owned */
	int64_t noted_ns;
	bool subtree; /* all below, too */
};
void sync_notes_free(struct sync_note *notes, size_t count);

/* Up to @max, by path, after @after (NULL: from the start). */
int catalog_get_unpublished(struct catalog *catalog, const char *after, size_t max,
			    struct sync_note **ret_notes, size_t *ret_count);
int catalog_get_unshown(struct catalog *catalog, const char *after, size_t max,
			struct sync_note **ret_notes, size_t *ret_count);

/* Queued. Done with @note, unless it was renewed since it was read. */
int catalog_clear_unpublished(struct catalog *catalog, const struct sync_note *note);
int catalog_clear_unshown(struct catalog *catalog, const struct sync_note *note);

/* Queued. */
int catalog_add_unpublished(struct catalog *catalog, const char *path, bool subtree);
int catalog_add_unshown(struct catalog *catalog, const char *path);

struct sync_counts {
	uint64_t unpublished, unshown, outbox;
	uint64_t pending;   /* announced files */
	uint64_t conflicts; /* versions shown under a conflict name */
};
int catalog_get_sync_counts(struct catalog *catalog, struct sync_counts *ret_counts);
