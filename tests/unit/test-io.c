/* SPDX-License-Identifier: Apache-2.0 */
#include "util/io.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/resource.h>
#include <sys/stat.h>

#include "test.h"
#include "util/cleanup.h"
#include "util/text.h"

static int open_scratch(const struct scratch *scratch)
{
	int fd = open(scratch->path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

	check(fd >= 0);
	return fd;
}

TEST(read_at_reads_all_or_says_that_the_file_ends)
{
	cleanup_with(scratch_free_slot) struct scratch *dir = scratch_new();
	cleanup_close int fd = open(scratch_file(dir, "f"), O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	char bytes[8] = "";

	check_int(write_at(fd, "abcdef", 6, 2), 0);
	check_int(read_at(fd, bytes, 6, 2), 0);
	check_str(bytes, "abcdef");
	check_int(read_at(fd, bytes, 7, 2), -ENODATA);
	check_int(read_at(-1, bytes, 1, 0), -EBADF);
	check_int(write_at(-1, bytes, 1, 0), -EBADF);
}

TEST(read_file_gives_the_bytes_with_a_nul_behind)
{
	cleanup_with(scratch_free_slot) struct scratch *dir = scratch_new();
	cleanup_close int fd = open_scratch(dir);
	static char big[100000];
	cleanup_free char *bytes = NULL;
	cleanup_free char *empty = NULL;
	size_t length = 0;

	memset(big, 'x', sizeof(big));
	check_int(write_file(fd, "big", big, sizeof(big), 0644), 0);
	check_int(read_file(fd, "big", sizeof(big) - 1, &bytes, &length), -EFBIG);
	check_int(read_file(fd, "big", sizeof(big), &bytes, &length), 0);
	check_int(length, sizeof(big));
	check(memcmp(bytes, big, sizeof(big)) == 0 && bytes[length] == '\0');

	check_int(write_file(fd, "empty", "", 0, 0644), 0);
	check_int(read_file(fd, "empty", 0, &empty, &length), 0);
	check_int(length, 0);
	check_str(empty, "");
}

TEST(read_file_takes_only_regular_files_and_never_hangs_on_a_fifo)
{
	cleanup_with(scratch_free_slot) struct scratch *dir = scratch_new();
	cleanup_close int fd = open_scratch(dir);
	char *bytes;
	size_t length;

	check_int(mkfifoat(fd, "fifo", 0600), 0);
	check_int(read_file(fd, "fifo", 10, &bytes, &length), -EINVAL);
	check_int(read_file(fd, ".", 10, &bytes, &length), -EISDIR);
	check_int(read_file(fd, "none", 10, &bytes, &length), -ENOENT);
}

TEST(write_file_replaces_and_leaves_nothing_else)
{
	cleanup_with(scratch_free_slot) struct scratch *dir = scratch_new();
	cleanup_close int fd = open_scratch(dir);
	cleanup_free char *bytes = NULL;
	cleanup_closedir DIR *listing = NULL;
	size_t length = 0, names = 0;
	struct stat st;

	check_int(make_parents(fd, "a/f"), 0);
	check_int(write_file(fd, "a/f", "old and long", 12, 0600), 0);
	check_int(write_file(fd, "a/f", "new", 3, 0600), 0);
	check_int(read_file(fd, "a/f", 100, &bytes, &length), 0);
	check_str(bytes, "new");
	check_int(fstatat(fd, "a/f", &st, 0), 0);
	check_int(st.st_mode & 0777, 0600);
	check_int(write_file(fd, "a", "x", 1, 0600), -EISDIR);
	check_int(write_file(fd, "none/f", "x", 1, 0600), -ENOENT);
	listing = opendir(dir->path);
	while (readdir(listing))
		names++;
	check_int(names, 3); /* ".", "..", "a" */
}

TEST(make_parents_makes_folders_and_follows_no_link)
{
	cleanup_with(scratch_free_slot) struct scratch *dir = scratch_new();
	cleanup_close int fd = open_scratch(dir);
	struct stat st;

	check_int(make_parents(fd, "name"), 0);
	check_int(make_parents(fd, "a/b/c/name"), 0);
	check_int(make_parents(fd, "a/b/c/name"), 0);
	check_int(fstatat(fd, "a/b/c", &st, 0), 0);
	check(S_ISDIR(st.st_mode));
	check_int(fstatat(fd, "a/b/c/name", &st, 0), -1);
	check_int(make_parents(fd, "a/../b/name"), -EINVAL);
	check_int(symlinkat("/", fd, "link"), 0);
	check_int(make_parents(fd, "link/name"), -ENOTDIR);
	check_int(sync_parent(fd, "a/b/c/name"), 0);
	check_int(sync_parent(fd, "x"), 0);
	check_int(sync_parent(fd, "none/x"), -ENOENT);
}

TEST(names_and_paths_from_outside_are_checked)
{
	char longest[4200];

	check(name_ok("a") && name_ok("...") && name_ok("\xff") && name_ok("a\\b"));
	check(!name_ok("") && !name_ok(".") && !name_ok("..") && !name_ok("a/b"));
	memset(longest, 'n', sizeof(longest));
	longest[255] = '\0';
	check(name_ok(longest));
	longest[255] = 'n';
	longest[256] = '\0';
	check(!name_ok(longest) && !path_ok(longest));

	check(path_ok("a") && path_ok("a/b") && path_ok("a/..b/.c"));
	check(!path_ok("") && !path_ok("/") && !path_ok("/a") && !path_ok("a/"));
	check(!path_ok("a//b") && !path_ok("a/./b") && !path_ok("a/../b") && !path_ok(".."));
	for (size_t i = 0; i < sizeof(longest); i++)
		longest[i] = i % 2 ? '/' : 'p';
	longest[4095] = '\0';
	longest[4094] = 'p';
	longest[4093] = 'p';
	check(path_ok(longest));
	longest[4095] = 'p';
	longest[4096] = '\0';
	check(!path_ok(longest));
}

TEST(path_join_leaves_no_slash_at_the_root)
{
	cleanup_free char *top = path_join("", "a");
	cleanup_free char *deep = path_join("a/b", "c");

	check_str(top, "a");
	check_str(deep, "a/b/c");
}

TEST(uuids_are_version_4_and_differ)
{
	char a[37], b[37];

	for (int i = 0; i < 100; i++) {
		check_int(uuid_make(a), 0);
		check_int(uuid_make(b), 0);
		check(uuid_ok(a) && uuid_ok(b));
		check(strcmp(a, b) != 0);
		check_int(a[14], '4');
		check(strchr("89ab", a[19]));
	}
	check(!uuid_ok("") && !uuid_ok("../../../../../../../../../etc/passwd"));
	check(uuid_ok("00000000-0000-4000-8000-000000000000"));
	check(!uuid_ok("00000000-0000-4000-8000-00000000000"));
	check(!uuid_ok("00000000-0000-4000-8000-0000000000000"));
	check(!uuid_ok("00000000-0000-4000-8000-00000000000G"));
}

TEST(globs_ignore_case_and_match_leading_dots)
{
	check(glob_matches("*.mov", "A001.MOV"));
	check(glob_matches("*.DS_Store", ".ds_store"));
	check(glob_matches("._*", "._A001.mov"));
	check(!glob_matches("*.mov", "a.mov.part"));
	check(glob_matches("*/PROXY/*", "card/Proxy/a.mov"));
}

TEST(a_text_is_what_was_written)
{
	cleanup_free char *text = NULL, *empty = NULL;
	size_t length;
	FILE *out = text_open(&empty, &length);

	check_int(fclose(out), 0);
	check_str(empty, "");
	check_int(length, 0);
	out = text_open(&text, &length);
	for (int i = 0; i < 10000; i++)
		check_int(fprintf(out, "%06d\n", i), 7);
	check_int(fflush(out), 0);
	check_int(length, 70000);
	check_int(fclose(out), 0);
	check_int(strlen(text), 70000);
	check(strncmp(text + 69993, "009999\n", 7) == 0);
}

#if !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__) /* they end the program */
/* glibc's open_memstream() drops what it finds no room for, and its fclose() is content. */
TEST(a_text_without_memory_fails)
{
	struct rlimit before, limit;
	char *text = NULL;
	size_t length;
	FILE *out = text_open(&text, &length);
	const size_t chunk = 1 << 20;
	cleanup_free char *bytes = malloc(chunk);

	check_int(getrlimit(RLIMIT_AS, &before), 0);
	limit = before;
	limit.rlim_cur = 1 << 20; /* nothing more */
	memset(bytes, 'x', chunk);
	check_int(setrlimit(RLIMIT_AS, &limit), 0);
	for (int i = 0; i < 64; i++)
		(void)fwrite(bytes, 1, chunk, out);
	check_int(setrlimit(RLIMIT_AS, &before), 0);
	(void)fputs("and on", out); /* there is memory again */
	check_int(fclose(out), EOF);
	free(text);
}
#endif
