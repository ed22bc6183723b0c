/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* What the tests of the catalog share. */
#include <sys/stat.h>

#include "catalog/contents.h"
#include "catalog/events.h"
#include "catalog/nodes.h"
#include "test.h"
#include "util/cleanup.h"

#define SITE "6f1c2f6e-0000-4000-8000-000000000001"
#define cleanup_scratch cleanup_with(scratch_free_slot)
#define cleanup_catalog cleanup_with(catalog_close_slot)
DEFINE_CLEANUP(struct catalog *, catalog_close)

static inline struct catalog *open_catalog(const struct scratch *dir)
{
	struct catalog *catalog = NULL;

	check_int(catalog_open(scratch_file(dir, "catalog.db"), SITE, CATALOG_CREATE, &catalog), 0);
	return catalog;
}

static inline struct node_row file_row(uint64_t id, uint64_t size)
{
	return (struct node_row){
		.id = id,
		.mode = S_IFREG | 0644,
		.size = size,
		.mtime_ns = 1000,
		.ctime_ns = 2000,
		.generation = 1,
		.state = FILE_RECEIVING,
		.state_ns = 3000,
	};
}

static inline struct node_row folder_row(uint64_t id)
{
	return (struct node_row){ .id = id, .mode = S_IFDIR | 0755, .mtime_ns = 1000 };
}

static inline void put_file(struct catalog *catalog, uint64_t parent, const char *name, uint64_t id,
			    uint64_t size)
{
	struct node_row row = file_row(id, size);

	check_int(catalog_put_node(catalog, &row), 0);
	check_int(catalog_put_name(catalog, parent, name, id), 0);
}

static inline void put_folder(struct catalog *catalog, uint64_t parent, const char *name,
			      uint64_t id)
{
	struct node_row row = folder_row(id);

	check_int(catalog_put_node(catalog, &row), 0);
	check_int(catalog_put_name(catalog, parent, name, id), 0);
}

/* Bytes that are all @seed, as a map and a digest. Free the map. */
static inline struct blockmap make_map(uint64_t size, uint64_t seed)
{
	struct blockmap map = { 0 };

	check_int(blockmap_init(&map, size), 0);
	for (uint64_t i = 0; i < blockmap_count(size); i++)
		map.hash[i] = seed * 1000 + i;
	return map;
}

static inline struct digest make_digest(uint64_t seed)
{
	struct digest digest;

	digest_of(&seed, sizeof(seed), &digest);
	return digest;
}

/* From RECEIVING to VERIFIED; the content's id. */
static inline uint64_t verify_file(struct catalog *catalog, uint64_t id, uint64_t generation,
				   uint64_t size, uint64_t seed)
{
	struct blockmap map = make_map(size, seed);
	struct digest digest = make_digest(seed);
	struct node_row row;

	check_int(catalog_set_received(catalog, id, generation, 1000, 2000, &map, &digest, 0), 0);
	check_int(catalog_set_verified(catalog, id, generation, &digest, &map, STEP_WAIT), 0);
	blockmap_fini(&map);
	check_int(catalog_get_node(catalog, id, &row), 1);
	check_int(row.state, FILE_VERIFIED);
	return row.content;
}

static inline enum file_state state_of(struct catalog *catalog, uint64_t id)
{
	struct node_row row;

	check_int(catalog_barrier(catalog), 0);
	check_int(catalog_get_node(catalog, id, &row), 1);
	return row.state;
}
