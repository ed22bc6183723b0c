/* SPDX-License-Identifier: Apache-2.0 */
#include "util/table.h"

#include <assert.h>
#include <errno.h>
#include <stdbool.h>
#include <stdlib.h>

#define FIRST_SLOTS 16u

/* Inode numbers come in runs: spread them over the slots (the mixer of SplitMix64). */
static size_t slot_of(const struct table *table, uint64_t key)
{
	key = (key ^ (key >> 30)) * 0xbf58476d1ce4e5b9u;
	key = (key ^ (key >> 27)) * 0x94d049bb133111ebu;
	return (size_t)(key ^ (key >> 31)) & (table->slots - 1);
}

/* The slot that holds @key, or the free one where it belongs. */
static size_t find_slot(const struct table *table, uint64_t key)
{
	size_t at = slot_of(table, key);

	while (table->keys[at] && table->keys[at] != key)
		at = (at + 1) & (table->slots - 1);
	return at;
}

static int grow(struct table *table)
{
	struct table bigger = { .slots = table->slots ? table->slots * 2 : FIRST_SLOTS };

	bigger.keys = calloc(bigger.slots, sizeof(*bigger.keys));
	bigger.values = calloc(bigger.slots, sizeof(*bigger.values));
	if (!bigger.keys || !bigger.values) {
		table_fini(&bigger);
		return -ENOMEM;
	}
	for (size_t i = 0; i < table->slots; i++) {
		size_t at;

		if (!table->keys[i])
			continue;
		at = find_slot(&bigger, table->keys[i]);
		bigger.keys[at] = table->keys[i];
		bigger.values[at] = table->values[i];
	}
	bigger.used = table->used;
	table_fini(table);
	*table = bigger;
	return 0;
}

void table_init(struct table *table)
{
	*table = (struct table){ 0 };
}

void table_fini(struct table *table)
{
	free(table->keys);
	free((void *)table->values);
	*table = (struct table){ 0 };
}

void *table_get(const struct table *table, uint64_t key)
{
	size_t at;

	assert(key);
	if (!table->used)
		return NULL;
	at = find_slot(table, key);
	return table->keys[at] ? table->values[at] : NULL;
}

int table_put(struct table *table, uint64_t key, void *value)
{
	size_t at;
	int r;

	assert(key);
	if (table->used >= table->slots / 4 * 3) {
		r = grow(table);
		if (r < 0)
			return r;
	}
	at = find_slot(table, key);
	table->used += !table->keys[at];
	table->keys[at] = key;
	table->values[at] = value;
	return 0;
}

void *table_remove(struct table *table, uint64_t key)
{
	size_t mask = table->slots - 1, gap, at;
	void *value;

	assert(key);
	if (!table->used)
		return NULL;
	gap = find_slot(table, key);
	if (!table->keys[gap])
		return NULL;
	value = table->values[gap];
	/* Move back what was pushed beyond the gap, so that no search ends there too early. */
	for (at = (gap + 1) & mask; table->keys[at]; at = (at + 1) & mask) {
		size_t home = slot_of(table, table->keys[at]);

		if (((at - home) & mask) < ((at - gap) & mask))
			continue;
		table->keys[gap] = table->keys[at];
		table->values[gap] = table->values[at];
		gap = at;
	}
	table->keys[gap] = 0;
	table->values[gap] = NULL;
	table->used--;
	return value;
}

bool table_next(const struct table *table, size_t *iterator, uint64_t *ret_key, void **ret_value)
{
	for (; *iterator < table->slots; (*iterator)++) {
		if (!table->keys[*iterator])
			continue;
		*ret_key = table->keys[*iterator];
		*ret_value = table->values[*iterator];
		(*iterator)++;
		return true;
	}
	return false;
}
