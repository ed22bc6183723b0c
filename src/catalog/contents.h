/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * Contents, copies, the transfer queue and the steps of a file's life. Each step names the
 * generation it is about: the writer drops it when the file has moved on, or when the
 * state table forbids it (then the waiting form gives -ESTALE).
 */
#include <inttypes.h>

#include "catalog/nodes.h"
#include "hash/blockmap.h"

struct content_row {
	uint64_t id;
	uint64_t size;
	struct digest digest; /* XXH3-128 */
	struct blockmap map;  /* owned by the row: content_row_fini() */
};
void content_row_fini(struct content_row *row);

struct copy_row {
	uint64_t content;
	uint32_t tier;        /* tiers.id */
	char *key;            /* owned; object key relative to the tier's root */
	struct digest digest; /* that the tier confirmed, over the object's bytes */
	int64_t confirmed_ns;
	int64_t checked_ns; /* last time the tier was asked and agreed */
	bool bad;           /* found missing or different since */
	bool archived;      /* its bytes must be asked for first */
	int64_t asked_ns;   /* when they were, 0 never */
};
void copy_row_fini(struct copy_row *row);

enum step_flags {
	STEP_WAIT = 1 << 0,    /* return what the writer found: 0, -ESTALE, ... */
	STEP_DURABLE = 1 << 1, /* and only when it is on disk (implies STEP_WAIT) */
	/* With STEP_DURABLE: nobody waits here, for a catalog_barrier() later; nobody can read it
	 * before it is on disk. */
	STEP_LATER = 1 << 2,
};

/* Steps ------------------------------------------------------------------------------- */

/* A new generation begins: the state becomes RECEIVING, content 0, error 0; queue rows go. */
int catalog_begin_generation(struct catalog *catalog, uint64_t id, uint64_t generation);

/*
 * RECEIVED, with what was received: @map always, @digest when bytes came in order (else
 * NULL). Kept in the catalog so that a restart verifies against what was received.
 */
int catalog_set_received(struct catalog *catalog, uint64_t id, uint64_t generation,
			 int64_t mtime_ns, int64_t ctime_ns, const struct blockmap *map,
			 const struct digest *digest, enum step_flags flags);

/* What set_received kept; 1 found, 0 not. *ret_has_digest tells whether @ret_digest is set. */
int catalog_get_received(struct catalog *catalog, uint64_t id, uint64_t generation,
			 struct blockmap *ret_map, struct digest *ret_digest, bool *ret_has_digest);

/*
 * VERIFIED: the content row is found by (size, digest) or made, and referenced. -ESTALE when the
 * row has another size; -EUCLEAN when the content exists with another map, -EBADMSG when the
 * generation had another content before.
 */
int catalog_set_verified(struct catalog *catalog, uint64_t id, uint64_t generation,
			 const struct digest *digest, const struct blockmap *map,
			 enum step_flags flags);

/* DAMAGED; @error sticks (the first one), queue rows go. */
int catalog_set_damaged(struct catalog *catalog, uint64_t id, uint64_t generation, int error,
			enum step_flags flags);

/*
 * Any other legal step. Besides the table: an error that sticks forbids VERIFIED and beyond (out
 * of DAMAGED it is a repair, and ends the error); VERIFIED and beyond need a content; STORED and
 * EVICTED need a good copy, unless the file was EVICTED or HYDRATING.
 */
int catalog_set_state(struct catalog *catalog, uint64_t id, uint64_t generation,
		      enum file_state state, enum step_flags flags);

/* The resident bytes were read back and matched. set_verified says so too. */
int catalog_set_checked(struct catalog *catalog, uint64_t id, uint64_t generation,
			int64_t checked_ns);

/*
 * For the scrub: files (VERIFIED to HYDRATING, with resident bytes) last checked before
 * @before_ns, longest ago first; at most @max ids. Returns the count. Needs an index.
 */
int catalog_unchecked(struct catalog *catalog, int64_t before_ns, uint64_t *ret_ids, size_t max);

/* How many of them were not read since somebody touched them, or the store was copied; counted up
 * to @most. */
int catalog_count_unread(struct catalog *catalog, uint64_t most, uint64_t *ret_count);

int catalog_set_resident(struct catalog *catalog, uint64_t id, uint64_t generation,
			 uint64_t resident_bytes);

/*
 * A placeholder for content known from elsewhere: the node row must exist (RECEIVING and just
 * made, ANNOUNCED or EVICTED) with the content's size; sets content and @state, which is ANNOUNCED
 * or EVICTED.
 */
int catalog_set_placeholder(struct catalog *catalog, uint64_t id, uint64_t generation,
			    uint64_t content, enum file_state state);

/* Find or make. Waits. */
int catalog_put_content(struct catalog *catalog, uint64_t size, const struct digest *digest,
			const struct blockmap *map, uint64_t *ret_content);

/*
 * The block map of @content was found to be wrong: @map replaces it, if the content has @digest and
 * @map's size still (else -ESTALE). For fsck.
 */
int catalog_replace_map(struct catalog *catalog, uint64_t content, const struct digest *digest,
			const struct blockmap *map, enum step_flags flags);

/* 1 found (content_row_fini() it), 0 not. */
int catalog_get_content(struct catalog *catalog, uint64_t content, struct content_row *ret_row);
int catalog_find_content(struct catalog *catalog, uint64_t size, const struct digest *digest,
			 struct content_row *ret_row);

/* Tiers and copies ---------------------------------------------------------------------- */

/* The id of the tier called @name at @url; made when new. Waits. */
int catalog_put_tier(struct catalog *catalog, const char *name, const char *url,
		     uint32_t *ret_tier);

/* The same without making it: 1 found, 0 not. */
int catalog_find_tier(struct catalog *catalog, const char *name, const char *url,
		      uint32_t *ret_tier);

/* Insert or replace by (content, tier). -ENOENT no such content, -EBADMSG a digest that is not
 * the content's in a copy that is not bad. */
int catalog_put_copy(struct catalog *catalog, const struct copy_row *row, enum step_flags flags);
int catalog_mark_copy(struct catalog *catalog, uint64_t content, uint32_t tier, int64_t checked_ns,
		      bool bad);

/*
 * The copy is bad. Files that were STORED by it and by no other become VERIFIED, in the same
 * transaction: so they are queued again, whatever happens to us now.
 */
int catalog_lose_copy(struct catalog *catalog, uint64_t content, uint32_t tier, int64_t checked_ns);

/* Caller frees *ret_rows after copy_row_fini() of each. */
int catalog_get_copies(struct catalog *catalog, uint64_t content, struct copy_row **ret_rows,
		       size_t *ret_count);

/* By content from @after on; stops when @fn gives other than 0. */
int catalog_each_copy(struct catalog *catalog, uint32_t tier, uint64_t after,
		      int (*fn)(void *arg, const struct copy_row *row), void *arg);

/*
 * The bytes of @copy are in an archive of its tier. @asked_ns: realtime when they were last asked
 * for, 0 never.
 */
int catalog_set_archived(struct catalog *catalog, const struct copy_row *copy, int64_t asked_ns);

/* They can be read. */
int catalog_set_readable(struct catalog *catalog, const struct copy_row *copy);

/* 0: @content has a good copy that can be read, or none; 1: all are archived; 2: and asked for. */
int catalog_is_archived(struct catalog *catalog, uint64_t content);

/*
 * What the state of a file is called: "archived" for an evicted one whose copies are, although
 * that is no step of its life. Static.
 */
const char *catalog_state_name(struct catalog *catalog, const struct node_row *row);

/* How many evicted files are so, and their bytes; at most @max are looked for. */
int catalog_count_archived(struct catalog *catalog, uint64_t max, uint64_t *ret_files,
			   uint64_t *ret_bytes);

/*
 * @key in @tier is an object of the volume's, beside the copy that is recorded of its content
 * (there is one of each content in a tier).
 */
int catalog_note_key(struct catalog *catalog, uint32_t tier, const char *key);

/* 1 when @key in @tier belongs to a content already (*ret_content, 0: only noted), 0 not. */
int catalog_find_key(struct catalog *catalog, uint32_t tier, const char *key,
		     uint64_t *ret_content);

/* Queue --------------------------------------------------------------------------------- */

struct queue_row {
	uint64_t id; /* node */
	uint64_t generation;
	uint32_t tier;
	unsigned class; /* transfer/rules.h: lower goes first */
	uint64_t size;
	int64_t queued_ns;
	int64_t due_ns; /* not before (settle delay, back-off) */
	uint32_t attempts;
	int error;   /* of the last attempt, negative errno */
	bool poison; /* fails again and again: long pauses, after all others */
};

/* Put into the queue (or replace). The file's state becomes QUEUED if it was VERIFIED. */
int catalog_enqueue(struct catalog *catalog, const struct queue_row *row, enum step_flags flags);

/*
 * After a failed attempt: attempts + 1. @why: what the tier said, kept while the row waits; "" for
 * nothing. Nothing if the row is now of another generation.
 */
int catalog_queue_retry(struct catalog *catalog, uint64_t id, uint64_t generation, uint32_t tier,
			int64_t due_ns, int error, bool poison, const char *why);

/* What the tier said at the last attempt: 1 (caller frees *ret_why), 0 nothing. */
int catalog_queue_why(struct catalog *catalog, uint64_t id, uint32_t tier, char **ret_why);

/* The row goes, unless it is now of another generation; the state is the caller's to set. */
int catalog_dequeue(struct catalog *catalog, uint64_t id, uint64_t generation, uint32_t tier);

/*
 * The next rows of classes below @class_end due at @now_ns for @tier, best first: by class,
 * where every QUEUE_AGEING_NS of waiting counts as one class. Poison only when nothing else is due.
 * At most
 * @max; returns the count.
 */
#define QUEUE_AGEING_NS (30ll * 60 * 1000000000)
int catalog_queue_next(struct catalog *catalog, uint32_t tier, unsigned class_end, int64_t now_ns,
		       struct queue_row *ret_rows, size_t max);

/*
 * What a put to a tier left behind for the next one is in meta under this, with tiers.id and
 * contents.id.
 */
#define UPLOAD_NOTE_PREFIX "upload.%" PRIu32 "."

/* Of @tier, one whose content is of no file that is queued. 1 found (caller frees), 0 none. */
int catalog_find_leftover(struct catalog *catalog, uint32_t tier, uint64_t *ret_content,
			  char **ret_note);

/* When the next row falls due (INT64_MAX when none). */
int catalog_queue_due(struct catalog *catalog, uint32_t tier, int64_t *ret_due_ns);

/*
 * What failed is due at @now_ns, whatever pause it had; what never was tried at @settled_ns at the
 * latest; nothing was queued later than @now_ns (the clock may have been ahead in an earlier run).
 */
enum hasten_flags { HASTEN_AFRESH = 1 << 0 /* as if it had not failed: nothing is poison now */ };
int catalog_queue_hasten(struct catalog *catalog, int64_t now_ns, int64_t settled_ns,
			 enum hasten_flags flags);

int catalog_each_queued(struct catalog *catalog, int (*fn)(void *arg, const struct queue_row *row),
			void *arg);

struct queue_totals {
	uint64_t files, bytes; /* without those set aside */
	uint64_t poison;
};
/* @tier 0: all together. */
int catalog_queue_totals(struct catalog *catalog, uint32_t tier, struct queue_totals *ret_totals);

/*
 * One transaction: the copy is recorded, the queue row goes, and the file becomes STORED
 * if nothing else of it is queued (else QUEUED). Always durable when it returns 0. -ESTALE when the
 * file moved on or is damaged: the copy is recorded all the same, as the object is there.
 *
 * @told: catalog_told() before the tier was asked whether it has the object. -EAGAIN when other
 * sites told of objects since: one of them may have taken its place. 0: @copy was recorded before;
 * -EAGAIN when it is recorded as good no more.
 * @again_ns: realtime when it is to be looked at once more (catalog/doubts.h), 0 never.
 */
int catalog_set_stored(struct catalog *catalog, uint64_t id, uint64_t generation,
		       const struct copy_row *copy, uint64_t told, int64_t again_ns);

/* Rises with each segment of another site; never 0. */
uint64_t catalog_told(struct catalog *catalog);
