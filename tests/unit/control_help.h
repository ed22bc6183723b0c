/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* What the daemon can do that the test of the socket is not about. */
#include <errno.h>

#include "volume/import.h"
#include "volume/manage.h"

int volume_import(struct volume *volume, const char *tier, const char *prefix,
		  enum import_flags flags, const char *actor, const struct import_host *host,
		  struct import_counts *ret_counts)
{
	(void)volume, (void)tier, (void)prefix, (void)flags, (void)actor, (void)host;
	*ret_counts = (struct import_counts){ 0 };
	return 0;
}

size_t volume_settled_offloads(struct volume *volume,
			       struct settled_offload ret_list[SETTLED_OFFLOADS_MAX])
{
	(void)volume, (void)ret_list;
	return 0;
}

int volume_restore(struct volume *volume, const char *path, const struct tier_restore *how,
		   volume_restore_fn progress, void *arg, struct restore_counts *ret_counts)
{
	(void)volume, (void)path, (void)how, (void)progress, (void)arg;
	*ret_counts = (struct restore_counts){ .files = 1, .coming_files = 1 };
	return 0;
}

int volume_recheck_copies(struct volume *volume, const struct content_row *content,
			  transfer_recheck_fn fn, void *arg)
{
	(void)volume, (void)content, (void)fn, (void)arg;
	return -ENOSYS;
}

void volume_hold_files(struct volume *volume, const uint64_t *ids, size_t count,
		       struct live **ret_held)
{
	(void)volume, (void)ids, (void)count, (void)ret_held;
}

void volume_let_go(struct live **held, size_t count)
{
	(void)held, (void)count;
}

int volume_check_file(struct volume *volume, uint64_t id, int (*pace)(void *arg, uint64_t bytes),
		      void *arg)
{
	(void)volume, (void)id, (void)pace, (void)arg;
	return -ENOSYS;
}
