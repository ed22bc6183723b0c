/* SPDX-License-Identifier: Apache-2.0 */
#include "util/table.h"

#include <stdlib.h>

#include "test.h"

TEST(an_empty_table_has_nothing)
{
	struct table table;
	size_t iterator = 0;
	uint64_t key;
	void *value;

	table_init(&table);
	check(!table_get(&table, 7));
	check(!table_remove(&table, 7));
	check(!table_next(&table, &iterator, &key, &value));
	table_fini(&table);
}

/* Every key is below KEYS: the model is a plain array. */
#define KEYS 3000

TEST(a_table_holds_what_an_array_would)
{
	static void *model[KEYS];
	struct table table;
	size_t count = 0, iterator = 0, seen = 0;
	uint64_t key;
	void *value;

	table_init(&table);
	srand(1);
	for (int i = 0; i < 200000; i++) {
		uint64_t at = 1 + (uint64_t)rand() % (KEYS - 1);

		if (rand() % 2) {
			value = &model[rand() % KEYS];
			count += !model[at];
			model[at] = value;
			check_int(table_put(&table, at, value), 0);
		} else {
			check(table_remove(&table, at) == model[at]);
			count -= model[at] != NULL;
			model[at] = NULL;
		}
		at = 1 + (uint64_t)rand() % (KEYS - 1);
		check(table_get(&table, at) == model[at]);
		check_int(table.used, count);
	}
	while (table_next(&table, &iterator, &key, &value)) {
		check(key < KEYS && value && model[key] == value);
		model[key] = NULL;
		seen++;
	}
	check_int(seen, count);
	table_fini(&table);
}
