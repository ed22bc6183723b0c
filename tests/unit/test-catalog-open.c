/* SPDX-License-Identifier: Apache-2.0 */
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <sqlite3.h>
#include <sys/mount.h>
#include <sys/wait.h>

#include "catalog/check.h"
#include "catalog/said.h"
#include "catalog/sync.h"
#include "catalog_help.h"
#include "util/clock.h"

#define DEADLINE_NS (30 * NS_PER_SEC)

static int try_open(const struct scratch *dir, enum catalog_flags flags)
{
	struct catalog *catalog = NULL;
	int r = catalog_open(scratch_file(dir, "catalog.db"), SITE, flags, &catalog);

	catalog_close(catalog);
	return r;
}

static void write_bytes(const struct scratch *dir, const char *bytes)
{
	FILE *file = fopen(scratch_file(dir, "catalog.db"), "w");

	check(file);
	check(fputs(bytes, file) >= 0);
	check_int(fclose(file), 0);
}

static void run_sql(const struct scratch *dir, const char *sql)
{
	sqlite3 *sqlite;

	check_int(sqlite3_open(scratch_file(dir, "catalog.db"), &sqlite), SQLITE_OK);
	check_int(sqlite3_exec(sqlite, sql, NULL, NULL, NULL), SQLITE_OK);
	(void)sqlite3_close(sqlite);
}

TEST(what_is_no_catalog_is_refused)
{
	cleanup_scratch struct scratch *dir = scratch_new();

	check_int(try_open(dir, 0), -ENOENT);
	check_int(try_open(dir, CATALOG_READ_ONLY), -ENOENT);
	check_int(try_open(dir, CATALOG_READ_ONLY | CATALOG_CREATE), -ENOENT);
	write_bytes(dir, "This is a letter to my aunt, and longer than the head of a database "
			 "is, so that it is looked at and found to be none of them at all.");
	check_int(try_open(dir, CATALOG_CREATE), -EUCLEAN);
	check_int(try_open(dir, CATALOG_READ_ONLY), -EUCLEAN);
	write_bytes(dir, "");
	check_int(try_open(dir, 0), -EUCLEAN);
	check_int(try_open(dir, CATALOG_CREATE), 0); /* a creation that was cut short */
	check_int(try_open(dir, 0), 0);
}

TEST(somebody_elses_database_is_not_touched)
{
	cleanup_scratch struct scratch *dir = scratch_new();

	run_sql(dir, "CREATE TABLE photos(name)");
	check_int(try_open(dir, CATALOG_CREATE), -EUCLEAN);
	run_sql(dir, "SELECT name FROM photos");
}

TEST(a_newer_catalog_is_refused)
{
	cleanup_scratch struct scratch *dir = scratch_new();

	check_int(try_open(dir, CATALOG_CREATE), 0);
	run_sql(dir, "PRAGMA user_version = 8");
	check_int(try_open(dir, CATALOG_CREATE), -EPROTONOSUPPORT);
	check_int(try_open(dir, CATALOG_READ_ONLY), -EPROTONOSUPPORT);
}

TEST(a_catalog_of_version_1_is_brought_forward)
{
	cleanup_scratch struct scratch *dir = scratch_new();

	check_int(try_open(dir, CATALOG_CREATE), 0);
	run_sql(dir, "DROP TRIGGER unsettled_delete; DROP TABLE unsettled; DROP TABLE hashes;"
		     "DROP TABLE archived; DROP TABLE other_keys; DROP INDEX inodes_sealed;"
		     "DROP TABLE doubts; DROP TABLE said; DROP TABLE refusals; DROP TRIGGER "
		     "refusals_end; PRAGMA user_version = 1");
	check_int(try_open(dir, CATALOG_READ_ONLY), 0);
	check_int(try_open(dir, 0), 0);
	run_sql(dir,
		"INSERT INTO unsettled VALUES(7, 1); INSERT INTO hashes VALUES(1, 'md5', x'00')");
	check_int(try_open(dir, 0), 0); /* once only */
	run_sql(dir, "SELECT count(*) FROM unsettled");
	run_sql(dir, "SELECT version FROM said WHERE content = 1");
	run_sql(dir, "SELECT noted FROM doubts INDEXED BY doubts_open WHERE proven = 0");
}

/* Made before there were archives: read as it is, and completed by who writes. */
TEST(an_older_catalog_knows_of_no_archived_copies)
{
	cleanup_scratch struct scratch *dir = scratch_new();
	struct catalog *catalog = NULL;
	uint64_t files, bytes;
	int64_t version;
	char *text;

	check_int(try_open(dir, CATALOG_CREATE), 0);
	run_sql(dir, "DROP TABLE archived; DROP TABLE other_keys; DROP INDEX inodes_sealed;"
		     "DROP TABLE doubts; DROP TABLE said; DROP TABLE refusals; DROP TRIGGER "
		     "refusals_end; PRAGMA user_version = 2");
	check_int(catalog_open(scratch_file(dir, "catalog.db"), SITE, CATALOG_READ_ONLY, &catalog),
		  0);
	check_int(catalog_count_archived(catalog, 10, &files, &bytes), 0);
	check(files == 0 && bytes == 0);
	check_int(catalog_get_said(catalog, 1, &version, &text), 0);
	catalog_close(catalog);
	check_int(try_open(dir, 0), 0);
	run_sql(dir, "SELECT * FROM archived");
}

TEST(names_of_folders_may_hold_anything)
{
	cleanup_scratch struct scratch *dir = scratch_new();
	struct catalog *catalog = NULL;
	const char *path = scratch_file(dir, "a b%20?mode=ro#x");

	check_int(catalog_open(path, SITE, CATALOG_CREATE, &catalog), 0);
	catalog_close(catalog);
	check_int(access(path, F_OK), 0);
}

TEST(meta_is_kept_across_restarts)
{
	cleanup_scratch struct scratch *dir = scratch_new();
	struct catalog *catalog = open_catalog(dir);
	char *value = NULL;

	check_int(catalog_get_meta(catalog, "k", &value), 0);
	check_int(catalog_set_meta(catalog, "k", "v1"), 0);
	check_int(catalog_set_meta(catalog, "k", "v2"), 0);
	catalog_close(catalog);
	catalog = open_catalog(dir);
	check_int(catalog_get_meta(catalog, "k", &value), 1);
	check_str(value, "v2");
	free(value);
	catalog_close(catalog);
}

/* Puts verified files until killed; tells the id of each that is durable. */
static void run_child(const struct scratch *dir, int fd, uint64_t first)
{
	struct catalog *catalog = open_catalog(dir);

	for (uint64_t id = first;; id++) {
		struct blockmap map = make_map(5 << 20, id);
		struct digest digest = make_digest(id);
		struct event event = { .event = "verified", .actor = "daemon" };
		char name[32];

		(void)snprintf(name, sizeof(name), "f%" PRIu64, id);
		put_file(catalog, 1, name, id, 0);
		check_int(catalog_set_received(catalog, id, 1, 1, 1, &map, &digest, 0), 0);
		check_int(catalog_add_event(catalog, &event), 0);
		check_int(catalog_set_verified(catalog, id, 1, &digest, &map,
					       id % 4 ? STEP_DURABLE : 0),
			  0);
		if (id % 4)
			check_int(write(fd, &id, sizeof(id)), sizeof(id));
		blockmap_fini(&map);
	}
}

/* A child that writes, killed after @count durable files; the last id that it told. */
static uint64_t kill_in_the_middle(const struct scratch *dir, uint64_t first, int count)
{
	uint64_t id = 0;
	int fds[2];
	pid_t child;

	check_int(pipe2(fds, O_CLOEXEC), 0);
	child = fork();
	check(child >= 0);
	if (child == 0) {
		run_child(dir, fds[1], first);
		_exit(1);
	}
	(void)close(fds[1]);
	for (int i = 0; i < count; i++)
		check_int(read(fds[0], &id, sizeof(id)), sizeof(id));
	check_int(kill(child, SIGKILL), 0);
	check_int(waitpid(child, NULL, 0), child);
	while (read(fds[0], &id, sizeof(id)) == sizeof(id))
		; /* told before it died */
	(void)close(fds[0]);
	return id;
}

TEST(durable_steps_survive_kill_9)
{
	cleanup_scratch struct scratch *dir = scratch_new();
	uint64_t first = 100;

	for (int round = 0; round < 8; round++) {
		uint64_t last = kill_in_the_middle(dir, first, 3 + 5 * round);
		struct catalog *catalog = open_catalog(dir);
		uint64_t seq;

		check(catalog_was_unclean(catalog));
		for (uint64_t id = first; id <= last; id++)
			check_int(state_of(catalog, id), FILE_VERIFIED);
		check_int(catalog_check_events(catalog, &seq), 0);
		check_int(catalog_check(catalog, NULL, NULL), 0);
		first = last + 1000;
		catalog_close(catalog);
	}
}

TEST(a_closed_catalog_is_clean)
{
	cleanup_scratch struct scratch *dir = scratch_new();
	struct catalog *catalog;

	for (int i = 0; i < 3; i++) {
		catalog = open_catalog(dir);
		check(!catalog_was_unclean(catalog));
		catalog_close(catalog);
	}
	(void)kill_in_the_middle(dir, 100, 1);
	catalog = open_catalog(dir);
	check(catalog_was_unclean(catalog));
	catalog_keep_unclean(catalog, false);
	catalog_close(catalog);
	catalog = open_catalog(dir);
	check(!catalog_was_unclean(catalog));
	catalog_close(catalog);
}

/* In another process, beside one that writes. 0 when it saw file 10 come, and could not write. */
static int read_beside(const struct scratch *dir)
{
	struct catalog *catalog = NULL;
	int64_t start = monotonic_ns();
	struct node_row row = file_row(5, 1);
	int r;

	r = catalog_open(scratch_file(dir, "catalog.db"), "", CATALOG_READ_ONLY, &catalog);
	if (r < 0)
		return 1;
	if (catalog_put_node(catalog, &row) != -EROFS || catalog_barrier(catalog) != 0)
		return 2;
	while ((r = catalog_lookup_path(catalog, "late", &row)) == 0) {
		if (monotonic_ns() - start > DEADLINE_NS)
			return 3;
		(void)sched_yield();
	}
	if (r != 1 || !catalog_was_unclean(catalog) || catalog_check(catalog, NULL, NULL) != 0)
		return 4;
	catalog_close(catalog);
	return 0;
}

TEST(another_process_reads_what_a_live_one_writes)
{
	cleanup_scratch struct scratch *dir = scratch_new();
	struct catalog *catalog;
	int fds[2], status;
	pid_t child;
	char byte = 'x';

	/* Before SQLite is used here: it must not cross a fork. */
	check_int(pipe2(fds, O_CLOEXEC), 0);
	child = fork();
	check(child >= 0);
	if (child == 0)
		_exit(read(fds[0], &byte, 1) == 1 ? read_beside(dir) : 9);
	catalog = open_catalog(dir);
	check_int(write(fds[1], &byte, 1), 1);
	for (uint64_t id = 100; id < 3000; id++) {
		char name[32];

		(void)snprintf(name, sizeof(name), "f%" PRIu64, id);
		put_file(catalog, 1, name, id, 1);
	}
	put_file(catalog, 1, "late", 10, 1);
	check_int(waitpid(child, &status, 0), child);
	check_int(status, 0);
	(void)close(fds[0]);
	(void)close(fds[1]);
	catalog_close(catalog);
}

/* In its own mount namespace. 77: not allowed here. */
static int read_on_read_only_media(const struct scratch *dir, uint64_t last)
{
	struct catalog *catalog = NULL;
	struct node_row row;

	if (unshare(CLONE_NEWNS) < 0 || mount("", "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0 ||
	    mount(dir->path, dir->path, NULL, MS_BIND, NULL) < 0 ||
	    mount("", dir->path, NULL, MS_BIND | MS_REMOUNT | MS_RDONLY, NULL) < 0)
		return 77;
	if (catalog_open(scratch_file(dir, "catalog.db"), "", CATALOG_READ_ONLY, &catalog) < 0)
		return 1;
	if (catalog_get_node(catalog, last, &row) != 1 || row.state != FILE_VERIFIED)
		return 2;
	if (catalog_check(catalog, NULL, NULL) != 0)
		return 3;
	catalog_close(catalog);
	return try_open(dir, 0) == -EROFS ? 0 : 4;
}

static void test_read_only_media(const struct scratch *dir, uint64_t last)
{
	pid_t child = fork();
	int status;

	check(child >= 0);
	if (child == 0)
		_exit(read_on_read_only_media(dir, last));
	check_int(waitpid(child, &status, 0), child);
	check(WIFEXITED(status));
	if (WEXITSTATUS(status) == 77)
		printf("skipped: may not mount here\n");
	else
		check_int(WEXITSTATUS(status), 0);
}

TEST(read_only_media_can_be_read_with_what_is_in_the_wal)
{
	cleanup_scratch struct scratch *dir = scratch_new();
	uint64_t last = kill_in_the_middle(dir, 100, 20);

	test_read_only_media(dir, last); /* with the index of the WAL that the dead left */
	check_int(unlink(scratch_file(dir, "catalog.db-shm")), 0);
	test_read_only_media(dir, last);
	check_int(try_open(dir, 0), 0);
	test_read_only_media(dir, last); /* without any WAL */
}

/* A disk that fills up while files come; then it gets larger. In its own mount namespace. */
static int fill_small_disk(const struct scratch *dir)
{
	struct catalog *catalog = NULL;
	struct node_row row;
	uint64_t id = 100;
	int r = 0;

	if (unshare(CLONE_NEWNS) < 0 || mount("", "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0 ||
	    mount("small", dir->path, "tmpfs", 0, "size=2m") < 0)
		return 77;
	if (catalog_open(scratch_file(dir, "catalog.db"), SITE, CATALOG_CREATE, &catalog) < 0)
		return 1;
	put_file(catalog, 1, "a", 10, 5);
	if (catalog_flush(catalog) < 0)
		return 2;
	while (r == 0 && id < 1000000) {
		char name[32];

		row = file_row(++id, 1);
		(void)snprintf(name, sizeof(name), "f%" PRIu64, id);
		r = catalog_put_node(catalog, &row);
		if (r == 0)
			r = catalog_put_name(catalog, 1, name, id);
	}
	if (r != -ENOSPC || catalog_barrier(catalog) != -ENOSPC)
		return 3;
	catalog_close(catalog);
	if (mount("small", dir->path, "tmpfs", MS_REMOUNT, "size=64m") < 0)
		return 4;
	catalog = NULL;
	if (catalog_open(scratch_file(dir, "catalog.db"), SITE, 0, &catalog) < 0)
		return 5;
	r = catalog_was_unclean(catalog) && catalog_get_node(catalog, 10, &row) == 1 &&
	    catalog_check(catalog, NULL, NULL) == 0 && catalog_flush(catalog) == 0;
	catalog_close(catalog);
	return r ? 0 : 6;
}

TEST(a_full_disk_is_told_and_survived)
{
	cleanup_scratch struct scratch *dir = scratch_new();
	pid_t child = fork();
	int status;

	check(child >= 0);
	if (child == 0)
		_exit(fill_small_disk(dir));
	check_int(waitpid(child, &status, 0), child);
	check(WIFEXITED(status));
	if (WEXITSTATUS(status) == 77)
		printf("skipped: may not mount here\n");
	else
		check_int(WEXITSTATUS(status), 0);
}

struct expected {
	const char *path;
	bool subtree;
};

/* Exactly these are noted, in this order; then all are cleared. */
static void check_notes(struct catalog *catalog, const struct expected *expected, size_t count)
{
	struct sync_note *notes = NULL;
	size_t got = 0;

	check_int(catalog_barrier(catalog), 0);
	check_int(catalog_get_unpublished(catalog, NULL, 100, &notes, &got), 0);
	for (size_t i = 0; i < got && i < count; i++) {
		check_str(notes[i].path, expected[i].path);
		check_int(notes[i].subtree, expected[i].subtree);
	}
	check_int(got, count);
	for (size_t i = 0; i < got; i++)
		check_int(catalog_clear_unpublished(catalog, &notes[i]), 0);
	sync_notes_free(notes, got);
}

#define CHECK_NOTES(catalog, ...)                                                                  \
	do {                                                                                       \
		const struct expected expected_[] = { __VA_ARGS__ };                               \
		check_notes(catalog, expected_, ARRAY_SIZE(expected_));                            \
	} while (0)

TEST(nothing_is_noted_until_sync_is_on)
{
	cleanup_scratch struct scratch *dir = scratch_new();
	struct catalog *catalog = open_catalog(dir);

	put_file(catalog, 1, "a", 10, 5);
	check_notes(catalog, NULL, 0);
	check_int(catalog_set_meta(catalog, "sync", "on"), 0);
	CHECK_NOTES(catalog, { "", true });
	check_int(catalog_set_meta(catalog, "sync", "on"), 0);
	check_notes(catalog, NULL, 0);
	catalog_close(catalog);
	catalog = open_catalog(dir);
	put_file(catalog, 1, "b", 11, 5);
	CHECK_NOTES(catalog, { "b", false });
	check_int(catalog_set_meta(catalog, "sync", "off"), 0);
	put_file(catalog, 1, "c", 12, 5);
	check_notes(catalog, NULL, 0);
	catalog_close(catalog);
}

TEST(every_changed_path_is_noted)
{
	cleanup_scratch struct scratch *dir = scratch_new();
	cleanup_catalog struct catalog *catalog = open_catalog(dir);
	struct copy_row copy = { .tier = 1, .key = (char *)"k", .digest = make_digest(1) };
	struct node_row row;

	check_int(catalog_set_meta(catalog, "sync", "on"), 0);
	CHECK_NOTES(catalog, { "", true });
	put_folder(catalog, 1, "d", 10);
	put_file(catalog, 10, "a", 11, 100);
	CHECK_NOTES(catalog, { "d", false }, { "d/a", false });

	/* What is received only is nobody's business. */
	check_int(catalog_set_attributes(catalog, 11, S_IFREG | 0644, 100, 1000, 9), 0);
	check_notes(catalog, NULL, 0);
	copy.content = verify_file(catalog, 11, 1, 100, 1);
	CHECK_NOTES(catalog, { "d/a", false });
	check_int(catalog_set_stored(catalog, 11, 1, &copy, catalog_told(catalog), 0), 0);
	CHECK_NOTES(catalog, { "d/a", false });
	check_int(catalog_set_state(catalog, 11, 1, FILE_EVICTED, 0), 0);
	check_notes(catalog, NULL, 0);
	check_int(catalog_set_attributes(catalog, 11, S_IFREG | 0600, 100, 1000, 9), 0);
	CHECK_NOTES(catalog, { "d/a", false });
	check_int(catalog_set_attributes(catalog, 11, S_IFREG | 0600, 100, 1001, 9), 0);
	CHECK_NOTES(catalog, { "d/a", false });

	check_int(catalog_put_name(catalog, 1, "hard", 11), 0);
	CHECK_NOTES(catalog, { "hard", false });
	check_int(catalog_set_attributes(catalog, 11, S_IFREG | 0640, 100, 1001, 9), 0);
	CHECK_NOTES(catalog, { "d/a", false }, { "hard", false });
	check_int(catalog_barrier(catalog), 0);
	check_int(catalog_get_node(catalog, 11, &row), 1);
	check_int(catalog_put_node(catalog, &row), 0); /* the same again */
	check_notes(catalog, NULL, 0);
	check_int(catalog_remove_name(catalog, 1, "hard"), 0);
	CHECK_NOTES(catalog, { "hard", false });
}

TEST(moves_note_both_paths_and_folders_their_subtree)
{
	cleanup_scratch struct scratch *dir = scratch_new();
	cleanup_catalog struct catalog *catalog = open_catalog(dir);

	put_folder(catalog, 1, "d", 10);
	put_file(catalog, 10, "a", 11, 5);
	put_file(catalog, 1, "f", 12, 5);
	put_folder(catalog, 1, "e", 13);
	check_int(catalog_set_meta(catalog, "sync", "on"), 0);
	CHECK_NOTES(catalog, { "", true });
	check_int(catalog_move_name(catalog, 10, "a", 13, "b", 0), 0);
	CHECK_NOTES(catalog, { "d/a", false }, { "e/b", false });
	check_int(catalog_move_name(catalog, 1, "e", 10, "e", 0), 0);
	CHECK_NOTES(catalog, { "d/e", true }, { "e", true });
	check_int(catalog_move_name(catalog, 1, "d", 1, "f", MOVE_EXCHANGE), 0);
	CHECK_NOTES(catalog, { "d", true }, { "f", true });
	check_int(catalog_put_name(catalog, 1, "d", 14), 0); /* replaces a file */
	CHECK_NOTES(catalog, { "d", false });
	check_int(catalog_put_name(catalog, 1, "second", 10), 0); /* a folder found elsewhere */
	CHECK_NOTES(catalog, { "second", true });
	check_int(catalog_remove_name(catalog, 1, "second"), 0);
	CHECK_NOTES(catalog, { "second", true });
	check_int(catalog_remove_name(catalog, 1, "f"), 0);
	CHECK_NOTES(catalog, { "f", true });
}

TEST(a_renewed_note_stays)
{
	cleanup_scratch struct scratch *dir = scratch_new();
	cleanup_catalog struct catalog *catalog = open_catalog(dir);
	struct sync_note *notes = NULL;
	size_t count;

	check_int(catalog_set_meta(catalog, "sync", "on"), 0);
	CHECK_NOTES(catalog, { "", true });
	put_file(catalog, 1, "a", 10, 5);
	check_int(catalog_barrier(catalog), 0);
	check_int(catalog_get_unpublished(catalog, NULL, 100, &notes, &count), 0);
	check_int(count, 1);
	check_int(catalog_set_attributes(catalog, 10, S_IFREG | 0600, 5, 1, 1), 0);
	check_int(catalog_clear_unpublished(catalog, &notes[0]), 0);
	CHECK_NOTES(catalog, { "a", false });
	sync_notes_free(notes, count);
}
