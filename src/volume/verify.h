/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * Verify one file: settle what was received, read it back past the page cache, compare,
 * and take the step (HACKING, "Bytes: receive, verify"). No queue and no thread here.
 * Many small files share one durable step: verify_open() and verify_run() for each, one
 * catalog_barrier(), verify_end() for each whose run gave 0.
 */
#include "volume/live.h"

struct verify_host {
	/* Before each block of @bytes is read: may sleep; non-zero gives up (-ECANCELED). */
	int (*pace)(void *arg, uint64_t bytes);
	/* True: give up settling (-ECANCELED); what was settled so far stays. */
	bool (*is_stopping)(void *arg);
	void *arg;
};

enum verify_flags {
	VERIFY_WHILE_OPEN = 1 << 0, /* one handle may still be open for writing: it flushes */
	VERIFY_KEEP_ONLY = 1 << 1,  /* no read-back: only keep in the catalog what was received */
	VERIFY_STEP_LATER = 1 << 2, /* verify_run()'s: the last step is verify_end()'s */
};

/*
 * 0 verified now (or kept). 1 nothing to do: verified already, gone, without a name, or open for
 * writing (its close queues it). -EBUSY somebody else verifies or moves it: later. -ESTALE it was
 * written meanwhile. -EBADMSG it is damaged now, which has been logged and told. -ENOTSUP nothing
 * can be proven, its pages would not leave the cache. -ECANCELED. Others: try again later.
 */
int verify_file(struct volume *volume, uint64_t id, enum verify_flags flags,
		const struct verify_host *host);

struct verify;

/* Nothing is claimed yet. Results as of verify_file(); @look: see live_get_in_turn(). */
int verify_open(struct volume *volume, uint64_t id, struct live_look *look,
		struct verify **ret_verify);
/* Starts it on its way to the medium: the sync of the first of many then finds them all there. */
void verify_prepare(const struct verify *verify);
/* Bytes at verify_open(). */
uint64_t verify_size(const struct verify *verify);
/*
 * 0: read back and right; its step is queued, durable when it can be read, and the file is claimed
 * until verify_end() or verify_free(). Others as of verify_file().
 */
int verify_run(struct verify *verify, const struct verify_host *host);
/* Once, after verify_run() gave 0 and the catalog has settled. As verify_file(). */
int verify_end(struct verify *verify);
void verify_free(struct verify *verify);
DEFINE_CLEANUP(struct verify *, verify_free)
