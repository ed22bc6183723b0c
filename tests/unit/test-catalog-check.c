/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <sqlite3.h>
#include <stdatomic.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "catalog/check.h"
#include "catalog_help.h"
#include "util/clock.h"

static atomic_int failing_reads;

/* SQLite's. */
ssize_t pread64(int fd, void *to, size_t length, off64_t offset)
{
	if (failing_reads > 0) {
		failing_reads--;
		errno = EIO;
		return -1;
	}
	return syscall(SYS_pread64, fd, to, length, offset);
}

/* A tree with one of everything, all of it right. */
static void fill(struct catalog *catalog)
{
	struct queue_row queued = { .id = 12, .generation = 1, .tier = 1, .size = 100 };
	struct event event = { .event = "verified" };
	struct copy_row copy = { .tier = 1, .key = (char *)"b" };

	put_folder(catalog, 1, "d", 10);
	put_folder(catalog, 10, "e", 14);
	put_file(catalog, 10, "a", 11, 100);
	put_file(catalog, 10, "b", 12, 100);
	put_file(catalog, 10, "c", 13, 100);
	(void)verify_file(catalog, 12, 1, 100, 2);
	check_int(catalog_enqueue(catalog, &queued, 0), 0);
	copy.content = verify_file(catalog, 13, 1, 100, 3);
	copy.digest = make_digest(3);
	check_int(catalog_set_stored(catalog, 13, 1, &copy, catalog_told(catalog), 0), 0);
	check_int(catalog_add_event(catalog, &event), 0);
	check_int(catalog_add_event(catalog, &event), 0);
	check_int(catalog_barrier(catalog), 0);
}

struct found {
	int count;
	char what[64], text[128];
	uint64_t id;
};

static int find(void *arg, const struct catalog_finding *finding)
{
	struct found *found = arg;

	found->count++;
	(void)snprintf(found->what, sizeof(found->what), "%s", finding->what);
	(void)snprintf(found->text, sizeof(found->text), "%s", finding->text);
	found->id = finding->id;
	return 0;
}

static void run_sql(const struct scratch *dir, const char *sql)
{
	sqlite3 *sqlite;
	char *message = NULL;

	check_int(sqlite3_open(scratch_file(dir, "catalog.db"), &sqlite), SQLITE_OK);
	if (sqlite3_exec(sqlite, sql, NULL, NULL, &message) != SQLITE_OK)
		fprintf(stderr, "%s\n", message);
	check(!message);
	(void)sqlite3_close(sqlite);
}

TEST(a_sound_catalog_has_no_findings)
{
	cleanup_scratch struct scratch *dir = scratch_new();
	cleanup_catalog struct catalog *catalog = open_catalog(dir);
	struct found found = { 0 };

	check_int(catalog_check(catalog, find, &found), 0);
	fill(catalog);
	check_int(catalog_check(catalog, find, &found), 0);
	check_int(found.count, 0);
	check_int(catalog_mend(catalog), 0);
	check_int(catalog_check(catalog, find, &found), 0);
}

TEST(each_kind_of_disorder_is_found_and_named)
{
	static const struct {
		const char *sql, *what;
		uint64_t id;
		bool mends;
	} cases[] = {
		{ "INSERT INTO names VALUES(10, x'78', 99)", "name without node", 99, true },
		{ "INSERT INTO names VALUES(77, x'78', 11)", "name without folder", 11, true },
		{ "INSERT INTO names VALUES(11, x'78', 12)", "name without folder", 12, true },
		{ "DELETE FROM names WHERE id = 14", "node without name", 14, true },
		{ "UPDATE names SET parent = 14 WHERE id = 14", "unreachable", 14, true },
		{ "UPDATE totals SET files = files + 1 WHERE state = 1", "totals", 1, true },
		{ "UPDATE totals SET bytes = 3 WHERE state = 6", "totals", 6, true },
		{ "UPDATE queue_totals SET files = 9", "queue totals", 1, true },
		{ "UPDATE contents SET map = x'' WHERE id = 1", "content", 1, false },
		{ "UPDATE contents SET digest = x'00' WHERE id = 1", "content", 1, false },
		{ "UPDATE inodes SET content = 99 WHERE id = 12", "file without content", 12,
		  false },
		{ "UPDATE inodes SET size = 101 WHERE id = 12", "file without content", 12, false },
		{ "UPDATE copies SET bad = 1", "file without good copy", 13, false },
		{ "DELETE FROM copies", "file without good copy", 13, false },
		{ "DELETE FROM queue", "file not queued", 12, false },
		/* An index with an entry that it should not have. */
		{ "PRAGMA writable_schema = ON; PRAGMA schema_version = 99;"
		  "UPDATE sqlite_schema SET sql = replace(sql, '> 0', '> 1')"
		  " WHERE name = 'inodes_content'",
		  "page", 0, false },
		{ "DROP TRIGGER events_fixed; UPDATE events SET detail = 'x' WHERE seq = 2",
		  "event chain", 2, false },
	};

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		cleanup_scratch struct scratch *dir = scratch_new();
		cleanup_catalog struct catalog *catalog = open_catalog(dir);
		struct found found = { 0 };

		fill(catalog);
		run_sql(dir, cases[i].sql);
		check_int(catalog_check(catalog, find, &found), 1);
		check_str(found.what, cases[i].what);
		check_int(found.id, cases[i].id);
		check_int(catalog_mend(catalog), 0);
		check_int(catalog_check(catalog, NULL, NULL), cases[i].mends ? 0 : 1);
	}
}

TEST(a_finding_can_stop_the_check)
{
	cleanup_scratch struct scratch *dir = scratch_new();
	cleanup_catalog struct catalog *catalog = open_catalog(dir);
	struct node_row row;

	fill(catalog);
	run_sql(dir, "INSERT INTO names VALUES(10, x'78', 99);"
		     "INSERT INTO names VALUES(10, x'79', 98)");
	check_int(catalog_check(catalog, NULL, NULL), 2);
	check_int(catalog_mend(catalog), 0);
	check_int(catalog_get_node(catalog, 13, &row), 1);
	check_int(row.state, FILE_STORED);
}

/* A bit of the disk flips while nobody looks. */
TEST(a_flipped_bit_is_found)
{
	cleanup_scratch struct scratch *dir = scratch_new();
	struct catalog *catalog = open_catalog(dir);
	unsigned char page[4096];
	size_t found = 0;
	off_t size;
	int fd;

	fill(catalog);
	catalog_close(catalog);
	fd = open(scratch_file(dir, "catalog.db"), O_RDWR | O_CLOEXEC);
	check(fd >= 0);
	size = lseek(fd, 0, SEEK_END);
	/* The head of each page but the first: kind, cells, where they start. */
	for (off_t at = 4096; at < size; at += 4096) {
		int r;

		check_int(pread(fd, page, 16, at), 16);
		page[0] ^= 0x10;
		check_int(pwrite(fd, page, 16, at), 16);
		catalog = NULL;
		r = catalog_open(scratch_file(dir, "catalog.db"), SITE, CATALOG_READ_ONLY,
				 &catalog);
		found += r < 0 || catalog_check(catalog, NULL, NULL) != 0;
		catalog_close(catalog);
		page[0] ^= 0x10;
		check_int(pwrite(fd, page, 16, at), 16);
	}
	(void)close(fd);
	check_int(found, size / 4096 - 1);
}

TEST(a_read_that_failed_once_is_no_damage)
{
	cleanup_scratch struct scratch *dir = scratch_new();
	struct catalog *catalog = open_catalog(dir);
	int64_t deadline_ns = monotonic_ns() + 60 * NS_PER_SEC;
	struct node_row row;

	fill(catalog);
	catalog_close(catalog);
	catalog = open_catalog(dir); /* with nothing in memory yet */
	failing_reads = 1;
	put_file(catalog, 1, "late", 20, 5);
	check(catalog_flush(catalog) < 0);
	check_int(failing_reads, 0);
	while (catalog_error(catalog) < 0) {
		check(monotonic_ns() < deadline_ns);
		sched_yield();
	}
	check_int(catalog_flush(catalog), 0);
	check_int(catalog_get_node(catalog, 20, &row), 1);
	check_int(catalog_check(catalog, NULL, NULL), 0);
	catalog_close(catalog);
}
