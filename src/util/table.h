/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* Table: uint64_t -> pointer, open addressing. Not thread-safe: the owner locks. */
#include <stddef.h>
#include <stdint.h>

struct table {
	uint64_t *keys; /* 0 = free slot: key 0 is not allowed */
	void **values;
	size_t used, slots;
};

void table_init(struct table *table);
void table_fini(struct table *table);                          /* values are the owner's */
void *table_get(const struct table *table, uint64_t key);      /* NULL when absent */
int table_put(struct table *table, uint64_t key, void *value); /* -ENOMEM; replaces */
void *table_remove(struct table *table, uint64_t key);         /* the value, or NULL */

/* Walk: start with *iterator 0; false at the end. The table must not change meanwhile. */
_Bool table_next(const struct table *table, size_t *iterator, uint64_t *ret_key, void **ret_value);
