/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* What the tests of transfer share: a store with verified files, a directory tier, a host. */
#include <fcntl.h>
#include <sys/stat.h>

#include "catalog/events.h"
#include "test.h"
#include "transfer/internal.h"
#include "util/cleanup.h"
#include "util/clock.h"
#include "util/io.h"

struct bench {
	struct scratch *dir;
	struct store *store;
	struct catalog *catalog;
	struct settings *settings;
	struct transfer *transfer;
	struct lane *lane;
	int64_t values[SETTING_COUNT];
	const char *ignore; /* NULL: built-in */
	uint64_t stored, damaged, damaged_block;
	uint64_t rewritten; /* inode whose change of bytes is not in the catalog's queue yet */
	unsigned busy;      /* bytes arrive: so often is_busy() says yes */
	int uplink;         /* what the settings say of every tier */
};

static inline void bench_stored(void *arg, uint64_t id, uint64_t generation)
{
	(void)generation;
	((struct bench *)arg)->stored = id;
}

static inline void bench_damaged(void *arg, uint64_t id, uint64_t generation, uint64_t block)
{
	struct bench *bench = arg;

	(void)generation;
	bench->damaged = id;
	bench->damaged_block = block;
}

static inline void bench_settle(void *arg, uint64_t id)
{
	struct bench *bench = arg;

	if (id != bench->rewritten)
		return;
	check_int(catalog_begin_generation(bench->catalog, id, 2), 0);
	bench->rewritten = 0;
}

static inline bool bench_busy(void *arg)
{
	struct bench *bench = arg;

	if (bench->busy == 0)
		return false;
	bench->busy--;
	return true;
}

static inline int64_t bench_setting(void *arg, enum setting setting)
{
	return ((struct bench *)arg)->values[setting];
}

static inline int bench_uplink(void *arg, const char *tier)
{
	(void)tier;
	return ((struct bench *)arg)->uplink;
}

static inline char *bench_rule(void *arg, const char *name)
{
	struct bench *bench = arg;

	return bench->ignore && strcmp(name, "ignore") == 0 ? strdup(bench->ignore) : NULL;
}

static inline void bench_open_transfer(struct bench *bench)
{
	const struct transfer_host host = {
		.arg = bench,
		.stored = bench_stored,
		.damaged = bench_damaged,
		.settle = bench_settle,
		.is_busy = bench_busy,
		.setting = bench_setting,
		.uplink = bench_uplink,
		.rule = bench_rule,
	};

	check_int(transfer_new(bench->catalog, bench->store, bench->settings, &host,
			       &bench->transfer),
		  0);
	bench->lane = bench->transfer->lanes[0];
}

/* With tiers "one", and "two" when @tiers is 2, in folders of these names. */
static inline struct bench *bench_new(unsigned tiers)
{
	static const struct store_identity identity = { .site_name = "cart" };
	struct bench *bench = calloc(1, sizeof(*bench));
	char text[8192];
	char *message = NULL;

	check(bench != NULL);
	bench->uplink = -1;
	bench->dir = scratch_new();
	check_int(mkdir(scratch_file(bench->dir, "one"), 0777), 0);
	check_int(mkdir(scratch_file(bench->dir, "two"), 0777), 0);
	(void)snprintf(text, sizeof(text), "[tier one]\nurl = file://%s\n%s%s%s",
		       scratch_file(bench->dir, "one"),
		       tiers > 1 ? "[tier two]\nurl = file://" : "",
		       tiers > 1 ? scratch_file(bench->dir, "two") : "", tiers > 1 ? "\n" : "");
	check_int(settings_parse(text, strlen(text), &bench->settings, &message), 0);
	check_int(store_create(scratch_file(bench->dir, "store"), &identity, text), 0);
	check_int(store_open(scratch_file(bench->dir, "store"), STORE_LOCK, &bench->store), 0);
	check_int(catalog_open(scratch_file(bench->dir, "catalog.db"), bench->store->site_uuid,
			       CATALOG_CREATE, &bench->catalog),
		  0);
	bench->values[SETTING_RETRY_MAX] = 10 * NS_PER_SEC;
	bench->values[SETTING_REQUIRED_COPIES] = 1;
	bench_open_transfer(bench);
	return bench;
}

static inline void bench_free(struct bench *bench)
{
	transfer_free(bench->transfer);
	catalog_close(bench->catalog);
	settings_free(bench->settings);
	store_close(bench->store);
	scratch_free(bench->dir);
	free(bench);
}
DEFINE_CLEANUP(struct bench *, bench_free)
#define cleanup_bench cleanup_with(bench_free_slot)

/* As after kill -9 of the daemon: what the catalog has is all that is known. */
static inline void bench_restart(struct bench *bench)
{
	transfer_free(bench->transfer);
	catalog_close(bench->catalog);
	check_int(catalog_open(scratch_file(bench->dir, "catalog.db"), bench->store->site_uuid, 0,
			       &bench->catalog),
		  0);
	bench_open_transfer(bench);
}

static inline uint8_t byte_at(uint64_t offset, unsigned seed)
{
	return (uint8_t)(offset * 31 + (offset >> 12) * 7 + (offset >> 22) + seed);
}

static inline char *tree_file(const struct bench *bench, const char *name)
{
	char path[4200];

	(void)snprintf(path, sizeof(path), "store/tree/%s", name);
	return (char *)scratch_file(bench->dir, path);
}

static inline void fill(const char *path, uint64_t size, unsigned seed)
{
	cleanup_close int fd = open(path, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
	cleanup_free uint8_t *bytes = malloc(size + 1);

	check(fd >= 0 && bytes != NULL);
	for (uint64_t i = 0; i < size; i++)
		bytes[i] = byte_at(i, seed);
	check_int(write_at(fd, bytes, size, 0), 0);
}

static inline void describe(uint64_t size, unsigned seed, struct blockmap *ret_map,
			    struct digest *ret_digest)
{
	cleanup_free uint8_t *bytes = malloc(size + 1);

	check(bytes != NULL);
	for (uint64_t i = 0; i < size; i++)
		bytes[i] = byte_at(i, seed);
	check_int(blockmap_init(ret_map, size), 0);
	for (uint64_t i = 0; i < blockmap_count(size); i++)
		ret_map->hash[i] = block_hash(bytes + i * BLOCK_BYTES, blockmap_length(size, i));
	digest_of(bytes, size, ret_digest);
}

static inline void set_verified(struct bench *bench, uint64_t id, uint64_t generation,
				uint64_t size, unsigned seed)
{
	struct blockmap map = { 0 };
	struct digest digest;

	describe(size, seed, &map, &digest);
	check_int(catalog_set_received(bench->catalog, id, generation, 0, 0, &map, &digest, 0), 0);
	check_int(catalog_set_verified(bench->catalog, id, generation, &digest, &map, STEP_WAIT),
		  0);
	blockmap_fini(&map);
}

/* A file at the top of the tree, VERIFIED in the catalog, not queued. Its id. */
static inline uint64_t add_file(struct bench *bench, const char *name, uint64_t size, unsigned seed)
{
	struct node_row row = { .mode = S_IFREG | 0644, .generation = 1, .state = FILE_RECEIVING };
	struct stat st;

	fill(tree_file(bench, name), size, seed);
	check_int(stat(tree_file(bench, name), &st), 0);
	row.id = store_node_id(bench->store, &st);
	row.size = size;
	check_int(catalog_put_node(bench->catalog, &row), 0);
	check_int(catalog_put_name(bench->catalog, CATALOG_ROOT, name, row.id), 0);
	set_verified(bench, row.id, 1, size, seed);
	return row.id;
}

static inline enum file_state state_of(struct bench *bench, uint64_t id)
{
	struct node_row row;

	check_int(catalog_barrier(bench->catalog), 0);
	check_int(catalog_get_node(bench->catalog, id, &row), 1);
	return row.state;
}

static inline struct node_row node_of(struct bench *bench, uint64_t id)
{
	struct node_row row = { 0 };

	check_int(catalog_barrier(bench->catalog), 0);
	check_int(catalog_get_node(bench->catalog, id, &row), 1);
	return row;
}

/* Steps of the lane until it would sleep; when it would wake (transfer_now_ns()). */
static inline int64_t run_lane(struct lane *lane)
{
	int64_t until_ns = 0;

	for (unsigned i = 0; i < 1000; i++)
		if (lane_step(lane, &until_ns) == LANE_SLEEP && lane->seen == lane->transfer->wakes)
			return until_ns;
	test_fail(__FILE__, __LINE__, "the lane never rests");
	return 0;
}

/* No copy of what is waiting in the lane's back-off. */
static inline void end_pause(struct lane *lane)
{
	lane->next_try_ns = 0;
}

static inline bool is_file(const char *path, uint64_t size, unsigned seed)
{
	cleanup_close int fd = open(path, O_RDONLY | O_CLOEXEC);
	cleanup_free uint8_t *bytes = malloc(size + 1);
	struct stat st;

	if (fd < 0 || fstat(fd, &st) < 0 || (uint64_t)st.st_size != size ||
	    read_at(fd, bytes, size, 0) < 0)
		return false;
	for (uint64_t i = 0; i < size; i++)
		if (bytes[i] != byte_at(i, seed))
			return false;
	return true;
}

static inline void flip_byte(const char *path, off_t offset)
{
	cleanup_close int fd = open(path, O_RDWR | O_CLOEXEC);
	uint8_t byte;

	check(fd >= 0);
	check_int(read_at(fd, &byte, 1, offset), 0);
	byte ^= 0x10;
	check_int(write_at(fd, &byte, 1, offset), 0);
}

/* The path of @key in tier "one". */
static inline const char *one(const struct bench *bench, const char *key)
{
	char path[4200];

	(void)snprintf(path, sizeof(path), "one/%s", key);
	return scratch_file(bench->dir, path);
}

static inline void queue_file(struct bench *bench, uint64_t id, const char *path)
{
	struct node_row row = node_of(bench, id);

	check_int(transfer_file_verified(bench->transfer, id, row.generation, path, row.size), 0);
}

struct event_count {
	const char *event;
	uint64_t count;
};

static inline int count_event(void *arg, const struct event *event)
{
	struct event_count *count = arg;

	count->count += strcmp(event->event, count->event) == 0;
	return 0;
}

static inline uint64_t events_of(struct bench *bench, const char *event)
{
	struct event_count count = { .event = event };

	check_int(catalog_barrier(bench->catalog), 0);
	check_int(
		catalog_each_event(bench->catalog, EVENTS_OLDEST_FIRST, 0, 0, count_event, &count),
		0);
	return count.count;
}

static inline struct content_row content_of(struct bench *bench, uint64_t id)
{
	struct content_row content = { 0 };

	check_int(catalog_get_content(bench->catalog, node_of(bench, id).content, &content), 1);
	return content;
}
#define cleanup_content cleanup_with(content_row_fini)
