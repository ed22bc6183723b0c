/* SPDX-License-Identifier: Apache-2.0 */
#include "volume/level.h"

#include "volume/level_fix.h"
#include "volume/level_pass.h"

struct offline {
	struct level_pass pass;
	void (*fn)(void *arg, const char *what, const char *path);
	void *arg;
};

static int fix_offline(void *arg, const struct level_find *find)
{
	struct offline *offline = arg;
	struct level_pass *pass = &offline->pass;
	struct node_row row;
	int r;

	if (find->kind == LEVEL_MISSING)
		return level_remove(pass->catalog, find, level_pass_moved, pass);
	r = level_make_row(pass->store, pass->catalog, find, &row);
	return r < 0 ? r : level_put_row(pass->catalog, find, &row);
}

static void tell_offline(void *arg, const char *what, const char *path)
{
	struct offline *offline = arg;

	if (offline->fn)
		offline->fn(offline->arg, what, path);
}

int level_tree(struct store *store, struct catalog *catalog, enum level_flags flags,
	       const _Atomic bool *stop, void (*fn)(void *arg, const char *what, const char *path),
	       void *arg, struct level_report *ret_report)
{
	struct offline offline = { .fn = fn, .arg = arg };
	int r;

	offline.pass.store = store;
	offline.pass.catalog = catalog;
	offline.pass.stop = stop;
	offline.pass.fix = flags & LEVEL_FIX ? fix_offline : NULL;
	offline.pass.told = tell_offline;
	offline.pass.arg = &offline;
	r = level_pass_run(&offline.pass);
	if (r == 0 && (flags & LEVEL_FIX))
		r = catalog_flush(catalog);
	if (r == 0)
		*ret_report = offline.pass.report;
	level_pass_fini(&offline.pass);
	return r;
}
