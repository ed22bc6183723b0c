/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * Notifier: tells the kernel what changed behind its back. From a thread of its own: the
 * kernel may have to wait for a request that a worker is about to answer.
 */
#include "fs/session.h"

struct notifier *notifier_new(struct fs *fs); /* NULL without memory */
int notifier_start(struct notifier *notifier);
/* Joins the thread; what is told from now on is dropped. Again is fine. */
void notifier_stop(struct notifier *notifier);
void notifier_free(struct notifier *notifier); /* drops what waits, joins */

/* Queued; wait while the queue is full (the syncer's thread, never a worker). */
void notifier_entry(void *arg, uint64_t parent, const char *name);
void notifier_inode(void *arg, uint64_t id);

/* At once, also from a worker: pages, which may be locked for the very request, stay out of it. */
void notifier_attributes(void *arg, uint64_t id);
