/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * store.json: what a store is. Inside store/ only.
 *
 *   format   number, STORE_FORMAT_VERSION; rises when an older mediafs must not touch the store
 *   site     UUID of this store
 *   name     of the site, as people see it
 *   volume   UUID of the volume
 *   joined   true: made by init --join
 */
#include "store/store.h"

/* Fill @store from its root_fd. -ENOENT, -EUCLEAN, -EPROTONOSUPPORT. */
int identity_read(struct store *store);

/* Write it, with a new site UUID. Atomic and durable. */
int identity_write(int root_fd, const struct store_identity *identity);

/* Fits in a file name, an object key and a line of log. */
bool site_name_ok(const char *name);
