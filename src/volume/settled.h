/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* Settled: the last offloads that the historian was done with. Its lock guards them. */
#include "volume/manage.h"

struct settled {
	struct settled_offload list[SETTLED_OFFLOADS_MAX]; /* newest first */
	size_t count;
};

/* @folder is the newest now, as of now; of too many the oldest goes. */
void settled_note(struct settled *settled, uint64_t folder);
