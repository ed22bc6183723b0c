/* SPDX-License-Identifier: Apache-2.0 */
/* When uploads are tried again, and for whom they step aside. */
#include <limits.h>
#include <sqlite3.h>

#include "transfer_help.h"

/* "bad.mov", whose every name in the tier is taken. Its id. */
static uint64_t add_bad_file(struct bench *bench)
{
	uint64_t bad = add_file(bench, "bad.mov", 100, 1);
	char hex[DIGEST_HEX_SIZE], name[64];
	cleanup_content struct content_row content = content_of(bench, bad);

	digest_hex(&content.digest, hex);
	for (int digits = 0; digits <= 32; digits += digits ? 24 : 8) {
		(void)snprintf(name, sizeof(name), "bad%s%.*s.mov", digits ? "~" : "", digits, hex);
		check_int(mkdir(one(bench, name), 0777), 0);
	}
	return bad;
}

/* As if @ns had passed. */
static void let_pass(struct bench *bench, int64_t ns)
{
	bench->transfer->clock_ns += ns;
	(void)run_lane(bench->lane);
}

TEST(eight_failures_of_its_own_set_a_file_aside_and_the_others_go_on)
{
	cleanup_bench struct bench *bench = bench_new(1);
	struct queue_totals totals;
	uint64_t bad, good;

	bench->values[SETTING_RETRY_MAX] = 0;
	(void)run_lane(bench->lane);
	bad = add_bad_file(bench);
	good = add_file(bench, "good.mov", 100, 2);
	queue_file(bench, bad, "bad.mov");
	queue_file(bench, good, "good.mov");
	(void)run_lane(bench->lane);
	check_int(catalog_queue_totals(bench->catalog, bench->lane->tier.id, &totals), 0);
	check_int(totals.poison, 1);
	check_int(events_of(bench, "poison"), 1);
	check_int(state_of(bench, bad), FILE_QUEUED);
	check_int(state_of(bench, good), FILE_STORED);
}

static uint32_t attempts_of(struct bench *bench, uint64_t id)
{
	struct queue_row row = { 0 };

	check_int(catalog_barrier(bench->catalog), 0);
	check_int(catalog_queue_next(bench->catalog, bench->lane->tier.id, UINT_MAX, INT64_MAX,
				     &row, 1),
		  1);
	check_int(row.id, id);
	return row.attempts;
}

/* A file that was tried until it counts as poison. */
static uint64_t set_aside(struct bench *bench)
{
	uint64_t bad;

	bench->values[SETTING_RETRY_MAX] = 0;
	(void)run_lane(bench->lane);
	bad = add_bad_file(bench);
	queue_file(bench, bad, "bad.mov");
	(void)run_lane(bench->lane);
	return bad;
}

TEST(what_was_set_aside_is_tried_again_for_ever)
{
	cleanup_bench struct bench *bench = bench_new(1);
	uint64_t bad = set_aside(bench);

	check_int(attempts_of(bench, bad), POISON_ATTEMPTS);
	let_pass(bench, POISON_PAUSE_NS / 2);
	check_int(attempts_of(bench, bad), POISON_ATTEMPTS);
	for (unsigned i = 1; i <= 20; i++) {
		let_pass(bench, POISON_PAUSE_MAX_NS);
		check_int(attempts_of(bench, bad), POISON_ATTEMPTS + i);
	}
	check_int(events_of(bench, "poison"), 1);
	check_int(rmdir(one(bench, "bad.mov")), 0);
	let_pass(bench, POISON_PAUSE_MAX_NS);
	check_int(state_of(bench, bad), FILE_STORED);
}

TEST(a_wake_tries_what_was_set_aside_at_once)
{
	cleanup_bench struct bench *bench = bench_new(1);
	uint64_t bad = set_aside(bench);

	check_int(rmdir(one(bench, "bad.mov")), 0);
	(void)run_lane(bench->lane);
	check_int(state_of(bench, bad), FILE_QUEUED);
	transfer_wake(bench->transfer);
	(void)run_lane(bench->lane);
	check_int(state_of(bench, bad), FILE_STORED);
}

TEST(what_an_earlier_run_queued_under_a_wrong_clock_neither_waits_nor_stays_behind)
{
	cleanup_bench struct bench *bench = bench_new(1);
	uint64_t id;

	bench->transfer->clock_ns += 4000ll * 24 * 3600 * NS_PER_SEC;
	(void)run_lane(bench->lane);
	id = add_file(bench, "clip.mov", 100, 1);
	bench->values[SETTING_SETTLE] = 3600 * NS_PER_SEC;
	queue_file(bench, id, "clip.mov");
	(void)run_lane(bench->lane);
	check_int(state_of(bench, id), FILE_QUEUED);
	bench_restart(bench);
	bench->values[SETTING_SETTLE] = 1;
	(void)run_lane(bench->lane);
	check_int(state_of(bench, id), FILE_STORED);
}

TEST(a_file_that_moves_often_never_waits_long)
{
	cleanup_bench struct bench *bench = bench_new(1);
	uint64_t id = add_file(bench, "moved.mov", 100, 1);

	bench->values[SETTING_RETRY_MAX] = 600 * NS_PER_SEC;
	check_int(rename(tree_file(bench, "moved.mov"), tree_file(bench, "elsewhere.mov")), 0);
	queue_file(bench, id, "moved.mov");
	for (unsigned i = 1; i <= 20; i++) {
		let_pass(bench, 16 * NS_PER_SEC);
		check_int(attempts_of(bench, id), i);
	}
	check_int(rename(tree_file(bench, "elsewhere.mov"), tree_file(bench, "moved.mov")), 0);
	let_pass(bench, 16 * NS_PER_SEC);
	check_int(state_of(bench, id), FILE_STORED);
}

/* Behind the catalog's back. */
static void sql(struct bench *bench, const char *text)
{
	sqlite3 *db = NULL;

	check_int(catalog_barrier(bench->catalog), 0);
	check_int(sqlite3_open(scratch_file(bench->dir, "catalog.db"), &db), SQLITE_OK);
	check_int(sqlite3_exec(db, text, NULL, NULL, NULL), SQLITE_OK);
	(void)sqlite3_close(db);
}

TEST(what_the_catalog_says_of_a_file_is_not_held_against_the_tier)
{
	cleanup_bench struct bench *bench = bench_new(1);
	uint64_t first = add_file(bench, "a.txt", 100, 1), bad, good;

	queue_file(bench, first, "a.txt");
	(void)run_lane(bench->lane);
	check_int(state_of(bench, first), FILE_STORED);
	bad = add_file(bench, "b.txt", 100, 1); /* the same bytes: its copy is there */
	sql(bench, "UPDATE contents SET digest = zeroblob(length(digest))");
	good = add_file(bench, "c.mov", 100, 2);
	queue_file(bench, bad, "b.txt");
	queue_file(bench, good, "c.mov");
	(void)run_lane(bench->lane);
	check_int(bench->lane->condition, 0);
	check_int(state_of(bench, good), FILE_STORED);
	check_int(state_of(bench, bad), FILE_QUEUED);
}

TEST(a_lane_steps_aside_for_what_arrives_on_its_disk)
{
	cleanup_bench struct bench *bench = bench_new(1);
	uint64_t id = add_file(bench, "clip.mov", 100, 1);

	queue_file(bench, id, "clip.mov");
	bench->busy = 3;
	(void)run_lane(bench->lane);
	check_int(state_of(bench, id), FILE_STORED);
	check_int(bench->busy, 0);
	check(monotonic_ns() - bench->lane->aside_ns < 60 * NS_PER_SEC);
}

TEST(a_lane_that_steps_aside_does_not_starve)
{
	cleanup_bench struct bench *bench = bench_new(1);
	uint64_t id = add_file(bench, "clip.mov", 100, 1);

	queue_file(bench, id, "clip.mov");
	bench->busy = UINT_MAX;
	(void)run_lane(bench->lane);
	check_int(state_of(bench, id), FILE_STORED);
}

TEST(a_tier_on_another_disk_does_not_step_aside)
{
	cleanup_bench struct bench *bench = bench_new(1);
	uint64_t id = add_file(bench, "clip.mov", 100, 1);

	(void)run_lane(bench->lane);
	check(bench->lane->shares_disk);
	bench->lane->shares_disk = false;
	queue_file(bench, id, "clip.mov");
	bench->busy = 3;
	(void)run_lane(bench->lane);
	check_int(state_of(bench, id), FILE_STORED);
	check_int(bench->busy, 3);
}
