/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* One object of a bucket on its way into the tree: what it is (volume/import.h). */
#include "catalog/contents.h"
#include "tier/tier.h"
#include "volume/import.h"

struct adoptee {
	char *key; /* owned */
	uint64_t size;
	int64_t mtime_ns;
	uint32_t mode;
	struct digest digest;
	struct blockmap map; /* owned */
	char *other_path;    /* owned; NULL unless what has its name made it go there */
};
void adoptee_fini(struct adoptee *adoptee);

/*
 * Learn what the object under @key of @tier is, which was listed with @size: by its metadata where
 * they are ours and the content is known, else by reading it, with @pace. -EBADMSG when the bytes
 * are not those that our metadata promise, -EFBIG, the tier's errors; *ret_why (static) is set when
 * it is no regular file.
 */
int adoptee_learn(struct adoptee *adoptee, struct catalog *catalog, struct tier *tier,
		  const char *key, uint64_t size, const struct tier_source *pace,
		  const char **ret_why);

/*
 * Put what was learnt into the tree of @volume, which has that copy in @tier from then on, as an
 * evicted file; the event is @actor's. *ret_object says what became of it; its strings are those of
 * @adoptee. Errors are those that concern more than this object. One thread at a time.
 */
int adoptee_place(struct adoptee *adoptee, struct volume *volume, uint32_t tier, const char *actor,
		  struct import_object *ret_object);
