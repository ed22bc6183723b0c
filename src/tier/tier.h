/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * Tier: a place outside the store that holds copies, behind one interface.
 *
 * Keys are relative paths ("DAY1/A001/clip.mxf"), checked by tier_key_ok() before use:
 * nothing from a key is trusted. All calls block and may run in any thread.
 * Errors: -EHOSTDOWN not reachable (retry), -ENOSPC full, -EROFS read-only, -EREMOTEIO,
 * -EBADMSG stored bytes do not match, -ENOENT no such object, -EEXIST, -ENOMEDIUM its bytes
 * are in an archive (restore() asks for them).
 */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "hash/blockmap.h"
#include "hash/digest.h"
#include "util/cleanup.h"

struct tier;

/* What an object's bytes came with; a tier keeps it beside or with the object. */
struct tier_object {
	uint64_t size;
	struct digest digest;
	int64_t mtime_ns;
	uint32_t mode;
	const char *site; /* borrowed; UUID of who sends it; NULL: not said */
};

enum note_flags {
	NOTE_DURABLE = 1 << 0, /* on disk when it returns; else soon */
};

/* Where the bytes of an upload come from. */
struct tier_source {
	/* Fill @buffer with exactly @length bytes at @offset, checked against the block map. */
	int (*read)(void *arg, uint64_t offset, void *buffer, size_t length);
	/* Called with bytes just sent or received: rate limit, progress; non-zero aborts. */
	int (*pace)(void *arg, uint64_t bytes);
	/*
	 * What a put of this content left behind for the one that goes on after a crash: note()
	 * keeps @text (NULL: nothing any more), recall() gives it back (1, caller frees; 0
	 * none). Both may be NULL.
	 */
	int (*note)(void *arg, const char *text, enum note_flags flags);
	int (*recall)(void *arg, char **ret_text);
	void *arg;
	bool lower_effort; /* all other traffic goes before these bytes: packets are marked so */
};

/* How archived bytes are to come back. */
struct tier_restore {
	unsigned days;     /* that they stay readable, at least 1 */
	const char *speed; /* borrowed: "Bulk", "Standard", "Expedited" */
};

enum put_flags {
	PUT_REPLACE = 1 << 0, /* the object may exist and is ours (heads only, never media) */
};

/* How an ability of a place is: as it should be; less, and how we do without; not fit. */
enum survey_result { SURVEY_GOOD, SURVEY_LESS, SURVEY_BAD };

/* One row of a survey: both texts last as long as the call. Non-zero stops. */
typedef int (*survey_fn)(void *arg, const char *what, enum survey_result result, const char *text);

/* What is said of an object: by the place, and by who put it there. Nothing of it is proven. */
struct tier_info {
	uint64_t size;
	int64_t mtime_ns; /* of the file, else when it was put there */
	uint32_t mode;    /* as st_mode; 0 not said; only permissions: nothing of its type */
	bool has_digest;  /* it was put there by us */
	struct digest digest;
};

/* @key relative to the tier's root: any bytes. */
typedef int (*tier_entry_fn)(void *arg, const char *key, uint64_t size);
typedef int (*tier_sink_fn)(void *arg, const void *bytes, size_t length);

struct tier_backend {       /* implemented by tier/dir.c, tier/s3.c */
	const char *scheme; /* "file", "s3" */

	/*
	 * Putting an object of less is more waiting than moving bytes: many go side by side. Of two
	 * larger ones each would only slow the other down.
	 */
	uint64_t small_bytes;

	int (*open)(const char *url, struct tier **ret_tier);
	void (*close)(struct tier *tier);

	/* May be NULL. All calls that wait for the place end soon with -ECANCELED, for good. */
	void (*stop)(struct tier *tier);

	/* May be NULL. Who waits for an answer that may never come does so no longer than needed.
	 */
	void (*network_changed)(struct tier *tier);

	/* May be NULL. What the last -EHOSTDOWN, -EROFS or -ENOSPC was about, "" not known. */
	void (*why)(struct tier *tier, char *buffer, size_t size);

	/* 0 when it answers now; -EHOSTDOWN, -EROFS, ... The tier's own identity is checked (a NAS
	 * not mounted is not an empty NAS). */
	int (*probe)(struct tier *tier);

	/*
	 * Write a whole object: temporary name, sync, read back past the cache, compare with
	 * @object->digest, rename without replacing, sync the folder. -EEXIST when the key
	 * is taken (by anybody). -ESTALE when the source's bytes are not those of @object; its
	 * errors and those of pace are passed on. pace is called with 0 bytes while reading back.
	 * -ENAMETOOLONG, -EILSEQ: the place cannot have such a key.
	 */
	int (*put)(struct tier *tier, const char *key, const struct tier_object *object,
		   const struct tier_source *source);

	/* May be NULL: it cannot. As tier_may_overwrite(). */
	bool (*may_overwrite)(struct tier *tier, uint64_t size);

	/*
	 * May be NULL. As put, but the place takes the bytes from its object @from. -ESTALE: that
	 * is gone or is not @object, put would do; -ENOTSUP: the place does not copy (this one).
	 */
	int (*copy)(struct tier *tier, const char *from, const char *key,
		    const struct tier_object *object, const struct tier_source *source);

	/*
	 * May be NULL. No put will go on with what one of them noted as @note: remove it there.
	 * -EHOSTDOWN: later; else it is done, as far as it can be.
	 */
	int (*forget)(struct tier *tier, const char *note);

	/* Size as the tier has it; -ENOENT. -EISDIR, -ELOOP: something else has that name. */
	int (*stat)(struct tier *tier, const char *key, uint64_t *ret_size);

	/*
	 * @length bytes at @offset, all or an error; -EBADMSG when the object ends before. @pace
	 * (may be NULL) is asked where it takes long.
	 */
	int (*get)(struct tier *tier, const char *key, uint64_t offset, void *buffer, size_t length,
		   const struct tier_source *pace);

	/* Digest of the object as read back from the medium now. */
	int (*check)(struct tier *tier, const char *key, const struct tier_source *pace,
		     struct digest *ret_digest, uint64_t *ret_size);

	/*
	 * May be NULL. Is @key still what was put there, without reading its bytes? 0 the place
	 * vouches for it, 1 and they are archived; -ENOTSUP only check() can tell; -EBADMSG it is
	 * not; -ENOENT.
	 */
	int (*confirm)(struct tier *tier, const char *key, const struct tier_object *object);

	/*
	 * May be NULL: what is there can be read. Ask for the bytes of an archived object, without
	 * @how only look. 0: they can be read now; -EINPROGRESS: they were asked for, now or
	 * before; -ENOMEDIUM: nobody asked. -EACCES not allowed; -ENOTSUP the place cannot; -EBUSY
	 * not at that speed now.
	 */
	int (*restore)(struct tier *tier, const char *key, const struct tier_restore *how);

	/* Small objects of ours: journal segments, heads. get_small: caller frees. */
	int (*put_small)(struct tier *tier, const char *key, const void *bytes, size_t length,
			 enum put_flags flags);
	int (*get_small)(struct tier *tier, const char *key, size_t max_bytes, void **ret_bytes,
			 size_t *ret_length);

	/* Names directly under @prefix (no path). Called for each; non-zero stops. */
	int (*list)(struct tier *tier, const char *prefix,
		    int (*fn)(void *arg, const char *name, bool is_folder), void *arg);

	/*
	 * May be NULL, the next two then as well: places that others write to (buckets). Every
	 * object below @prefix ("": all), as listed: the names are hostile. Non-zero stops.
	 */
	int (*each)(struct tier *tier, const char *prefix, tier_entry_fn fn, void *arg);

	/* What an object's metadata say, whoever put it there. */
	int (*look)(struct tier *tier, const char *key, struct tier_info *ret_info);

	/*
	 * All bytes of one object, in order, to @sink, whose errors are passed on; -EBADMSG when
	 * the object was replaced meanwhile.
	 */
	int (*stream)(struct tier *tier, const char *key, const struct tier_source *pace,
		      tier_sink_fn sink, void *arg, struct tier_info *ret_info);

	/* Free and total bytes; -ENOTSUP when the tier cannot tell. */
	int (*space)(struct tier *tier, uint64_t *ret_free, uint64_t *ret_total);

	/*
	 * May be NULL. What the place really does, tried with small objects of ours; a row for each
	 * ability. The errors of a put.
	 */
	int (*survey)(struct tier *tier, survey_fn fn, void *arg);

	/* May be NULL. As tier_parallel(). */
	unsigned (*parallel)(struct tier *tier);

	/* May be NULL: it is. Its bytes go over a network, as far as can be seen. */
	bool (*is_remote)(struct tier *tier);

	/* The device of the file system that it is on. NULL: it is not on this machine. */
	int (*device)(struct tier *tier, dev_t *ret_device);
};

struct tier {
	const struct tier_backend *backend;
	char *name;             /* owned */
	char *url;              /* owned */
	char *_Atomic expected; /* owned; UUID that the place must have, NULL any; set once */
	char owner[37];         /* UUID of the one site that writes through this; "" nobody's */
};

/*
 * Open @url ("file:///mnt/nas", "s3://bucket/prefix", or an absolute path). Succeeds while the
 * place is away: probe tells. -EINVAL bad URL, -EPROTONOSUPPORT unknown scheme.
 */
int tier_open(const char *name, const char *url, struct tier **ret_tier);
void tier_close(struct tier *tier);
DEFINE_CLEANUP(struct tier *, tier_close)

/* Whoever waits for the place leaves; later calls fail with -ECANCELED. Not every kind can. */
void tier_stop(struct tier *tier);

/* Parts of large objects that may be on their way there at a time, now. 0: it has no parts. */
unsigned tier_parallel(struct tier *tier);

/*
 * The time from when a put asks whether a name is free until it has sent what takes that name,
 * where the place does not look itself; a put that needs longer asks again. So this long after an
 * object was stored nobody writes over it who asked before.
 */
#define TIER_WRITE_WITHIN_NS (5 * 60 * NS_PER_SEC)

/*
 * A put of @size bytes may take the place of an object that another program puts there in the same
 * moment, as far as is known: who asks afterwards hears whose it is.
 */
bool tier_may_overwrite(struct tier *tier, uint64_t size);

#define TIER_WHY_SIZE 256

/* As backend->why, "" where the kind of tier does not say; @buffer is returned. */
const char *tier_why(struct tier *tier, char *buffer, size_t size);

/* Is @key @object? By check(), with @pace. 0; -EBADMSG no; its errors. */
int tier_read_back(struct tier *tier, const char *key, const struct tier_object *object,
		   const struct tier_source *pace);

/*
 * The same by confirm() where the tier can, else by check(). 0, 1 and its bytes are archived;
 * -EBADMSG no; the errors of both.
 */
int tier_verify(struct tier *tier, const char *key, const struct tier_object *object,
		const struct tier_source *pace);

/*
 * The first time a place is used for a volume: makes .mediafs/v1/tier.json with @volume's
 * UUID and a UUID of its own, or checks it: -EMEDIUMTYPE when it belongs to another volume. Returns
 * the tier's UUID. Later probes demand the same (tier_expect()).
 */
int tier_claim(struct tier *tier, const char *volume_uuid, char ret_tier_uuid[37]);

/* From now on every call gives -EHOSTDOWN unless the place has this UUID. -EBUSY: another is
 * expected already. */
int tier_expect(struct tier *tier, const char *tier_uuid);

/*
 * Only the site @site_uuid writes through @tier, and no other process does for it: what it left
 * half written is removed when the place is there again. Call it before the tier is shared.
 */
void tier_set_owner(struct tier *tier, const char *site_uuid);

/* The volume a place belongs to, for init --join. -ENOENT: none. */
int tier_volume(struct tier *tier, char ret_volume_uuid[37]);

/*
 * True for a key that is relative, has no empty, "." or ".." part, no control characters, parts
 * of at most 255 bytes and 4095 in all, and whose first part is not ".mediafs" in any case
 * (media only).
 */
bool tier_key_ok(const char *key);
