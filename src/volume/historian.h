/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * Historian: writes the history of every offload once all of it is verified and nothing was for a
 * while (HACKING, "Histories of offloads"). One thread of low priority; what it has to look at is
 * in the catalog, so that nothing is forgotten by a crash.
 */
#include "volume/internal.h"

struct historian *historian_new(struct volume *volume);
int historian_start(struct historian *historian); /* does nothing on a read-only volume */
void historian_stop(struct historian *historian); /* and joins; may be woken later */
void historian_free(struct historian *historian);

/* See volume_settled_offloads(). Any thread. */
size_t historian_settled(struct historian *historian,
			 struct settled_offload ret_list[SETTLED_OFFLOADS_MAX]);

/* A file was verified, or a setting changed. Costs next to nothing. */
void historian_wake(struct historian *historian);
