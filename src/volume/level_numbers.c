/* SPDX-License-Identifier: Apache-2.0 */
#include "volume/level_numbers.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "catalog/check.h"
#include "util/table.h"
#include "volume/level_walk.h"

struct numbers {
	struct renumber *list; /* owned */
	size_t count, room;
	struct table taken; /* by @to */
};

static void numbers_fini(struct numbers *numbers)
{
	free(numbers->list);
	table_fini(&numbers->taken);
}

static int stop_at_child(void *arg, const char *name, const struct node_row *row)
{
	(void)arg;
	(void)name;
	(void)row;
	return 1;
}

/* Without a mark it is new, or from before there was one: nobody knows. */
static int may_be_copied(struct catalog *catalog, const char *known, const char *name)
{
	return known ? strcmp(known, name) != 0
		     : catalog_each_child(catalog, CATALOG_ROOT, stop_at_child, NULL);
}

static int get_names(struct store *store, struct catalog *catalog, char **ret_known,
		     char **ret_name)
{
	int r = catalog_get_meta(catalog, META_TREE, ret_known);

	return r < 0 ? r : store_tree_name(store, ret_name);
}

int level_was_copied(struct store *store, struct catalog *catalog)
{
	cleanup_free char *known = NULL, *name = NULL;
	int r = get_names(store, catalog, &known, &name);

	return r < 0 ? r : known && strcmp(known, name) != 0;
}

/* Names of one file that are two here, and two that are one: the first pair counts, the leveller
 * sees to the rest. */
static int add_number(void *arg, uint64_t known, uint64_t id)
{
	struct numbers *numbers = arg;
	int r;

	if (table_get(&numbers->taken, id))
		return 0;
	if (numbers->count == numbers->room) {
		size_t room = numbers->room ? numbers->room * 2 : 1024;
		struct renumber *moved = reallocarray(numbers->list, room, sizeof(*moved));

		if (!moved)
			return -ENOMEM;
		numbers->list = moved;
		numbers->room = room;
	}
	r = table_put(&numbers->taken, id, numbers);
	if (r == 0)
		numbers->list[numbers->count++] = (struct renumber){ .from = known, .to = id };
	return r;
}

int level_find_again(struct store *store, struct catalog *catalog, const _Atomic bool *stop)
{
	cleanup_with(numbers_fini) struct numbers numbers = { 0 };
	cleanup_free char *known = NULL, *name = NULL;
	int r = get_names(store, catalog, &known, &name), copied;

	if (r < 0)
		return r;
	copied = may_be_copied(catalog, known, name);
	if (copied < 0)
		return copied;
	if (!copied)
		return known ? 0 : catalog_set_meta(catalog, META_TREE, name);
	r = level_walk_names(store, catalog, stop, add_number, &numbers);
	if (r == 0)
		r = catalog_renumber(catalog, numbers.list, numbers.count, name);
	return r < 0 ? r : 1;
}
