/* SPDX-License-Identifier: Apache-2.0 */
#include "volume/settled.h"

#include <string.h>

#include "util/clock.h"

void settled_note(struct settled *settled, uint64_t folder)
{
	struct settled_offload *list = settled->list;
	size_t at = 0;

	while (at < settled->count && list[at].folder != folder)
		at++;
	if (at == settled->count && at < SETTLED_OFFLOADS_MAX)
		settled->count++;
	if (at == SETTLED_OFFLOADS_MAX)
		at--;
	memmove(list + 1, list, at * sizeof(*list));
	list[0] = (struct settled_offload){ folder, realtime_ns() };
}
