/* SPDX-License-Identifier: Apache-2.0 */
#include "store/store.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

#include "test.h"
#include "util/io.h"

static const struct store_identity cart = { .site_name = "cart-a" };

static struct store *open_store(const char *path, enum store_flags flags)
{
	struct store *store = NULL;

	check_int(store_open(path, flags, &store), 0);
	return store;
}

static void put(const struct scratch *dir, const char *name, const char *text)
{
	check_int(write_file(AT_FDCWD, scratch_file(dir, name), text, strlen(text), 0644), 0);
}

TEST(what_was_created_is_opened)
{
	cleanup_with(scratch_free_slot) struct scratch *dir = scratch_new();
	const char *path = scratch_file(dir, "store");
	struct store_identity editorial = { "edit.london_1", "0f0e0d0c-0b0a-4908-8706-050403020100",
					    true };
	cleanup_with(store_close_slot) struct store *store = NULL;
	cleanup_free char *file = NULL;

	check_int(store_create(path, &editorial, "[transfer]\nlimit = 5M\n"), 0);
	store = open_store(path, 0);
	check_str(store->site_name, "edit.london_1");
	check_str(store->volume_uuid, "0f0e0d0c-0b0a-4908-8706-050403020100");
	check(uuid_ok(store->site_uuid));
	check(store->joined);
	check_int(store->lock_fd, -1);
	file = store_file(store, "catalog.db");
	check(strstr(file, "/store/catalog.db") && file[0] == '/');
	check_int(access(scratch_file(dir, "store/mediafs.conf"), F_OK), 0);
}

TEST(create_refuses_what_is_not_empty_and_leaves_it_alone)
{
	cleanup_with(scratch_free_slot) struct scratch *dir = scratch_new();

	check_int(mkdir(scratch_file(dir, "lost+found"), 0700), 0);
	check_int(store_create(dir->path, &cart, NULL), 0);
	check_int(store_create(dir->path, &cart, NULL), -EEXIST);
	check_int(mkdir(scratch_file(dir, "tree/full"), 0777), 0);
	put(dir, "tree/full/clip.mov", "x");
	check_int(store_create(scratch_file(dir, "tree/full"), &cart, NULL), -ENOTEMPTY);
	check_int(store_create(scratch_file(dir, "tree/full/clip.mov"), &cart, NULL), -ENOTDIR);
	check_int(store_create(scratch_file(dir, "no/such"), &cart, NULL), -ENOENT);
	check_int(access(scratch_file(dir, "tree/full/clip.mov"), F_OK), 0);
}

TEST(create_that_fails_leaves_nothing)
{
	cleanup_with(scratch_free_slot) struct scratch *dir = scratch_new();
	const char *path = scratch_file(dir, "store");
	static const char *const names[] = { "", "a/b", ".hidden", "with space", "new\nline" };
	char long_name[65];
	struct store_identity identity = { 0 };

	for (size_t i = 0; i < ARRAY_SIZE(names); i++) {
		identity.site_name = names[i];
		check_int(store_create(path, &identity, NULL), -EINVAL);
	}
	memset(long_name, 'a', 64);
	long_name[64] = 0;
	identity.site_name = long_name;
	check_int(store_create(path, &identity, NULL), -EINVAL);
	check_int(store_create(path, &cart, "[nothing]\n"), -EINVAL);
	check_int(store_create(path, &(struct store_identity){ "a", "no-uuid", false }, NULL),
		  -EINVAL);
	check_int(access(path, F_OK), -1);
}

TEST(open_tells_what_is_wrong)
{
	cleanup_with(scratch_free_slot) struct scratch *dir = scratch_new();
	struct store *store = NULL;
	static const struct {
		const char *json;
		int expected;
	} cases[] = {
		{ "", -EUCLEAN },
		{ "{", -EUCLEAN },
		{ "[]", -EUCLEAN },
		{ "{\"format\":\"1\"}", -EUCLEAN },
		{ "{\"format\":0}", -EUCLEAN },
		{ "{\"format\":1}", -EUCLEAN },
		{ "{\"format\":2}", -EPROTONOSUPPORT },
		{ "{\"format\":1,\"site\":\"0f0e0d0c-0b0a-4908-8706-050403020100\",\"volume\":"
		  "\"x\","
		  "\"name\":\"a\"}",
		  -EUCLEAN },
		{ "{\"format\":1,\"site\":\"0f0e0d0c-0b0a-4908-8706-050403020100\",\"volume\":"
		  "\"0f0e0d0c-0b0a-4908-8706-050403020100\",\"name\":\"../a\"}",
		  -EUCLEAN },
	};

	check_int(store_open(scratch_file(dir, "none"), 0, &store), -ENOENT);
	check_int(store_open(dir->path, 0, &store), -ENOENT);
	check_int(store_create(dir->path, &cart, NULL), 0);
	check_int(store_open(scratch_file(dir, "store.json"), 0, &store), -ENOENT);
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		put(dir, "store.json", cases[i].json);
		check_int(store_open(dir->path, 0, &store), cases[i].expected);
	}
}

TEST(a_store_without_its_tree_or_with_a_link_for_it_is_not_opened)
{
	cleanup_with(scratch_free_slot) struct scratch *dir = scratch_new();
	struct store *store = NULL;

	check_int(store_create(dir->path, &cart, NULL), 0);
	check_int(rmdir(scratch_file(dir, "tree")), 0);
	check_int(store_open(dir->path, 0, &store), -EUCLEAN);
	check_int(symlink("/etc", scratch_file(dir, "tree")), 0);
	check_int(store_open(dir->path, 0, &store), -EUCLEAN);
}

TEST(only_one_process_has_the_lock_and_its_pid_is_known)
{
	cleanup_with(scratch_free_slot) struct scratch *dir = scratch_new();
	struct store *store = NULL, *other = NULL;
	int ready[2], done[2], status;
	char byte;
	pid_t pid;

	check_int(store_create(dir->path, &cart, NULL), 0);
	check_int(store_locked_by(dir->path), 0);
	check_int(pipe(ready) | pipe(done), 0);
	pid = fork();
	if (pid == 0) {
		(void)close(done[1]);
		store = open_store(dir->path, STORE_LOCK);
		(void)!write(ready[1], "x", 1);
		_exit(read(done[0], &byte, 1) < 0);
	}
	(void)close(done[0]);
	check_int(read(ready[0], &byte, 1), 1);
	check_int(store_locked_by(dir->path), pid);
	check_int(store_open(dir->path, STORE_LOCK, &store), -EBUSY);
	store_close(open_store(dir->path, 0));
	/* Emptying run/ does not let a second one in. */
	check_int(unlink(scratch_file(dir, "run/lock")), 0);
	check_int(store_open(dir->path, STORE_LOCK, &store), -EBUSY);

	(void)close(done[1]);
	check_int(waitpid(pid, &status, 0), pid);
	check_int(store_locked_by(dir->path), 0);
	store = open_store(dir->path, STORE_LOCK);
	check_int(store_locked_by(dir->path), getpid());
	check_int(store_open(dir->path, STORE_LOCK, &other), -EBUSY);
	store_close(store);
	(void)close(ready[0]);
	(void)close(ready[1]);
}

TEST(nothing_outside_the_tree_is_reached)
{
	cleanup_with(scratch_free_slot) struct scratch *dir = scratch_new();
	cleanup_with(store_close_slot) struct store *store = NULL;
	cleanup_close int root = -1, file = -1, link = -1;

	check_int(store_create(dir->path, &cart, NULL), 0);
	store = open_store(dir->path, 0);
	check_int(symlink("..", scratch_file(dir, "tree/up")), 0);
	check_int(symlink("/etc/passwd", scratch_file(dir, "tree/abs")), 0);
	check_int(mkdir(scratch_file(dir, "tree/d"), 0777), 0);

	check_int(store_open_path(store, "../store.json", O_RDONLY, 0), -EXDEV);
	check_int(store_open_path(store, "d/../../store.json", O_RDONLY, 0), -EXDEV);
	check_int(store_open_path(store, "/etc/passwd", O_RDONLY, 0), -EXDEV);
	check_int(store_open_path(store, "up/store.json", O_RDONLY, 0), -ELOOP);
	check_int(store_open_path(store, "abs", O_RDONLY, 0), -ELOOP);
	root = store_open_path(store, "", O_RDONLY | O_DIRECTORY, 0);
	check(root >= 0);
	file = store_open_path(store, "d/clip.mov", O_RDWR | O_CREAT | O_EXCL, 0640);
	check(file >= 0);
	link = store_open_path(store, "abs", O_PATH | O_NOFOLLOW, 0);
	check(link >= 0);
}

TEST(a_file_is_found_again_by_its_handle_until_it_is_gone)
{
	cleanup_with(scratch_free_slot) struct scratch *dir = scratch_new();
	cleanup_with(store_close_slot) struct store *store = NULL;
	cleanup_close int fd = -1, again = -1, reopened = -1;
	struct store_handle handle;
	struct stat a, b;

	check_int(store_create(dir->path, &cart, NULL), 0);
	store = open_store(dir->path, 0);
	fd = store_open_path(store, "clip", O_RDWR | O_CREAT, 0600);
	check_int(fstat(fd, &a), 0);
	check_int(store_node_id(store, &a), (int64_t)a.st_ino);
	check_int(fstat(store->tree_fd, &b), 0);
	check_int(store_node_id(store, &b), 1);

	reopened = store_reopen(fd, O_RDONLY | O_NOFOLLOW);
	check(reopened >= 0);
	check_int(store_make_handle(store, fd, &handle), 0);
	check_int(handle.length != 0, store->by_handle);
	if (!store->by_handle)
		return; /* not privileged: names are kept instead */
	check_int(rename(scratch_file(dir, "tree/clip"), scratch_file(dir, "tree/other")), 0);
	again = store_open_handle(store, &handle, O_RDWR);
	check(again >= 0);
	check_int(fstat(again, &b), 0);
	check_int(a.st_ino, (int64_t)b.st_ino);
	(void)close(take_fd(again));
	(void)close(take_fd(fd));
	(void)close(take_fd(reopened));
	check_int(unlink(scratch_file(dir, "tree/other")), 0);
	check_int(store_open_handle(store, &handle, O_RDONLY), -ESTALE);
	handle.length = 0;
	check_int(store_open_handle(store, &handle, O_RDONLY), -EINVAL);
}
