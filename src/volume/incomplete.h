/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * Incomplete: does an offload look as if its copy was broken off (a share that went away, a cable,
 * a person)? Then the rest is waited for before a manifest vouches for half a clip and a seal keeps
 * the second copy out. A guess, so it holds only for a time; HACKING, "Histories of offloads".
 */
#include "volume/internal.h"
#include "volume/offloads.h"

/*
 * 1: so it looks, *ret_why says why for a person, and what to do. 0: it does not, or has not
 * changed for so long that it is meant to be so, or a person unsealed it and is at work there.
 * @newest_ns: realtime, when its last file was verified. -ENOMEM, or what the catalog says.
 */
int offload_looks_incomplete(struct volume *volume, const struct offload *offload,
			     int64_t newest_ns, char *ret_why, size_t size);
