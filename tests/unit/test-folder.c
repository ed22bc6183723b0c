/* SPDX-License-Identifier: Apache-2.0 */
#include "util/folder.h"

#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <sys/stat.h>
#include <unistd.h>

#include "test.h"
#include "util/cleanup.h"

static int open_scratch(const struct scratch *scratch)
{
	int fd = open(scratch->path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

	check(fd >= 0);
	return fd;
}

static void make(int fd, const char *path)
{
	cleanup_close int made = open_beneath(fd, path, O_CREAT | O_EXCL | O_WRONLY, 0640);
	struct stat st;

	check(made >= 0);
	check_int(fstat(made, &st), 0);
	check_int(st.st_mode & 0777, 0640);
}

TEST(names_are_sorted_and_not_more_than_wanted)
{
	cleanup_with(scratch_free_slot) struct scratch *dir = scratch_new();
	cleanup_close int fd = open_scratch(dir);
	cleanup_with(names_fini) struct names names = { 0 }, two = { 0 }, none = { 0 };

	make(fd, "b");
	make(fd, "\xc3\xa4");
	make(fd, "B");
	check_int(names_read(dup(fd), 3, &names), 0);
	check_int(names.count, 3);
	check_str(names.list[0], "B");
	check_str(names.list[1], "b");
	check_str(names.list[2], "\xc3\xa4");
	check_int(names_read(open_scratch(dir), 2, &two), -E2BIG);
	check_int(names_read(open_beneath(fd, "b", O_RDONLY, 0), SIZE_MAX, &none), -ENOTDIR);
	check_int(none.count, 0);
}

TEST(nothing_is_opened_outside_nor_through_a_link)
{
	cleanup_with(scratch_free_slot) struct scratch *dir = scratch_new();
	cleanup_close int top = open_scratch(dir);
	cleanup_close int fd = -1, same = -1, inner = -1;

	make(top, "outside");
	check_int(mkdirat(top, "in", 0700), 0);
	fd = open_beneath(top, "in", O_RDONLY | O_DIRECTORY, 0);
	check(fd >= 0);
	make(fd, "file");
	check_int(symlinkat("file", fd, "link"), 0);
	check_int(symlinkat(".", fd, "dot"), 0);
	check_int(open_beneath(fd, "../outside", O_RDONLY, 0), -EXDEV);
	check_int(open_beneath(fd, "/etc/passwd", O_RDONLY, 0), -EXDEV);
	check_int(open_beneath(fd, "link", O_RDONLY, 0), -ELOOP);
	check_int(open_beneath(fd, "dot/file", O_RDONLY, 0), -ELOOP);
	check_int(open_beneath(fd, "none", O_RDONLY, 0), -ENOENT);
	same = open_beneath(fd, "", O_RDONLY | O_DIRECTORY, 0);
	check(same >= 0);
	inner = open_beneath(same, "file", O_RDONLY, 0);
	check(inner >= 0);
}
