/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "test.h"
#include "util/cleanup.h"
#include "volume/node.h"

/* A store's tree without catalog: by file handle, or by parent and name. */
struct fixture {
	struct scratch *dir;
	struct store *store;
	struct nodes *nodes;
};

static void fixture_init(struct fixture *f, bool by_handle)
{
	const struct store_identity identity = { .site_name = "test" };

	f->dir = scratch_new();
	check_int(store_create(scratch_file(f->dir, "store"), &identity, NULL), 0);
	check_int(store_open(scratch_file(f->dir, "store"), 0, &f->store), 0);
	if (!by_handle)
		f->store->by_handle = false;
	f->nodes = nodes_new(f->store);
	check(f->nodes != NULL);
}

static void fixture_fini(struct fixture *f)
{
	nodes_free(f->nodes);
	store_close(f->store);
	scratch_free(f->dir);
}

/* As a lookup of (@parent, @name) that lies at @path does. Its id. */
static uint64_t look_up(struct fixture *f, uint64_t parent, const char *name, const char *path)
{
	cleanup_close int fd = store_open_path(f->store, path, O_PATH | O_NOFOLLOW, 0);
	uint64_t generation = 0;
	struct stat st;

	check(fd >= 0);
	check_int(fstat(fd, &st), 0);
	check_int(nodes_remember(f->nodes, fd, &st, parent, name, &generation), 0);
	check(generation != 0);
	return store_node_id(f->store, &st);
}

static void make_folder(struct fixture *f, const char *path)
{
	check_int(mkdirat(f->store->tree_fd, path, 0755), 0);
}

static void make_file(struct fixture *f, const char *path)
{
	cleanup_close int fd = store_open_path(f->store, path, O_WRONLY | O_CREAT | O_EXCL, 0644);

	check(fd >= 0);
}

/* The number that nodes_open() leads to; its error otherwise. */
static int64_t opened_id(struct fixture *f, uint64_t id)
{
	cleanup_close int fd = nodes_open(f->nodes, id, O_PATH | O_NOFOLLOW);
	struct stat st;

	if (fd < 0)
		return fd;
	check_int(fstat(fd, &st), 0);
	return (int64_t)store_node_id(f->store, &st);
}

static void check_path(struct fixture *f, uint64_t id, const char *expected)
{
	cleanup_free char *path = NULL;

	check_int(nodes_path(f->nodes, id, &path), 1);
	check_str(path, expected);
}

static void walk(bool by_handle)
{
	struct fixture f;
	uint64_t folder, file;

	fixture_init(&f, by_handle);
	make_folder(&f, "a");
	make_file(&f, "a/file");
	folder = look_up(&f, 1, "a", "a");
	file = look_up(&f, folder, "file", "a/file");
	check_int(opened_id(&f, 1), 1);
	check_int(opened_id(&f, file), (int64_t)file);
	check_path(&f, file, "a/file");

	/* Its folder moves, by us. */
	check_int(renameat(f.store->tree_fd, "a", f.store->tree_fd, "b"), 0);
	nodes_renamed(f.nodes, folder, 1, "b");
	check_int(opened_id(&f, file), (int64_t)file);
	check_path(&f, file, "b/file");
	fixture_fini(&f);
}

TEST(a_node_is_found_by_handle)
{
	walk(true);
}

TEST(a_node_is_found_by_parent_and_name)
{
	walk(false);
}

static void lose_last_name(bool by_handle)
{
	cleanup_close int fd = -1;
	struct fixture f;
	uint64_t file;

	fixture_init(&f, by_handle);
	make_file(&f, "file");
	file = look_up(&f, 1, "file", "file");
	fd = store_open_path(f.store, "file", O_PATH, 0);
	check(fd >= 0);
	check_int(unlinkat(f.store->tree_fd, "file", 0), 0);
	nodes_unnamed(f.nodes, file, fd);
	close_fd_slot(&fd);
	fd = -1;
	check_int(opened_id(&f, file), (int64_t)file);
	/* And until it is forgotten its number stays taken. */
	nodes_forget(f.nodes, file, 1);
	check_int(opened_id(&f, file), -ESTALE);
	check_int(nodes_known(f.nodes), 1);
	fixture_fini(&f);
}

TEST(a_node_without_a_name_stays_until_it_is_forgotten)
{
	lose_last_name(true);
	lose_last_name(false);
}

TEST(a_folder_is_kept_for_the_path_of_what_is_in_it)
{
	struct fixture f;
	uint64_t folder, file;

	fixture_init(&f, false);
	make_folder(&f, "a");
	make_file(&f, "a/file");
	folder = look_up(&f, 1, "a", "a");
	file = look_up(&f, folder, "file", "a/file");
	check_int(look_up(&f, folder, "file", "a/file"), (int64_t)file);
	nodes_forget(f.nodes, folder, 1);
	check_int(opened_id(&f, file), (int64_t)file);
	nodes_forget(f.nodes, file, 1);
	check_int(opened_id(&f, file), (int64_t)file);
	nodes_forget(f.nodes, file, 1);
	check_int(nodes_known(f.nodes), 1); /* the root */
	check_int(opened_id(&f, folder), -ESTALE);
	fixture_fini(&f);
}

TEST(another_inode_under_the_name_is_stale)
{
	struct fixture f;
	uint64_t file;

	fixture_init(&f, false);
	make_file(&f, "file");
	make_file(&f, "other");
	file = look_up(&f, 1, "file", "file");
	/* Behind our back. */
	check_int(renameat(f.store->tree_fd, "other", f.store->tree_fd, "file"), 0);
	check_int(opened_id(&f, file), -ESTALE);
	fixture_fini(&f);
}

TEST(a_number_used_again_has_another_generation)
{
	struct fixture f;
	uint64_t first_generation = 0, generation = 0;
	struct stat st;
	uint64_t id = 0;

	fixture_init(&f, true);
	/* ext4 gives the number of a removed file to the next one; other file systems need not. */
	for (int i = 0; i < 50; i++) {
		cleanup_close int fd = -1;

		make_file(&f, "file");
		fd = store_open_path(f.store, "file", O_PATH, 0);
		check_int(fstat(fd, &st), 0);
		check_int(nodes_remember(f.nodes, fd, &st, 1, "file", &generation), 0);
		if (store_node_id(f.store, &st) == id)
			check(generation != first_generation);
		id = store_node_id(f.store, &st);
		first_generation = generation;
		/* Not forgotten: as if the kernel's word was still on its way. */
		check_int(unlinkat(f.store->tree_fd, "file", 0), 0);
	}
	fixture_fini(&f);
}

struct entering {
	struct fixture *f;
	_Atomic bool inside, left;
};

static void *enter_both(void *arg)
{
	struct entering *entering = arg;

	check_int(nodes_enter(entering->f->nodes, 9, 7), 0);
	entering->inside = true;
	check(entering->left);
	nodes_leave(entering->f->nodes, 9, 7);
	return NULL;
}

TEST(a_folder_is_changed_by_one_at_a_time)
{
	struct entering entering = { 0 };
	struct thread thread = { 0 };
	struct fixture f;

	fixture_init(&f, true);
	entering.f = &f;
	check_int(nodes_enter(f.nodes, 7, 0), 0);
	check_int(thread_start(&thread, "enter", enter_both, &entering), 0);
	check_int(nodes_enter(f.nodes, 8, 0), 0); /* others are not in the way */
	nodes_leave(f.nodes, 8, 0);
	check(!entering.inside);
	entering.left = true;
	nodes_leave(f.nodes, 7, 0);
	thread_join(&thread);
	check(entering.inside);
	fixture_fini(&f);
}

TEST(a_list_of_names_is_kept_while_its_inodes_are_known_and_nothing_changed)
{
	struct fixture f;
	uint64_t folder, first;
	uint32_t changes;

	fixture_init(&f, true);
	make_folder(&f, "a");
	make_file(&f, "a/first");
	make_file(&f, "a/second");
	folder = look_up(&f, 1, "a", "a");
	check(!nodes_list_is_kept(f.nodes, folder));
	first = look_up(&f, folder, "first", "a/first");
	nodes_listed(f.nodes, folder, nodes_changes(f.nodes, folder), 2);
	check(!nodes_list_is_kept(f.nodes, folder)); /* only names were read of the second */
	(void)look_up(&f, folder, "second", "a/second");
	check(nodes_list_is_kept(f.nodes, folder));
	nodes_forget(f.nodes, first, 1);
	check(!nodes_list_is_kept(f.nodes, folder));
	(void)look_up(&f, folder, "first", "a/first");
	check(nodes_list_is_kept(f.nodes, folder));

	nodes_names_changed(f.nodes, folder);
	check(!nodes_list_is_kept(f.nodes, folder));
	/* Changed while it is read: the first names may be old ones. */
	changes = nodes_changes(f.nodes, folder);
	nodes_names_changed(f.nodes, folder);
	nodes_listed(f.nodes, folder, changes, 2);
	check(!nodes_list_is_kept(f.nodes, folder));
	nodes_listed(f.nodes, folder, nodes_changes(f.nodes, folder), 2);
	check(nodes_list_is_kept(f.nodes, folder));
	fixture_fini(&f);
}
