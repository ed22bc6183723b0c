/* SPDX-License-Identifier: Apache-2.0 */
#include <sqlite3.h>

#include "catalog_help.h"

static void add(struct catalog *catalog, const char *path)
{
	struct event event = { .actor = "daemon", .path = path, .event = "verified" };

	check_int(catalog_add_event(catalog, &event), 0);
}

struct seen {
	uint64_t first, last, count;
	struct event event;
	char path[64], site[64], actor[64], digest[64];
};

static int see(void *arg, const struct event *event)
{
	struct seen *seen = arg;

	if (seen->count++ == 0)
		seen->first = event->seq;
	seen->last = event->seq;
	seen->event = *event;
	(void)snprintf(seen->path, sizeof(seen->path), "%s", event->path);
	(void)snprintf(seen->site, sizeof(seen->site), "%s", event->site);
	(void)snprintf(seen->actor, sizeof(seen->actor), "%s", event->actor);
	(void)snprintf(seen->digest, sizeof(seen->digest), "%s", event->digest);
	return 0;
}

TEST(events_are_numbered_without_gaps)
{
	cleanup_scratch struct scratch *dir = scratch_new();
	cleanup_catalog struct catalog *catalog = open_catalog(dir);
	struct seen seen = { 0 };
	uint64_t seq;

	for (int i = 0; i < 300; i++) {
		add(catalog, "A001/\xff");
		if (i % 50 == 0)
			check_int(catalog_barrier(catalog), 0);
	}
	check_int(catalog_barrier(catalog), 0);
	check_int(catalog_each_event(catalog, EVENTS_OLDEST_FIRST, 0, 0, see, &seen), 0);
	check_int(seen.count, 300);
	check_int(seen.first, 1);
	check_int(seen.last, 300);
	check_str(seen.path, "A001/\xff");
	check_str(seen.site, SITE);
	check_str(seen.actor, "daemon");
	check_str(seen.digest, "");
	check(seen.event.time_ns > 1700000000ll * 1000000000);
	check_int(catalog_check_events(catalog, &seq), 0);
}

TEST(events_are_told_from_either_end)
{
	cleanup_scratch struct scratch *dir = scratch_new();
	cleanup_catalog struct catalog *catalog = open_catalog(dir);
	struct seen seen = { 0 };

	for (int i = 0; i < 300; i++)
		add(catalog, "");
	check_int(catalog_barrier(catalog), 0);
	check_int(catalog_each_event(catalog, EVENTS_NEWEST_FIRST, 0, 200, see, &seen), 0);
	check_int(seen.count, 200);
	check_int(seen.first, 300);
	check_int(seen.last, 101);
	memset(&seen, 0, sizeof(seen));
	check_int(catalog_each_event(catalog, EVENTS_OLDEST_FIRST, 290, 0, see, &seen), 0);
	check_int(seen.first, 291);
	check_int(seen.last, 300);
	memset(&seen, 0, sizeof(seen));
	check_int(catalog_each_event(catalog, EVENTS_OLDEST_FIRST, 10, 5, see, &seen), 0);
	check_int(seen.count, 5);
	check_int(seen.last, 15);
}

TEST(the_chain_goes_on_after_a_restart)
{
	cleanup_scratch struct scratch *dir = scratch_new();
	uint64_t seq;

	for (int i = 0; i < 3; i++) {
		cleanup_catalog struct catalog *catalog = open_catalog(dir);

		add(catalog, "a");
		add(catalog, "b");
		check_int(catalog_barrier(catalog), 0);
		check_int(catalog_check_events(catalog, &seq), 0);
	}
}

/* The chain as events.h says it, made from its parts. */
TEST(the_chain_is_what_the_header_says)
{
	cleanup_scratch struct scratch *dir = scratch_new();
	cleanup_catalog struct catalog *catalog = open_catalog(dir);
	struct seen seen = { 0 };
	uint8_t chain[CHAIN_BYTES], bytes[256] = { 0 };
	struct chain_piece piece = { bytes, 0 };
	sqlite3 *sqlite;
	sqlite3_stmt *stmt;
	size_t length = 32;

	add(catalog, "p");
	check_int(catalog_barrier(catalog), 0);
	check_int(catalog_each_event(catalog, EVENTS_OLDEST_FIRST, 0, 0, see, &seen), 0);
	bytes[length + 7] = 1;
	length += 8;
	for (int i = 0; i < 8; i++)
		bytes[length++] = (uint8_t)((uint64_t)seen.event.time_ns >> (56 - 8 * i));
	length += (size_t)sprintf((char *)bytes + length, "%s%cdaemon%cp%cverified%c%c%c", SITE, 0,
				  0, 0, 0, 0, 0);
	piece.length = length;
	check_int(chain_hash(&piece, 1, chain), 0);
	check_int(sqlite3_open(scratch_file(dir, "catalog.db"), &sqlite), SQLITE_OK);
	check_int(sqlite3_prepare_v2(sqlite, "SELECT chain FROM events", -1, &stmt, NULL), 0);
	check_int(sqlite3_step(stmt), SQLITE_ROW);
	check(memcmp(sqlite3_column_blob(stmt, 0), chain, CHAIN_BYTES) == 0);
	(void)sqlite3_finalize(stmt);
	(void)sqlite3_close(sqlite);
}

static void run_sql(const struct scratch *dir, const char *sql)
{
	sqlite3 *sqlite;

	check_int(sqlite3_open(scratch_file(dir, "catalog.db"), &sqlite), SQLITE_OK);
	check_int(sqlite3_exec(sqlite, sql, NULL, NULL, NULL), SQLITE_OK);
	(void)sqlite3_close(sqlite);
}

#define UNLOCK "DROP TRIGGER events_keep; DROP TRIGGER events_fixed;"

TEST(a_changed_log_is_found)
{
	static const struct {
		const char *sql;
		uint64_t seq;
	} cases[] = {
		{ UNLOCK "UPDATE events SET path = 'c' WHERE seq = 150", 150 },
		{ UNLOCK "UPDATE events SET time_ns = time_ns + 1 WHERE seq = 1", 1 },
		{ UNLOCK "UPDATE events SET actor = 'uid:0' WHERE seq = 200", 200 },
		{ UNLOCK "UPDATE events SET site = '' WHERE seq = 200", 200 },
		{ UNLOCK "UPDATE events SET digest = '0' WHERE seq = 200", 200 },
		{ UNLOCK "UPDATE events SET detail = '0' WHERE seq = 200", 200 },
		{ UNLOCK "UPDATE events SET event = 'stored' WHERE seq = 200", 200 },
		{ UNLOCK "UPDATE events SET chain = zeroblob(32) WHERE seq = 200", 200 },
		{ UNLOCK "UPDATE events SET chain = x'00' WHERE seq = 200", 200 },
		{ UNLOCK "UPDATE events SET path = x'610062' WHERE seq = 200", 200 },
		{ UNLOCK "DELETE FROM events WHERE seq = 128", 128 },
		{ UNLOCK "DELETE FROM events WHERE seq = 200", 200 },
		{ UNLOCK "DELETE FROM events WHERE seq > 100", 101 },
	};

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		cleanup_scratch struct scratch *dir = scratch_new();
		cleanup_catalog struct catalog *catalog = open_catalog(dir);
		uint64_t seq = 0;

		for (int j = 0; j < 200; j++)
			add(catalog, "a");
		check_int(catalog_barrier(catalog), 0);
		run_sql(dir, cases[i].sql);
		check_int(catalog_check_events(catalog, &seq), -EUCLEAN);
		check_int(seq, cases[i].seq);
	}
}

TEST(the_log_only_grows)
{
	cleanup_scratch struct scratch *dir = scratch_new();
	cleanup_catalog struct catalog *catalog = open_catalog(dir);
	sqlite3 *sqlite;

	add(catalog, "a");
	check_int(catalog_barrier(catalog), 0);
	check_int(sqlite3_open(scratch_file(dir, "catalog.db"), &sqlite), SQLITE_OK);
	check_int(sqlite3_exec(sqlite, "DELETE FROM events", NULL, NULL, NULL), SQLITE_CONSTRAINT);
	check_int(sqlite3_exec(sqlite, "UPDATE events SET path = ''", NULL, NULL, NULL),
		  SQLITE_CONSTRAINT);
	(void)sqlite3_close(sqlite);
}
