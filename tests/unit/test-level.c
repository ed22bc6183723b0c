/* SPDX-License-Identifier: Apache-2.0 */
#include "volume/level.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "catalog/check.h"
#include "catalog/contents.h"
#include "catalog/events.h"
#include "store/residency.h"
#include "test.h"
#include "util/clock.h"
#include "util/io.h"
#include "volume/level_numbers.h"

/* A store, its catalog, and what the last pass told. */
struct site {
	struct scratch *scratch;
	struct store *store;
	struct catalog *catalog;
	char told[65536];
};

static void begin(struct site *site)
{
	struct store_identity identity = { .site_name = "cart" };
	char *file;

	*site = (struct site){ .scratch = scratch_new() };
	check_int(store_create(scratch_file(site->scratch, "s"), &identity, NULL), 0);
	check_int(store_open(scratch_file(site->scratch, "s"), STORE_LOCK, &site->store), 0);
	file = store_file(site->store, "catalog.db");
	check_int(catalog_open(file, site->store->site_uuid, CATALOG_CREATE, &site->catalog), 0);
	free(file);
}

static void end(struct site *site)
{
	catalog_close(site->catalog);
	store_close(site->store);
	scratch_free(site->scratch);
}

static void hear(void *arg, const char *what, const char *path)
{
	struct site *site = arg;
	size_t used = strlen(site->told);

	(void)snprintf(site->told + used, sizeof(site->told) - used, "%s %s\n", what, path);
}

static struct level_report pass(struct site *site, enum level_flags flags)
{
	struct level_report report;

	site->told[0] = '\0';
	check_int(level_tree(site->store, site->catalog, flags, NULL, hear, site, &report), 0);
	return report;
}

static int tree_fd(struct site *site)
{
	static int fd = -1;

	if (fd >= 0)
		(void)close(fd);
	fd = store_open_path(site->store, "", O_RDONLY | O_DIRECTORY, 0);
	check(fd >= 0);
	return fd;
}

static void put_file(struct site *site, const char *path, const char *text)
{
	int fd = openat(tree_fd(site), path, O_WRONLY | O_CREAT | O_TRUNC, 0644);

	check(fd >= 0);
	check_int(write_at(fd, text, strlen(text), 0), 0);
	check_int(close(fd), 0);
}

static struct node_row row_at(struct site *site, const char *path)
{
	struct node_row row;

	check_int(catalog_barrier(site->catalog), 0);
	check_int(catalog_lookup_path(site->catalog, path, &row), 1);
	return row;
}

/* As if it had been received and read back. */
static struct node_row make_verified(struct site *site, const char *path, const char *text)
{
	struct digest digest;
	struct blockmap map;
	struct node_row row = row_at(site, path);

	digest_of(text, strlen(text), &digest);
	check_int(blockmap_init(&map, strlen(text)), 0);
	map.hash[0] = block_hash(text, strlen(text));
	check_int(catalog_set_received(site->catalog, row.id, row.generation, row.mtime_ns,
				       row.ctime_ns, &map, &digest, STEP_WAIT),
		  0);
	check_int(catalog_set_verified(site->catalog, row.id, row.generation, &digest, &map,
				       STEP_WAIT),
		  0);
	blockmap_fini(&map);
	return row_at(site, path);
}

static struct node_row make_stored(struct site *site, const char *path, const char *text)
{
	struct node_row row = make_verified(site, path, text);
	struct copy_row copy = { .tier = 1, .key = (char *)path, .content = row.content };

	digest_of(text, strlen(text), &copy.digest);
	check_int(catalog_set_stored(site->catalog, row.id, row.generation, &copy,
				     catalog_told(site->catalog), 0),
		  0);
	row = row_at(site, path);
	check_int(row.state, FILE_STORED);
	return row;
}

static int count_event(void *arg, const struct event *event)
{
	size_t *count = arg;

	*count += strcmp(event->event, "missing") == 0;
	return 0;
}

static size_t missing_events(struct site *site)
{
	size_t count = 0;

	check_int(catalog_each_event(site->catalog, EVENTS_OLDEST_FIRST, 0, 0, count_event, &count),
		  0);
	return count;
}

TEST(an_empty_catalog_learns_the_tree)
{
	struct site site;
	struct level_report report;

	begin(&site);
	check_int(mkdirat(tree_fd(&site), "a", 0755), 0);
	put_file(&site, "a/one", "1");
	put_file(&site, "two", "22");
	check_int(symlinkat("two", tree_fd(&site), "link"), 0);
	check_int(linkat(tree_fd(&site), "two", tree_fd(&site), "three", 0), 0);
	report = pass(&site, 0);
	check_int(report.added, 5);
	check_int(report.nodes, 5);
	report = pass(&site, LEVEL_FIX);
	check_int(report.added + report.renamed, 5);
	report = pass(&site, 0);
	check_str(site.told, "");
	check_int(row_at(&site, "a/one").state, FILE_RECEIVING);
	check(row_at(&site, "a/one").generation > 0);
	check_int(row_at(&site, "two").id, row_at(&site, "three").id);
	check_int(row_at(&site, "link").state, 0);
	end(&site);
}

TEST(a_pass_without_fix_changes_nothing)
{
	struct site site;

	begin(&site);
	put_file(&site, "f", "1");
	(void)pass(&site, 0);
	check_str(site.told, "added f\n");
	(void)pass(&site, 0);
	check_str(site.told, "added f\n");
	end(&site);
}

TEST(changed_bytes_are_received_again)
{
	struct site site;
	struct node_row old, row;

	begin(&site);
	put_file(&site, "f", "abc");
	(void)pass(&site, LEVEL_FIX);
	old = make_stored(&site, "f", "abc");
	put_file(&site, "f", "abcdef");
	(void)pass(&site, LEVEL_FIX);
	check_str(site.told, "changed f\n");
	row = row_at(&site, "f");
	check_int(row.state, FILE_RECEIVING);
	check_int(row.size, 6);
	check_int(row.content, 0);
	check(row.generation > old.generation);
	end(&site);
}

TEST(touched_bytes_keep_their_state_and_are_scrubbed_first)
{
	struct site site;
	struct node_row old, row;
	uint64_t id;

	begin(&site);
	put_file(&site, "f", "abc");
	(void)pass(&site, LEVEL_FIX);
	old = make_stored(&site, "f", "abc");
	check_int(catalog_set_checked(site.catalog, old.id, old.generation, 1000), 0);
	check_int(fchmodat(tree_fd(&site), "f", 0600, 0), 0);
	(void)pass(&site, LEVEL_FIX);
	check_str(site.told, "touched f\n");
	row = row_at(&site, "f");
	check_int(row.state, FILE_STORED);
	check_int(row.generation, old.generation);
	check_int(row.content, old.content);
	check_int(row.mode & 07777, 0600);
	check_int(catalog_unchecked(site.catalog, 1, &id, 1), 1);
	check_int(id, old.id);
	(void)pass(&site, LEVEL_FIX);
	check_str(site.told, "");
	end(&site);
}

TEST(a_folder_that_moved_takes_what_is_below_with_it)
{
	struct site site;
	struct node_row old, row;
	int fd;

	begin(&site);
	fd = tree_fd(&site);
	check_int(mkdirat(fd, "a", 0755), 0);
	put_file(&site, "a/f", "abc");
	(void)pass(&site, LEVEL_FIX);
	old = make_stored(&site, "a/f", "abc");
	fd = tree_fd(&site);
	check_int(renameat(fd, "a", fd, "z"), 0);
	(void)pass(&site, LEVEL_FIX);
	check_str(site.told, "missing a\nrenamed z\n");
	row = row_at(&site, "z/f");
	check_int(row.id, old.id);
	check_int(row.state, FILE_STORED);
	check_int(row.generation, old.generation);
	check_int(missing_events(&site), 0);
	(void)pass(&site, 0);
	check_str(site.told, "");
	end(&site);
}

TEST(verified_media_that_is_gone_is_told)
{
	struct site site;
	struct node_row row;
	int fd;

	begin(&site);
	check_int(mkdirat(tree_fd(&site), "a", 0755), 0);
	put_file(&site, "a/f", "abc");
	put_file(&site, "a/unverified", "x");
	(void)pass(&site, LEVEL_FIX);
	(void)make_stored(&site, "a/f", "abc");
	fd = tree_fd(&site);
	check_int(unlinkat(fd, "a/f", 0), 0);
	check_int(unlinkat(fd, "a/unverified", 0), 0);
	check_int(unlinkat(fd, "a", AT_REMOVEDIR), 0);
	(void)pass(&site, LEVEL_FIX);
	check_str(site.told, "missing a\n");
	check_int(missing_events(&site), 1);
	check_int(catalog_lookup_path(site.catalog, "a", &row), 0);
	check_int(catalog_lookup_path(site.catalog, "a/f", &row), 0);
	end(&site);
}

TEST(another_inode_under_a_name_is_another_file)
{
	struct site site;
	struct node_row old, row;
	int fd;

	begin(&site);
	put_file(&site, "f", "abc");
	(void)pass(&site, LEVEL_FIX);
	old = make_stored(&site, "f", "abc");
	put_file(&site, "g", "other");
	fd = tree_fd(&site);
	check_int(renameat(fd, "g", fd, "f"), 0);
	(void)pass(&site, LEVEL_FIX);
	row = row_at(&site, "f");
	check(row.id != old.id);
	check_int(row.state, FILE_RECEIVING);
	(void)pass(&site, 0);
	check_str(site.told, "");
	end(&site);
}

/* It waits for a tier, and has an attribute that only the catalog knows. */
static struct node_row make_queued(struct site *site, const char *path, const char *text)
{
	struct node_row row = make_verified(site, path, text);
	const struct queue_row queue = {
		.id = row.id, .generation = row.generation, .tier = 1, .size = strlen(text)
	};

	check_int(catalog_enqueue(site->catalog, &queue, STEP_WAIT), 0);
	check_int(catalog_set_xattr(site->catalog, row.id, "user.take", "3", 1), 0);
	return row_at(site, path);
}

TEST(files_that_took_each_others_names_stay_queued)
{
	static const char *const names[] = { "a", "b", "c", "d/e" };
	struct node_row before[4], row;
	struct site site;
	void *value;
	size_t length;
	int fd;

	begin(&site);
	check_int(mkdirat(tree_fd(&site), "d", 0755), 0);
	for (size_t i = 0; i < 4; i++)
		put_file(&site, names[i], names[i]);
	(void)pass(&site, LEVEL_FIX);
	for (size_t i = 0; i < 4; i++)
		before[i] = make_queued(&site, names[i], names[i]);
	fd = tree_fd(&site);
	check_int(renameat2(fd, "a", fd, "b", RENAME_EXCHANGE), 0);
	check_int(renameat2(fd, "d/e", fd, "c", RENAME_EXCHANGE), 0);
	(void)pass(&site, LEVEL_FIX);
	for (size_t i = 0; i < 4; i++) {
		row = row_at(&site, names[i ^ 1]);
		check_int(row.id, before[i].id);
		check_int(row.state, FILE_QUEUED);
		check_int(catalog_get_xattr(site.catalog, row.id, "user.take", &value, &length), 1);
		free(value);
	}
	check_int(catalog_check(site.catalog, NULL, NULL), 0);
	/* One of them gone, its name another's. */
	check_int(renameat(fd, "a", fd, "b"), 0);
	(void)pass(&site, LEVEL_FIX);
	check_int(row_at(&site, "b").id, before[1].id);
	check_int(row_at(&site, "b").state, FILE_QUEUED);
	check_int(catalog_get_node(site.catalog, before[0].id, &row), 0);
	check_int(catalog_check(site.catalog, NULL, NULL), 0);
	(void)pass(&site, 0);
	check_str(site.told, "");
	end(&site);
}

/* @path gets a residency xattr with no block resident. */
static void mark_absent(struct site *site, const char *path, const char *text)
{
	int fd = store_open_path(site->store, path, O_RDWR, 0);
	struct residency residency;
	struct digest digest;

	digest_of(text, strlen(text), &digest);
	residency_init(&residency, strlen(text), &digest);
	check_int(residency_write(fd, &residency), 0);
	check_int(ftruncate(fd, 0), 0);
	check_int(ftruncate(fd, (off_t)strlen(text)), 0);
	check_int(close(fd), 0);
}

TEST(holes_that_are_marked_are_never_received)
{
	struct site site;
	struct node_row old, row;

	begin(&site);
	put_file(&site, "f", "abc");
	put_file(&site, "strange", "xyz");
	(void)pass(&site, LEVEL_FIX);
	old = make_stored(&site, "f", "abc");
	/* Evicted, and the catalog never heard of it; or placed, and the content is unknown. */
	mark_absent(&site, "f", "abc");
	mark_absent(&site, "strange", "xyz");
	(void)pass(&site, LEVEL_FIX);
	row = row_at(&site, "f");
	check_int(row.state, FILE_EVICTED);
	check_int(row.content, old.content);
	check_int(row.resident_bytes, 0);
	row = row_at(&site, "strange");
	check_int(row.state, FILE_DAMAGED);
	check_int(row.error, -EUCLEAN);
	(void)pass(&site, 0);
	check_str(site.told, "");
	end(&site);
}

TEST(a_lost_mark_comes_back_before_a_hole_is_read)
{
	struct site site;
	struct residency residency;
	struct node_row row;
	int fd;

	begin(&site);
	put_file(&site, "f", "abc");
	(void)pass(&site, LEVEL_FIX);
	(void)make_stored(&site, "f", "abc");
	mark_absent(&site, "f", "abc");
	(void)pass(&site, LEVEL_FIX);
	check_int(row_at(&site, "f").state, FILE_EVICTED);
	fd = store_open_path(site.store, "f", O_RDWR, 0);
	check_int(residency_remove(fd), 0);
	(void)pass(&site, 0);
	check_str(site.told, "marked f\n");
	(void)pass(&site, LEVEL_FIX);
	check_int(residency_read(fd, &residency), 1);
	check_int(residency_bytes(&residency), 0);
	row = row_at(&site, "f");
	check_int(row.state, FILE_EVICTED);
	check_int(row.resident_bytes, 0);
	(void)pass(&site, 0);
	check_str(site.told, "");
	check_int(close(fd), 0);
	end(&site);
}

TEST(names_of_ours_and_stop_are_respected)
{
	struct site site;
	struct level_report report;
	_Atomic bool stop = true;

	begin(&site);
	put_file(&site, ".mediafs-tmp", "1");
	(void)pass(&site, 0);
	check_str(site.told, "");
	check_int(level_tree(site.store, site.catalog, 0, &stop, NULL, NULL, &report), -ECANCELED);
	end(&site);
}

TEST(paths_longer_than_the_kernel_takes_are_part_of_the_tree)
{
	struct site site;
	char name[201], path[PATH_MAX * 2] = "";
	struct node_row row;
	int fd;

	begin(&site);
	memset(name, 'n', sizeof(name) - 1);
	name[sizeof(name) - 1] = '\0';
	fd = dup(tree_fd(&site));
	while (strlen(path) < PATH_MAX + 500) {
		int next;

		check_int(mkdirat(fd, name, 0755), 0);
		next = openat(fd, name, O_RDONLY | O_DIRECTORY);
		check(next >= 0);
		(void)close(fd);
		fd = next;
		(void)strcat(strcat(path, name), "/");
	}
	(void)strcat(path, "f");
	(void)close(openat(fd, "f", O_WRONLY | O_CREAT, 0644));
	(void)close(fd);
	(void)pass(&site, LEVEL_FIX);
	row = row_at(&site, path);
	check_int(row.state, FILE_RECEIVING);
	(void)pass(&site, 0);
	check_str(site.told, "");
	/* Such paths are too long for scratch_free(). */
	(void)snprintf(path, sizeof(path), "rm -rf '%s/tree'", site.store->path);
	check_int(system(path), 0);
	end(&site);
}

/* The catalog's numbers become those of another tree, in which @count files have each other's. */
static void exchange_numbers(struct site *site, const char *const *paths, size_t count)
{
	struct renumber numbers[8];

	for (size_t i = 0; i < count; i++)
		numbers[i] = (struct renumber){
			.from = row_at(site, paths[i]).id,
			.to = row_at(site, paths[(i + 1) % count]).id,
		};
	check_int(catalog_renumber(site->catalog, numbers, count, "another"), 0);
}

TEST(a_copied_store_is_known_by_its_names)
{
	static const char *const paths[] = { "d", "d/a", "b", "c" };
	struct site site;
	struct node_row before[4], row;
	void *value;
	size_t length;

	begin(&site);
	check_int(level_was_copied(site.store, site.catalog), 0);
	check_int(level_find_again(site.store, site.catalog, NULL), 0);
	check_int(mkdirat(tree_fd(&site), "d", 0755), 0);
	for (size_t i = 1; i < 4; i++)
		put_file(&site, paths[i], paths[i]);
	(void)pass(&site, LEVEL_FIX);
	for (size_t i = 1; i < 4; i++)
		(void)make_stored(&site, paths[i], paths[i]);
	for (size_t i = 0; i < 4; i++)
		before[i] = row_at(&site, paths[i]);
	check_int(catalog_set_xattr(site.catalog, before[2].id, "user.take", "3", 1), 0);
	catalog_keep_unclean(site.catalog, false);

	exchange_numbers(&site, paths, 4);
	check_int(row_at(&site, "d/a").id, before[2].id);
	check(catalog_was_unclean(site.catalog));
	check_int(level_was_copied(site.store, site.catalog), 1);
	check_int(level_find_again(site.store, site.catalog, NULL), 1);
	check_int(level_was_copied(site.store, site.catalog), 0);
	for (size_t i = 0; i < 4; i++) {
		row = row_at(&site, paths[i]);
		check_int(row.id, before[i].id);
		check_int(row.mode, before[i].mode);
		check_int(row.state, before[i].state);
		check_int(row.content, before[i].content);
		check_int(row.generation, before[i].generation);
	}
	check_int(catalog_get_xattr(site.catalog, before[2].id, "user.take", &value, &length), 1);
	free(value);
	(void)pass(&site, 0);
	check_str(site.told, "");
	check_int(catalog_check(site.catalog, NULL, NULL), 0);
	end(&site);
}

TEST(what_a_copy_lacks_is_missing_and_leaves_nothing)
{
	static const char *const paths[] = { "a", "b", "c" };
	const struct renumber too_large = { .from = 2, .to = 1ull << 63 };
	struct site site;

	begin(&site);
	for (size_t i = 0; i < 3; i++) {
		put_file(&site, paths[i], "abc");
		(void)pass(&site, LEVEL_FIX);
		(void)make_stored(&site, paths[i], "abc");
	}
	check_int(catalog_renumber(site.catalog, &too_large, 1, ""), -EOVERFLOW);
	exchange_numbers(&site, paths, 3);
	check_int(unlinkat(tree_fd(&site), "c", 0), 0);
	/* Twice: what the first one left unlevelled is not taken for a file. */
	for (int i = 0; i < 2; i++) {
		check_int(catalog_set_meta(site.catalog, META_TREE, "another"), 0);
		check_int(catalog_flush(site.catalog), 0);
		check_int(level_find_again(site.store, site.catalog, NULL), 1);
		if (i == 0) {
			check(row_at(&site, "c").id > INT64_MAX);
			(void)pass(&site, 0);
			check_str(site.told, "missing c\n");
		}
	}
	(void)pass(&site, LEVEL_FIX);
	check_int(row_at(&site, "a").state, FILE_STORED);
	check_int(row_at(&site, "b").state, FILE_STORED);
	check_int(catalog_check(site.catalog, NULL, NULL), 0);
	end(&site);
}

TEST(names_that_became_one_file_in_the_copy)
{
	static const char *const paths[] = { "a", "b" };
	struct site site;
	int fd;

	begin(&site);
	for (size_t i = 0; i < 2; i++) {
		put_file(&site, paths[i], "abc");
		(void)pass(&site, LEVEL_FIX);
		(void)make_stored(&site, paths[i], "abc");
	}
	exchange_numbers(&site, paths, 2);
	fd = tree_fd(&site);
	check_int(unlinkat(fd, "b", 0), 0);
	check_int(linkat(fd, "a", fd, "b", 0), 0);
	check_int(level_find_again(site.store, site.catalog, NULL), 1);
	(void)pass(&site, LEVEL_FIX);
	check_int(row_at(&site, "a").id, row_at(&site, "b").id);
	check_int(row_at(&site, "b").state, FILE_STORED);
	(void)pass(&site, 0);
	check_str(site.told, "");
	check_int(catalog_check(site.catalog, NULL, NULL), 0);
	end(&site);
}
