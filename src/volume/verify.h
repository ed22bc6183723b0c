/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * Verify one file: settle what was received, read it back past the page cache, compare,
 * and take the step (HACKING, "Bytes: receive, verify"). No queue and no thread here.
 */
#include "volume/internal.h"

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
};

/*
 * 0 verified now (or kept). 1 nothing to do: verified already, gone, without a name, or open for
 * writing (its close queues it). -EBUSY somebody else verifies or moves it: later. -ESTALE it was
 * written meanwhile. -EBADMSG it is damaged now, which has been logged and told. -ENOTSUP nothing
 * can be proven, its pages would not leave the cache. -ECANCELED. Others: try again later.
 */
int verify_file(struct volume *volume, uint64_t id, enum verify_flags flags,
		const struct verify_host *host);
