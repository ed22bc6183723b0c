/* SPDX-License-Identifier: Apache-2.0 */
#include "volume/level_pass.h"

#include <stdlib.h>
#include <string.h>

#include "util/clock.h"

#include "catalog/sync.h"

/* A find that has to wait, with its own strings. */
struct level_later {
	struct level_find find;
	char *path; /* owned */
};

bool level_pass_moved(void *pass, uint64_t id)
{
	return table_get(&((struct level_pass *)pass)->moved, id) != NULL;
}

/* Under a new name, and not another file that got the number of one that is gone. */
static bool is_moved(const struct level_find *find)
{
	const struct node_row *row = &find->row;

	if (find->kind != LEVEL_ADDED || !find->has_row ||
	    (row->mode & S_IFMT) != (find->st.st_mode & S_IFMT))
		return false;
	return !S_ISREG(row->mode) || row->state == FILE_RECEIVING ||
	       (row->size == (uint64_t)find->st.st_size &&
		row->mtime_ns == timespec_ns(find->st.st_mtim));
}

static void count(struct level_report *report, const struct level_find *find)
{
	switch (find->kind) {
	case LEVEL_SAME:
		break;
	case LEVEL_ADDED:
		if (is_moved(find))
			report->renamed++;
		else
			report->added++;
		break;
	case LEVEL_CHANGED:
		report->changed++;
		break;
	case LEVEL_TOUCHED:
		report->touched++;
		break;
	case LEVEL_MARKED:
		report->marked++;
		break;
	case LEVEL_MISSING:
		report->missing++;
		break;
	}
}

static int put_later(struct level_pass *pass, const struct level_find *find)
{
	struct level_later later = { .find = *find, .path = strdup(find->path) };
	const char *slash;

	if (!later.path)
		return -ENOMEM;
	if (pass->later_count == pass->later_room) {
		size_t room = pass->later_room ? pass->later_room * 2 : 64;
		struct level_later *moved = reallocarray(pass->later, room, sizeof(*moved));

		if (!moved) {
			free(later.path);
			return -ENOMEM;
		}
		pass->later = moved;
		pass->later_room = room;
	}
	slash = strrchr(later.path, '/');
	later.find.path = later.path;
	later.find.name = slash ? slash + 1 : later.path;
	pass->later[pass->later_count++] = later;
	return 0;
}

static int on_find(void *arg, const struct level_find *find)
{
	struct level_pass *pass = arg;
	bool renamed = is_moved(find);
	int r;

	count(&pass->report, find);
	if (pass->told)
		pass->told(pass->arg, renamed ? "renamed" : level_kind_name(find->kind),
			   find->path);
	if (!pass->fix)
		return 0;
	if (renamed) {
		r = table_put(&pass->moved, find->id, pass);
		if (r < 0)
			return r;
	}
	if (find->kind == LEVEL_MISSING || find->replaces)
		return put_later(pass, find);
	return pass->fix(pass->arg, find);
}

static int fix_later(struct level_pass *pass, bool missing)
{
	int r = 0;

	for (size_t i = 0; r == 0 && i < pass->later_count; i++) {
		if (pass->stop && *pass->stop)
			return -ECANCELED;
		if ((pass->later[i].find.kind == LEVEL_MISSING) == missing)
			r = pass->fix(pass->arg, &pass->later[i].find);
	}
	return r;
}

/* Now all that moved has its new name. */
static int drop_replaced(struct level_pass *pass)
{
	int r = 0;

	for (size_t i = 0; r == 0 && i < pass->later_count; i++)
		if (pass->later[i].find.replaces)
			r = catalog_drop_node(pass->catalog, pass->later[i].find.replaces);
	return r;
}

int level_pass_run(struct level_pass *pass)
{
	int r = level_walk(pass->store, pass->catalog, pass->stop, on_find, pass,
			   &pass->report.nodes);

	if (r == 0)
		r = fix_later(pass, false);
	if (r == 0 && pass->fix)
		r = drop_replaced(pass);
	if (r == 0)
		r = fix_later(pass, true);
	if (r == 0 && pass->fix)
		r = catalog_note_boot(pass->catalog);
	return r;
}

void level_pass_fini(struct level_pass *pass)
{
	for (size_t i = 0; i < pass->later_count; i++)
		free(pass->later[i].path);
	free(pass->later);
	table_fini(&pass->moved);
}
