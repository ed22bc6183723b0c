/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * Journal: segments and heads in a tier. Calls block on the tier; errors as tier.h, and
 * -EBADMSG, -EINVAL, -EFBIG as sync/segment.h for what was found there.
 */
#include "sync/bundle.h"
#include "sync/segment.h"
#include "tier/tier.h"

#define JOURNAL_ROOT ".mediafs/v1/w"

/* Keys; caller frees; NULL without memory. */
char *journal_segment_key(const char *site, uint64_t segment);
char *journal_head_key(const char *site);

/* The sites that have a folder in the tier. Called for each UUID; non-zero stops. 0 if none. */
int journal_each_site(struct tier *tier, int (*fn)(void *arg, const char *site), void *arg);

/* -ENOENT: it has none yet. A head that names another site is -EINVAL. */
int journal_get_head(struct tier *tier, const char *site, struct head *ret_head);
int journal_put_head(struct tier *tier, const struct head *head);

/* Packed bytes of a segment; caller frees. */
int journal_get_packed(struct tier *tier, const char *site, uint64_t segment, void **ret_packed,
		       size_t *ret_length);

/* Never replaces. 0 also when exactly these bytes are there already, -EEXIST when others are. */
int journal_put_packed(struct tier *tier, const char *site, uint64_t segment, const void *packed,
		       size_t length);

/* The same of a bundle (sync/bundle.h). -ENOENT: there is none. Putting: 0 also when there is one.
 */
int journal_get_bundle(struct tier *tier, const char *site, uint64_t bundle, void **ret_bytes,
		       size_t *ret_length);
int journal_put_bundle(struct tier *tier, const char *site, uint64_t bundle, const void *bytes,
		       size_t length);
