/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* One object of a bucket on its way into the tree: what it is (volume/import.h). */
#include "catalog/contents.h"
#include "tier/tier.h"

struct adoptee {
	char *key; /* owned */
	uint64_t size;
	int64_t mtime_ns;
	uint32_t mode;
	struct digest digest;
	struct blockmap map; /* owned */
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
