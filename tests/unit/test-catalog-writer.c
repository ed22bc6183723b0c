/* SPDX-License-Identifier: Apache-2.0 */
#include <pthread.h>
#include <sched.h>
#include <semaphore.h>
#include <stdatomic.h>
#include <sys/syscall.h>

#include "catalog/check.h"
#include "catalog/private.h"
#include "catalog_help.h"
#include "util/clock.h"

#define DEADLINE_NS (30 * NS_PER_SEC)

/* SQLite's syncs come through here: counted, and failed on demand. */
static atomic_int syncs;
static atomic_int sync_error;

static int count_sync(long number, int fd)
{
	syncs++;
	if (sync_error) {
		errno = sync_error;
		return -1;
	}
	return (int)syscall(number, fd);
}

int fdatasync(int fd)
{
	return count_sync(SYS_fdatasync, fd);
}

int fsync(int fd)
{
	return count_sync(SYS_fsync, fd);
}

struct call_step {
	struct step step;
	int (*fn)(struct db *db, void *arg);
	void *arg;
};

static int apply_call(struct db *db, struct step *step)
{
	struct call_step *call = (struct call_step *)step;

	return call->fn(db, call->arg);
}

static int call(struct catalog *catalog, int (*fn)(struct db *db, void *arg), void *arg,
		enum step_flags flags)
{
	struct call_step *step = step_new(sizeof(*step), apply_call);

	check(step);
	step->fn = fn;
	step->arg = arg;
	return step_submit(catalog, &step->step, flags);
}

/* What is said to wait while it is tried to write that. */
static int note_waiting(struct db *db, void *arg)
{
	struct catalog_health health;

	catalog_get_health(db->catalog, &health);
	*(size_t *)arg = health.waiting;
	return 0;
}

static int count_commit(void *arg)
{
	++*(int *)arg;
	return 0;
}

static int hook_commits(struct db *db, void *arg)
{
	(void)sqlite3_commit_hook(db->sqlite, count_commit, arg);
	return 0;
}

static void reopen(struct scratch *dir, struct catalog **catalog)
{
	catalog_close(*catalog);
	*catalog = open_catalog(dir);
}

static void put_many(struct catalog *catalog, uint64_t first, uint64_t count)
{
	char name[32];

	for (uint64_t id = first; id < first + count; id++) {
		(void)snprintf(name, sizeof(name), "f%" PRIu64, id);
		put_file(catalog, 1, name, id, id);
	}
}

TEST(many_steps_share_a_commit)
{
	cleanup_scratch struct scratch *dir = scratch_new();
	cleanup_catalog struct catalog *catalog = open_catalog(dir);
	int commits = 0;

	check_int(call(catalog, hook_commits, &commits, STEP_WAIT), 0);
	commits = 0;
	put_many(catalog, 10, 10000);
	check_int(catalog_barrier(catalog), 0);
	/* 20 000 steps: at least five batches of 4096, and what the time cut. */
	check(commits >= 5 && commits < 100);
}

TEST(steps_are_committed_though_nobody_waits)
{
	cleanup_scratch struct scratch *dir = scratch_new();
	cleanup_catalog struct catalog *catalog = open_catalog(dir);
	int64_t start = monotonic_ns();
	struct node_row row;

	put_file(catalog, 1, "a", 10, 5);
	while (catalog_get_node(catalog, 10, &row) == 0) {
		check(monotonic_ns() - start < DEADLINE_NS);
		(void)sched_yield();
	}
	check(monotonic_ns() - start > BATCH_DELAY_NS / 2); /* not each by itself */
}

TEST(only_durable_steps_sync)
{
	cleanup_scratch struct scratch *dir = scratch_new();
	cleanup_catalog struct catalog *catalog = open_catalog(dir);
	int before = syncs;

	check_int(catalog_set_meta(catalog, "a", "0"), 0);
	check_int(catalog_flush(catalog), 0);
	check(syncs > before);
	before = syncs;
	put_many(catalog, 10, 100);
	check_int(catalog_barrier(catalog), 0);
	check_int(syncs, before);
	/* Nothing to commit, and yet what was committed before must become durable. */
	check_int(catalog_flush(catalog), 0);
	check(syncs > before);
	before = syncs;
	check_int(catalog_flush(catalog), 0);
	check_int(syncs, before); /* all is durable already */
	put_many(catalog, 1000, 1);
	check_int(catalog_flush(catalog), 0);
	check(syncs > before);
}

static int set_meta(struct db *db, void *arg)
{
	return db_set_meta(db, "a", arg);
}

TEST(later_steps_share_a_sync_and_nobody_waits)
{
	cleanup_scratch struct scratch *dir = scratch_new();
	cleanup_catalog struct catalog *catalog = open_catalog(dir);
	cleanup_free char *value = NULL;
	int64_t start;
	int before;

	check_int(catalog_set_meta(catalog, "a", "0"), 0);
	check_int(catalog_flush(catalog), 0);
	before = syncs;
	start = monotonic_ns();
	for (int i = 0; i < 50; i++)
		check_int(call(catalog, set_meta, "1", STEP_DURABLE | STEP_LATER), 0);
	check(monotonic_ns() - start < BATCH_DELAY_NS || syncs > before);
	/* What can be read is on disk. */
	check_int(catalog_barrier(catalog), 0);
	check(syncs > before && syncs < before + 25);
	check_int(catalog_get_meta(catalog, "a", &value), 1);
	check_str(value, "1");
	before = syncs;
	check_int(catalog_flush(catalog), 0);
	check_int(syncs, before);
}

static void wait_until_it_works(struct catalog *catalog)
{
	int64_t deadline_ns = monotonic_ns() + DEADLINE_NS;

	while (catalog_error(catalog) < 0) {
		check(monotonic_ns() < deadline_ns);
		sched_yield();
	}
}

TEST(a_failed_sync_passes_and_nothing_is_lost)
{
	cleanup_scratch struct scratch *dir = scratch_new();
	struct catalog *catalog = open_catalog(dir);
	struct event event = { .event = "x" };
	struct catalog_health health;
	struct node_row row;
	size_t tried = 0;

	put_file(catalog, 1, "a", 10, 5);
	check_int(catalog_flush(catalog), 0);
	put_file(catalog, 1, "b", 11, 5);
	sync_error = EIO;
	check_int(catalog_flush(catalog), -EIO);
	check_int(catalog_error(catalog), -EIO);
	check_int(catalog_flush(catalog), -EIO); /* who waits is not kept waiting */
	check_int(catalog_barrier(catalog), -EIO);
	check_int(catalog_add_event(catalog, &event), 0);
	check_int(catalog_remove_name(catalog, 1, "a"), 0);
	put_file(catalog, 1, "a", 12, 5);
	check_int(catalog_get_node(catalog, 10, &row), 1); /* reading goes on */
	check_int(catalog_get_node(catalog, 11, &row), 0);
	catalog_get_health(catalog, &health);
	check_int(health.error, -EIO);
	check(!health.lost && health.waiting >= 6);
	check_int(call(catalog, note_waiting, &tried, 0), 0);
	sync_error = 0;
	wait_until_it_works(catalog);
	check(tried >= 7);
	check_int(catalog_flush(catalog), 0);
	check_int(catalog_get_node(catalog, 11, &row), 1);
	check_int(catalog_lookup(catalog, 1, "a", &row), 1);
	check_int(row.id, 12);
	reopen(dir, &catalog);
	check(!catalog_was_unclean(catalog));
	check_int(catalog_lookup(catalog, 1, "a", &row), 1);
	check_int(row.id, 12);
	check_int(catalog_check(catalog, NULL, NULL), 0);
	catalog_close(catalog);
}

TEST(closed_while_it_fails_it_is_unclean)
{
	cleanup_scratch struct scratch *dir = scratch_new();
	struct catalog *catalog = open_catalog(dir);
	struct node_row row;

	put_file(catalog, 1, "a", 10, 5);
	check_int(catalog_flush(catalog), 0);
	sync_error = EIO;
	put_file(catalog, 1, "b", 11, 5);
	check_int(catalog_flush(catalog), -EIO);
	put_file(catalog, 1, "c", 12, 5);
	catalog_close(catalog);
	sync_error = 0;

	catalog = open_catalog(dir);
	check(catalog_was_unclean(catalog));
	check_int(catalog_get_node(catalog, 10, &row), 1);
	check_int(catalog_check(catalog, NULL, NULL), 0);
	catalog_close(catalog);
}

TEST(more_than_can_be_kept_makes_it_fail_for_good)
{
	cleanup_scratch struct scratch *dir = scratch_new();
	struct catalog *catalog = open_catalog(dir);
	struct catalog_health health = { 0 };
	size_t refused_at = 0, most = 0;

	put_file(catalog, 1, "a", 10, 5);
	sync_error = EIO;
	check_int(catalog_flush(catalog), -EIO);
	while (!health.lost) {
		struct node_row row = file_row(1000, 1);

		check(most < 2 * KEPT_MAX_STEPS);
		if (!refused_at && catalog_refuses(catalog) < 0)
			refused_at = most;
		if (catalog_put_node(catalog, &row) == 0)
			most++;
		catalog_get_health(catalog, &health);
	}
	check(refused_at > QUEUE_MAX_STEPS && refused_at < most);
	sync_error = 0;
	check_int(health.error, -EIO);
	check_int(catalog_barrier(catalog), -EIO);
	reopen(dir, &catalog);
	check(catalog_was_unclean(catalog));
	catalog_close(catalog);
}

static int limit_pages(struct db *db, void *arg)
{
	(void)arg;
	return db_exec(db, "PRAGMA max_page_count = 1"); /* SQLite makes it what there is */
}

TEST(a_full_database_applies_nothing_by_halves)
{
	cleanup_scratch struct scratch *dir = scratch_new();
	struct catalog *catalog = open_catalog(dir);
	struct node_row row;
	uint64_t id = 1000;

	put_file(catalog, 1, "a", 10, 5);
	check_int(call(catalog, limit_pages, NULL, STEP_WAIT), 0);
	while (catalog_error(catalog) == 0) {
		char name[32];

		check(id < 1000000);
		row = file_row(++id, 1);
		(void)snprintf(name, sizeof(name), "f%" PRIu64, id);
		if (catalog_put_node(catalog, &row) < 0 ||
		    catalog_put_name(catalog, 1, name, id) < 0)
			break;
	}
	check_int(catalog_error(catalog), -ENOSPC);
	check_int(catalog_flush(catalog), -ENOSPC);
	check_int(catalog_set_meta(catalog, "k", "v"), 0); /* kept, in vain */
	reopen(dir, &catalog);
	check(catalog_was_unclean(catalog));
	check_int(catalog_get_node(catalog, 10, &row), 1);
	check_int(catalog_check(catalog, NULL, NULL), 0);
	catalog_close(catalog);
}

struct gate {
	sem_t reached, open;
};

static void take(sem_t *sem)
{
	while (sem_wait(sem) < 0)
		check(errno == EINTR);
}

static int wait_at(struct db *db, void *arg)
{
	struct gate *gate = arg;

	(void)db;
	check_int(sem_post(&gate->reached), 0);
	take(&gate->open);
	return 0;
}

struct producer {
	struct catalog *catalog;
	atomic_int done;
	int result;
};

static void *fill_queue(void *arg)
{
	struct producer *producer = arg;
	char value[32];

	for (int i = 0; i <= (int)QUEUE_MAX_STEPS && producer->result == 0; i++) {
		(void)snprintf(value, sizeof(value), "%d", i);
		producer->result = catalog_set_meta(producer->catalog, "n", value);
	}
	producer->done = 1;
	return NULL;
}

static void *fill_bytes(void *arg)
{
	struct producer *producer = arg;
	static char value[65536];

	for (int i = 0; i <= (int)(QUEUE_MAX_BYTES / sizeof(value)) && producer->result == 0; i++)
		producer->result =
			catalog_set_xattr(producer->catalog, 10, "user.a", value, sizeof(value));
	producer->done = 1;
	return NULL;
}

static size_t read_field(struct catalog *catalog, const size_t *field)
{
	scoped_lock(&catalog->writer.lock);
	return *field;
}

static void test_full(void *(*fill)(void *), size_t *ret_steps, size_t *ret_bytes)
{
	cleanup_scratch struct scratch *dir = scratch_new();
	cleanup_catalog struct catalog *catalog = open_catalog(dir);
	struct producer producer = { .catalog = catalog };
	int64_t start = monotonic_ns();
	pthread_t thread;
	struct gate gate;

	check_int(sem_init(&gate.reached, 0, 0), 0);
	check_int(sem_init(&gate.open, 0, 0), 0);
	put_file(catalog, 1, "a", 10, 5);
	check_int(catalog_barrier(catalog), 0);
	check_int(call(catalog, wait_at, &gate, 0), 0);
	take(&gate.reached); /* from here on the queue is empty and the writer busy */
	check_int(pthread_create(&thread, NULL, fill, &producer), 0);
	while (read_field(catalog, &catalog->writer.squeezed) == 0) {
		check(monotonic_ns() - start < DEADLINE_NS);
		(void)sched_yield();
	}
	check_int(producer.done, 0);
	*ret_steps = read_field(catalog, &catalog->writer.steps);
	*ret_bytes = read_field(catalog, &catalog->writer.bytes);
	check_int(sem_post(&gate.open), 0);
	check_int(pthread_join(thread, NULL), 0);
	check_int(producer.result, 0);
	check_int(catalog_barrier(catalog), 0);
	(void)sem_destroy(&gate.reached);
	(void)sem_destroy(&gate.open);
}

TEST(a_queue_full_of_steps_makes_the_caller_wait)
{
	size_t steps, bytes;

	test_full(fill_queue, &steps, &bytes);
	check_int(steps, QUEUE_MAX_STEPS);
}

TEST(a_queue_full_of_bytes_makes_the_caller_wait)
{
	size_t steps, bytes;

	test_full(fill_bytes, &steps, &bytes);
	check(bytes <= QUEUE_MAX_BYTES && bytes > QUEUE_MAX_BYTES - 2 * 65536);
}

struct worker {
	struct catalog *catalog;
	uint64_t first;
	int error;
};

static void *work(void *arg)
{
	struct worker *worker = arg;
	struct catalog *catalog = worker->catalog;
	char name[32], moved[32];
	int r = 0;

	for (uint64_t id = worker->first; r == 0 && id < worker->first + 200; id++) {
		struct node_row row = file_row(id, 100);
		struct blockmap map = { 0 };
		struct digest digest = make_digest(id % 50);
		struct event event = { .event = "verified", .path = name };

		(void)snprintf(name, sizeof(name), "f%" PRIu64, id);
		(void)snprintf(moved, sizeof(moved), "g%" PRIu64, id % 50);
		r = blockmap_init(&map, 100);
		if (r == 0)
			r = catalog_put_node(catalog, &row);
		if (r == 0)
			r = catalog_put_name(catalog, 1, name, id);
		if (r == 0)
			r = catalog_set_received(catalog, id, 1, 1, 1, &map, &digest, 0);
		if (r == 0)
			r = catalog_set_verified(catalog, id, 1, &digest, &map,
						 id % 10 ? 0 : STEP_DURABLE);
		if (r == 0)
			r = catalog_add_event(catalog, &event);
		if (r == 0 && id % 3 == 0) /* all of them fight for the same few names */
			r = catalog_move_name(catalog, 1, name, 1, moved, 0);
		if (r == 0 && id % 7 == 0)
			r = catalog_get_node(catalog, id, &row) < 0;
		blockmap_fini(&map);
	}
	worker->error = r;
	return NULL;
}

TEST(eight_writers_leave_a_sound_catalog)
{
	cleanup_scratch struct scratch *dir = scratch_new();
	cleanup_catalog struct catalog *catalog = open_catalog(dir);
	struct worker workers[8];
	pthread_t threads[8];

	check_int(catalog_set_meta(catalog, "sync", "on"), 0);
	for (uint64_t i = 0; i < 8; i++) {
		workers[i] = (struct worker){ .catalog = catalog, .first = 1000 * (i + 1) };
		check_int(pthread_create(&threads[i], NULL, work, &workers[i]), 0);
	}
	for (int i = 0; i < 8; i++)
		check_int(pthread_join(threads[i], NULL), 0);
	for (int i = 0; i < 8; i++)
		check_int(workers[i].error, 0);
	check_int(catalog_barrier(catalog), 0);
	check_int(catalog_check(catalog, NULL, NULL), 0);
}

/* More readers than connections: the rest waits its turn. */
static void *read_loop(void *arg)
{
	struct worker *worker = arg;
	struct node_row row;

	for (int i = 0; i < 300 && worker->error == 0; i++) {
		if (catalog_lookup_path(worker->catalog, "a", &row) != 1)
			worker->error = -EIO;
	}
	return NULL;
}

TEST(twenty_readers_share_eight_connections)
{
	cleanup_scratch struct scratch *dir = scratch_new();
	cleanup_catalog struct catalog *catalog = open_catalog(dir);
	struct worker workers[20];
	pthread_t threads[20];

	put_file(catalog, 1, "a", 10, 5);
	check_int(catalog_barrier(catalog), 0);
	for (int i = 0; i < 20; i++) {
		workers[i] = (struct worker){ .catalog = catalog };
		check_int(pthread_create(&threads[i], NULL, read_loop, &workers[i]), 0);
	}
	for (int i = 0; i < 20; i++)
		check_int(pthread_join(threads[i], NULL), 0);
	for (int i = 0; i < 20; i++)
		check_int(workers[i].error, 0);
	check(catalog->open_readers <= READERS_MAX);
}

static int refuse(struct db *db, void *arg)
{
	(void)db;
	return *(int *)arg;
}

TEST(a_refused_step_fails_alone)
{
	cleanup_scratch struct scratch *dir = scratch_new();
	cleanup_catalog struct catalog *catalog = open_catalog(dir);
	int refusal = -ESTALE;
	struct node_row row;

	put_file(catalog, 1, "a", 10, 5);
	check_int(call(catalog, refuse, &refusal, STEP_WAIT), -ESTALE);
	put_file(catalog, 1, "b", 11, 5);
	check_int(catalog_barrier(catalog), 0);
	check_int(catalog_error(catalog), 0);
	check_int(catalog_get_node(catalog, 10, &row), 1);
	check_int(catalog_get_node(catalog, 11, &row), 1);
}

static int fail_midway(struct db *db, void *arg)
{
	(void)arg;
	check_int(db_set_meta(db, "half", "done"), 0);
	return db_fail(db, -ENOMEM);
}

TEST(a_step_that_fails_midway_takes_its_batch_back)
{
	cleanup_scratch struct scratch *dir = scratch_new();
	cleanup_catalog struct catalog *catalog = open_catalog(dir);
	cleanup_free char *value = NULL;

	check_int(call(catalog, fail_midway, NULL, STEP_WAIT), -ENOMEM);
	check_int(catalog_error(catalog), -ENOMEM);
	check_int(catalog_get_meta(catalog, "half", &value), 0);
	wait_until_it_works(catalog);
	check_int(catalog_flush(catalog), 0);
	check_int(catalog_get_meta(catalog, "half", &value), 0);
}

/* What is queued is applied before the end. */
TEST(closing_applies_what_is_queued)
{
	cleanup_scratch struct scratch *dir = scratch_new();
	struct catalog *catalog = open_catalog(dir);
	struct node_row row;

	put_many(catalog, 10, 5000);
	reopen(dir, &catalog);
	check(!catalog_was_unclean(catalog));
	check_int(catalog_get_node(catalog, 5009, &row), 1);
	catalog_close(catalog);
}

TEST(a_reader_that_could_not_end_is_not_read_from_again)
{
	cleanup_scratch struct scratch *dir = scratch_new();
	cleanup_catalog struct catalog *catalog = open_catalog(dir);
	struct node_row row;
	struct db *db;

	check_int(reader_take(catalog, &db), 0);
	check_int(db_begin_read(db), 0);
	check_int(db_get_node(db, CATALOG_ROOT, &row), 1); /* what is written now it does not see */
	put_many(catalog, 10, 1);
	check_int(catalog_barrier(catalog), 0);
	(void)sqlite3_hard_heap_limit64(1);
	db_end_read(db);
	(void)sqlite3_hard_heap_limit64(0);
	check(!sqlite3_get_autocommit(db->sqlite)); /* else this shows nothing */
	reader_give(db);
	check_int(catalog_get_node(catalog, 10, &row), 1);
}
