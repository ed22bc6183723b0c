/* SPDX-License-Identifier: Apache-2.0 */
#include "tier/internal.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "image.h"
#include "test.h"
#include "util/clock.h"
#include "util/io.h"

#define VOLUME "0f0e0d0c-0b0a-4908-8706-050403020100"
#define OTHER_VOLUME "1f0e0d0c-0b0a-4908-8706-050403020100"

/* What the system calls by which an object gets its name answer; 0: what they do. */
static int rename_error, link_error;

int renameat2(int old_dir, const char *old, int new_dir, const char *new, unsigned flags)
{
	if (rename_error && flags) {
		errno = rename_error;
		return -1;
	}
	return (int)syscall(SYS_renameat2, old_dir, old, new_dir, new, flags);
}

int linkat(int old_dir, const char *old, int new_dir, const char *new, int flags)
{
	int r = link_error == EPERM ? -1
				    : (int)syscall(SYS_linkat, old_dir, old, new_dir, new, flags);

	if (r == 0 && !link_error)
		return 0;
	if (link_error) /* EEXIST: made, but the answer was lost and it was asked again */
		errno = link_error;
	return -1;
}

/* A content in memory, and what put() did with it. */
struct clip {
	uint8_t *bytes; /* owned */
	struct tier_object object;
	uint64_t read, paced;
	int read_error, pace_error;
	void (*meanwhile)(struct clip *clip, uint64_t bytes);
	const struct image *image;
};

static int clip_read(void *arg, uint64_t offset, void *buffer, size_t length)
{
	struct clip *clip = arg;

	memcpy(buffer, clip->bytes + offset, length);
	clip->read += length;
	return offset ? clip->read_error : 0;
}

static int clip_pace(void *arg, uint64_t bytes)
{
	struct clip *clip = arg;

	clip->paced += bytes;
	if (clip->meanwhile)
		clip->meanwhile(clip, bytes);
	return clip->pace_error;
}

static void clip_init(struct clip *clip, size_t size)
{
	uint32_t seed = (uint32_t)size;

	*clip = (struct clip){ .bytes = malloc(size + 1) };
	for (size_t i = 0; i < size; i++) {
		seed = seed * 1664525u + 1013904223u;
		clip->bytes[i] = (uint8_t)(seed >> 24);
	}
	clip->object = (struct tier_object){ .size = size,
					     .mtime_ns = 1234567890123456789,
					     .mode = S_IFREG | 04755 };
	digest_of(clip->bytes, size, &clip->object.digest);
}

static void clip_fini(struct clip *clip)
{
	free(clip->bytes);
}
#define cleanup_clip cleanup_with(clip_fini)

static int put(struct tier *tier, const char *key, struct clip *clip)
{
	const struct tier_source source = { .read = clip_read, .pace = clip_pace, .arg = clip };

	return tier->backend->put(tier, key, &clip->object, &source);
}

static struct tier *open_tier(const char *url)
{
	struct tier *tier = NULL;

	check_int(tier_open("nas", url, &tier), 0);
	return tier;
}

/* Claimed and expected, as the daemon has it. */
static struct tier *claimed(const char *path)
{
	struct tier *tier = open_tier(path);
	char uuid[37];

	check_int(tier_claim(tier, VOLUME, uuid), 0);
	check_int(tier_expect(tier, uuid), 0);
	return tier;
}

static unsigned count_in(const char *path)
{
	cleanup_closedir DIR *dir = opendir(path);
	unsigned count = 0;

	while (dir && readdir(dir))
		count++;
	return dir ? count - 2 : 0;
}

static void check_no_temp(const char *root)
{
	char path[4096];

	(void)snprintf(path, sizeof(path), "%s/.mediafs/v1/tmp", root);
	check_int(count_in(path), 0);
}

TEST(hostile_keys_reach_nothing)
{
	cleanup_with(scratch_free_slot) struct scratch *dir = scratch_new();
	cleanup_with(tier_close_slot) struct tier *tier = NULL;
	cleanup_clip struct clip clip;
	char byte[8];
	uint64_t size;
	struct digest digest;
	void *bytes;

	clip_init(&clip, 10);
	check_int(mkdir(scratch_file(dir, "nas"), 0777), 0);
	check_int(write_file(AT_FDCWD, scratch_file(dir, "secret"), "secret", 6, 0600), 0);
	tier = claimed(scratch_file(dir, "nas"));
	check_int(symlink("..", scratch_file(dir, "nas/up")), 0);
	check_int(symlink("../secret", scratch_file(dir, "nas/link")), 0);
	check_int(symlink("nowhere", scratch_file(dir, "nas/dangling")), 0);

	check_int(put(tier, "../x", &clip), -EINVAL);
	check_int(put(tier, ".mediafs/v1/tier.json", &clip), -EINVAL);
	check_int(put(tier, "up/x", &clip), -ENOTDIR);
	check_int(put(tier, "link", &clip), -EEXIST);
	check_int(put(tier, "dangling", &clip), -EEXIST);
	check_int(tier->backend->get(tier, "../secret", 0, byte, 1, NULL), -EINVAL);
	check_int(tier->backend->get(tier, "up/secret", 0, byte, 1, NULL), -ELOOP);
	check_int(tier->backend->get(tier, "link", 0, byte, 1, NULL), -ELOOP);
	check_int((tier->backend->check)(tier, "link", NULL, &digest, &size), -ELOOP);
	check_int(tier->backend->stat(tier, "link", &size), -ELOOP);
	check_int(tier->backend->put_small(tier, "media", "x", 1, 0), -EINVAL);
	check_int(tier->backend->put_small(tier, ".mediafs/../x", "x", 1, 0), -EINVAL);
	check_int(tier->backend->get_small(tier, ".mediafs/../link", 9, &bytes, &size), -EINVAL);
	check_int(access(scratch_file(dir, "x"), F_OK), -1);
	check_no_temp(scratch_file(dir, "nas"));
}

TEST(what_was_put_is_there_with_its_name_time_and_mode)
{
	static const size_t sizes[] = { 0, 1, BLOCK_BYTES, 2 * BLOCK_BYTES + 12345 };
	cleanup_with(scratch_free_slot) struct scratch *dir = scratch_new();
	cleanup_with(tier_close_slot) struct tier *tier = claimed(dir->path);

	for (size_t i = 0; i < ARRAY_SIZE(sizes); i++) {
		cleanup_clip struct clip clip;
		cleanup_free uint8_t *bytes = malloc(sizes[i] + 1);
		struct digest digest;
		uint64_t size;
		char key[64];
		struct stat st;

		clip_init(&clip, sizes[i]);
		(void)snprintf(key, sizeof(key), "DAY1/A00%zu/clip.mxf", i);
		check_int(tier->backend->stat(tier, key, &size), -ENOENT);
		check_int(put(tier, key, &clip), 0);
		check_int(clip.paced, (int64_t)sizes[i]);
		check_int(clip.read, (int64_t)sizes[i]);
		check_int(stat(scratch_file(dir, key), &st), 0);
		check_int(st.st_mode, S_IFREG | 0755);
		check_int(timespec_ns(st.st_mtim), 1234567890123456789);
		check_int(tier->backend->stat(tier, key, &size), 0);
		check_int(size, (int64_t)sizes[i]);
		check_int(tier->backend->get(tier, key, 0, bytes, sizes[i], NULL), 0);
		check(memcmp(bytes, clip.bytes, sizes[i]) == 0);
		check_int(tier->backend->get(tier, key, sizes[i], bytes, 1, NULL), -EBADMSG);
		check_int(tier->backend->get(tier, key, UINT64_MAX, bytes, 1, NULL), -EBADMSG);
		check_int((tier->backend->check)(tier, key, NULL, &digest, &size), 0);
		check(digest_equal(&digest, &clip.object.digest));
		check_int(put(tier, key, &clip), -EEXIST);
	}
	check_no_temp(dir->path);
}

TEST(a_name_that_is_taken_is_never_replaced)
{
	cleanup_with(scratch_free_slot) struct scratch *dir = scratch_new();
	cleanup_with(tier_close_slot) struct tier *tier = claimed(dir->path);
	cleanup_clip struct clip clip;
	uint64_t size;

	clip_init(&clip, 100);
	check_int(write_file(AT_FDCWD, scratch_file(dir, "clip"), "theirs", 6, 0600), 0);
	check_int(mkdir(scratch_file(dir, "folder"), 0777), 0);
	check_int(put(tier, "clip", &clip), -EEXIST);
	check_int(put(tier, "folder", &clip), -EEXIST);
	check_int(put(tier, "clip/below", &clip), -ENOTDIR);
	check_int(tier->backend->stat(tier, "folder", &size), -EISDIR);
	check_int(tier->backend->stat(tier, "clip", &size), 0);
	check_int(size, 6);
}

static const char *race_path;

static void take_the_name(struct clip *clip, uint64_t bytes)
{
	(void)bytes;
	check_int(write_file(AT_FDCWD, race_path, "theirs", 6, 0600), 0);
	clip->meanwhile = NULL;
}

TEST(a_name_taken_while_the_bytes_went_over_is_not_replaced)
{
	cleanup_with(scratch_free_slot) struct scratch *dir = scratch_new();
	cleanup_with(tier_close_slot) struct tier *tier = claimed(dir->path);
	cleanup_clip struct clip clip;
	cleanup_free char *text = NULL;
	size_t length;

	clip_init(&clip, 100);
	clip.meanwhile = take_the_name;
	race_path = scratch_file(dir, "clip");
	check_int(put(tier, "clip", &clip), -EEXIST);
	check_int(read_file(AT_FDCWD, race_path, 100, &text, &length), 0);
	check_str(text, "theirs");
	check_no_temp(dir->path);
}

TEST(a_source_that_fails_stops_or_lies_leaves_nothing)
{
	cleanup_with(scratch_free_slot) struct scratch *dir = scratch_new();
	cleanup_with(tier_close_slot) struct tier *tier = claimed(dir->path);
	cleanup_clip struct clip clip;

	clip_init(&clip, BLOCK_BYTES + 5);
	clip.read_error = -EBADMSG;
	check_int(put(tier, "clip", &clip), -EBADMSG);
	clip.read_error = 0;
	clip.pace_error = 1;
	check_int(put(tier, "clip", &clip), -ECANCELED);
	clip.pace_error = -EINTR;
	check_int(put(tier, "clip", &clip), -EINTR);
	clip.pace_error = 0;
	clip.bytes[BLOCK_BYTES] ^= 0x10; /* one bit */
	check_int(put(tier, "clip", &clip), -ESTALE);
	check_int(access(scratch_file(dir, "clip"), F_OK), -1);
	check_no_temp(dir->path);
	clip.bytes[BLOCK_BYTES] ^= 0x10;
	check_int(put(tier, "clip", &clip), 0);
}

TEST(places_without_noreplace_and_links_replace_nothing_either)
{
	static const int link_errors[] = { 0, EEXIST, EPERM };

	for (size_t i = 0; i < ARRAY_SIZE(link_errors); i++) {
		cleanup_with(scratch_free_slot) struct scratch *dir = scratch_new();
		cleanup_with(tier_close_slot) struct tier *tier = claimed(dir->path);
		cleanup_clip struct clip clip;
		struct digest digest;
		uint64_t size;

		clip_init(&clip, 100);
		rename_error = EINVAL;
		link_error = link_errors[i];
		check_int(put(tier, "a", &clip), 0);
		check_int((tier->backend->check)(tier, "a", NULL, &digest, &size), 0);
		check(digest_equal(&digest, &clip.object.digest));
		check_int(put(tier, "a", &clip), -EEXIST);
		link_error = link_errors[i] == EEXIST ? 0 : link_errors[i];
		clip.meanwhile = take_the_name;
		race_path = scratch_file(dir, "b");
		check_int(put(tier, "b", &clip), -EEXIST);
		check_int(tier->backend->stat(tier, "b", &size), 0);
		check_int(size, 6);
		check_no_temp(dir->path);
		rename_error = link_error = 0;
	}
}

/* Flip a bit on the disk between the sync and the read-back. */
static void flip_on_disk(struct clip *clip, uint64_t bytes)
{
	char folder[4096], path[8192] = "";
	const struct dirent *entry;
	cleanup_closedir DIR *stream = NULL;

	if (bytes)
		return;
	(void)snprintf(folder, sizeof(folder), "%s/.mediafs/v1/tmp", clip->image->mount);
	stream = opendir(folder);
	while ((entry = readdir(stream)) != NULL) {
		if (entry->d_name[0] != '.')
			(void)snprintf(path, sizeof(path), "%s/%s", folder, entry->d_name);
	}
	image_flip(clip->image, path, 777);
	clip->meanwhile = NULL;
}

TEST(a_disk_that_keeps_other_bytes_than_it_was_given_is_caught)
{
	cleanup_with(scratch_free_slot) struct scratch *dir = scratch_new();
	cleanup_with(image_free_slot) struct image *image = image_new(dir, "ext4", 64);
	cleanup_with(tier_close_slot) struct tier *tier = image ? claimed(image->mount) : NULL;
	cleanup_clip struct clip clip;
	struct digest digest;
	char path[4096];
	uint64_t size;

	clip_init(&clip, BLOCK_BYTES + 100);
	if (!image)
		return;
	clip.image = image;
	clip.meanwhile = flip_on_disk;
	check_int(put(tier, "clip", &clip), -EBADMSG);
	check_int(tier->backend->stat(tier, "clip", &size), -ENOENT);
	check_no_temp(image->mount);

	check_int(put(tier, "clip", &clip), 0);
	(void)snprintf(path, sizeof(path), "%s/clip", image->mount);
	image_flip(image, path, 5);
	check_int((tier->backend->check)(tier, "clip", NULL, &digest, &size), 0);
	check(!digest_equal(&digest, &clip.object.digest));
}

TEST(a_full_place_says_so_before_the_copying_and_works_again_after)
{
	static const char *const types[] = { "ext4", "tmpfs", "xfs" };

	for (size_t i = 0; i < ARRAY_SIZE(types); i++) {
		bool xfs = strcmp(types[i], "xfs") == 0;
		cleanup_with(scratch_free_slot) struct scratch *dir = scratch_new();
		cleanup_with(image_free_slot) struct image *image =
			image_new(dir, types[i], xfs ? 320 : 16);
		cleanup_with(tier_close_slot) struct tier *tier = NULL;
		cleanup_clip struct clip big, small;
		uint64_t free_bytes, total;

		clip_init(&big, (xfs ? 320u : 16u) << 20);
		clip_init(&small, 100000);
		if (!image)
			continue;
		tier = claimed(image->mount);
		check_int(put(tier, "big", &big), -ENOSPC);
		check_int(big.read, 0);
		check_no_temp(image->mount);
		check_int(put(tier, "small", &small), 0);
		check_int(tier->backend->space(tier, &free_bytes, &total), 0);
		check(free_bytes > 0 && total <= 320u << 20);
	}
}

TEST(a_read_only_place_says_so)
{
	cleanup_with(scratch_free_slot) struct scratch *dir = scratch_new();
	cleanup_with(image_free_slot) struct image *image = image_new(dir, "ext4", 16);
	cleanup_with(tier_close_slot) struct tier *tier = image ? claimed(image->mount) : NULL;
	cleanup_clip struct clip clip;
	uint64_t size;

	clip_init(&clip, 5);
	if (!image)
		return;
	check_int(put(tier, "clip", &clip), 0);
	check_int(mount(NULL, image->mount, NULL, MS_REMOUNT | MS_RDONLY, NULL), 0);
	check_int(put(tier, "folder/other", &clip), -EROFS);
	check_int(tier->backend->probe(tier), -EROFS);
	check_int(tier->backend->stat(tier, "clip", &size), 0);
	check_int(mount(NULL, image->mount, NULL, MS_REMOUNT, NULL), 0);
	check_int(tier->backend->probe(tier), 0);
	check_int(put(tier, "folder/other", &clip), 0);
}

TEST(a_folder_whose_place_is_not_mounted_is_down_and_never_written)
{
	cleanup_with(scratch_free_slot) struct scratch *dir = scratch_new();
	cleanup_with(tier_close_slot) struct tier *tier = NULL;
	const char *nas = scratch_file(dir, "nas"), *away = scratch_file(dir, "away");
	cleanup_clip struct clip clip;
	struct digest digest;
	uint64_t size, total;
	char byte, uuid[37];

	clip_init(&clip, 5);
	check_int(mkdir(nas, 0777), 0);
	tier = claimed(nas);
	check_int(put(tier, "clip", &clip), 0);

	for (int round = 0; round < 2; round++) { /* no folder at all, then an empty one */
		if (round == 0)
			check_int(rename(nas, away), 0);
		else
			check_int(mkdir(nas, 0777), 0);
		check_int(tier->backend->probe(tier), -EHOSTDOWN);
		check_int(put(tier, "other", &clip), -EHOSTDOWN);
		check_int(tier->backend->put_small(tier, ".mediafs/x", "x", 1, 0), -EHOSTDOWN);
		check_int(tier->backend->stat(tier, "clip", &size), -EHOSTDOWN);
		check_int(tier->backend->get(tier, "clip", 0, &byte, 1, NULL), -EHOSTDOWN);
		check_int((tier->backend->check)(tier, "clip", NULL, &digest, &size), -EHOSTDOWN);
		check_int(tier->backend->list(tier, "", NULL, NULL), -EHOSTDOWN);
		check_int(tier->backend->space(tier, &size, &total), -EHOSTDOWN);
		check_int(tier_claim(tier, VOLUME, uuid), -EHOSTDOWN);
	}
	check_int(count_in(nas), 0);
	check_int(rmdir(nas), 0);
	check_int(rename(away, nas), 0);
	check_int(tier->backend->probe(tier), 0);
	check_int(tier->backend->get(tier, "clip", 0, &byte, 1, NULL), 0);
}

TEST(another_place_on_the_same_path_is_down)
{
	cleanup_with(scratch_free_slot) struct scratch *dir = scratch_new();
	cleanup_with(tier_close_slot) struct tier *tier = claimed(dir->path);
	static const char *const identities[] = {
		"{\"format\":1,\"tier\":\"" OTHER_VOLUME "\",\"volume\":\"" VOLUME "\"}",
		"",
		"{}",
		"not json",
	};

	for (size_t i = 0; i < ARRAY_SIZE(identities); i++) {
		check_int(write_file(AT_FDCWD, scratch_file(dir, ".mediafs/v1/tier.json"),
				     identities[i], strlen(identities[i]), 0644),
			  0);
		check_int(tier->backend->probe(tier), -EHOSTDOWN);
	}
}

TEST(a_place_belongs_to_one_volume)
{
	cleanup_with(scratch_free_slot) struct scratch *dir = scratch_new();
	cleanup_with(tier_close_slot) struct tier *tier = open_tier(dir->path);
	char uuid[37], again[37], volume[37];
	static const char newer[] = "{\"format\":2}";

	check_int(tier_volume(tier, volume), -ENOENT);
	check_int(tier_claim(tier, "no-uuid", uuid), -EINVAL);
	check_int(tier_claim(tier, VOLUME, uuid), 0);
	check(uuid_ok(uuid));
	check_int(tier_claim(tier, VOLUME, again), 0);
	check_str(again, uuid);
	check_int(tier_claim(tier, OTHER_VOLUME, again), -EMEDIUMTYPE);
	check_int(tier_volume(tier, volume), 0);
	check_str(volume, VOLUME);
	check_int(tier_expect(tier, uuid), 0);
	check_int(tier_expect(tier, uuid), 0);
	check_int(tier_expect(tier, OTHER_VOLUME), -EBUSY);
	check_int(write_file(AT_FDCWD, scratch_file(dir, ".mediafs/v1/tier.json"), newer,
			     strlen(newer), 0644),
		  0);
	check_int(tier->backend->probe(tier), -EPROTONOSUPPORT);
}

TEST(small_objects_are_replaced_only_when_asked)
{
	cleanup_with(scratch_free_slot) struct scratch *dir = scratch_new();
	cleanup_with(tier_close_slot) struct tier *tier = claimed(dir->path);
	const char *key = ".mediafs/v1/w/site/head.json";
	cleanup_free void *bytes = NULL;
	size_t length;

	check_int(tier->backend->get_small(tier, key, 100, &bytes, &length), -ENOENT);
	check_int(tier->backend->put_small(tier, key, "first", 5, 0), 0);
	check_int(tier->backend->put_small(tier, key, "second", 6, 0), -EEXIST);
	check_int(tier->backend->get_small(tier, key, 5, &bytes, &length), 0);
	check_int(length, 5);
	check_str(bytes, "first");
	check_int(tier->backend->put_small(tier, key, "second", 6, PUT_REPLACE), 0);
	check_int(tier->backend->put_small(tier, ".mediafs/empty", "", 0, PUT_REPLACE), 0);
	free(take_ptr(bytes));
	check_int(tier->backend->get_small(tier, key, 5, &bytes, &length), -EFBIG);
	check_int(tier->backend->get_small(tier, key, 6, &bytes, &length), 0);
	check_str(bytes, "second");
	check_no_temp(dir->path);
}

struct listing {
	unsigned files, folders, stop_after;
};

static int note(void *arg, const char *name, bool is_folder)
{
	struct listing *listing = arg;

	check(name_ok(name));
	listing->folders += is_folder;
	listing->files += !is_folder;
	return listing->files + listing->folders == listing->stop_after ? 7 : 0;
}

TEST(list_gives_the_names_right_below)
{
	cleanup_with(scratch_free_slot) struct scratch *dir = scratch_new();
	cleanup_with(tier_close_slot) struct tier *tier = claimed(dir->path);
	struct listing listing = { 0 };
	cleanup_clip struct clip clip;

	clip_init(&clip, 5);
	check_int(put(tier, "d/one", &clip), 0);
	check_int(put(tier, "d/two", &clip), 0);
	check_int(put(tier, "d/e/three", &clip), 0);
	check_int(tier->backend->list(tier, "d", note, &listing), 0);
	check_int(listing.files, 2);
	check_int(listing.folders, 1);
	check_int(tier->backend->list(tier, "none", note, &listing), -ENOENT);
	check_int(tier->backend->list(tier, "d/..", note, &listing), -EINVAL);
	check_int(tier->backend->list(tier, "d/one", note, &listing), -ENOTDIR);
	listing = (struct listing){ .stop_after = 2 };
	check_int(tier->backend->list(tier, "", note, &listing), 7);
}

TEST(temporary_files_stay_for_a_day)
{
	cleanup_with(scratch_free_slot) struct scratch *dir = scratch_new();
	const char *part = scratch_file(dir, ".mediafs/v1/tmp/part-" VOLUME);
	const char *other = scratch_file(dir, ".mediafs/v1/tmp/part-notes");
	cleanup_with(tier_close_slot) struct tier *tier = claimed(dir->path);
	cleanup_close int fd = -1;

	fd = open(scratch_file(dir, ".mediafs/v1/tmp"), O_RDONLY | O_CLOEXEC);

	check_int(write_file(AT_FDCWD, part, "x", 1, 0600), 0);
	check_int(write_file(AT_FDCWD, other, "x", 1, 0600), 0);
	dir_sweep((struct dir_tier *)tier, fd, realtime_ns() + 23 * 3600 * NS_PER_SEC);
	check_int(access(part, F_OK), 0);
	dir_sweep((struct dir_tier *)tier, fd, realtime_ns() + 25 * 3600 * NS_PER_SEC);
	check_int(access(part, F_OK), -1);
	check_int(access(other, F_OK), 0);
}

TEST(what_its_owner_left_goes_at_once_but_not_what_it_writes_now)
{
	cleanup_with(scratch_free_slot) struct scratch *dir = scratch_new();
	cleanup_with(tier_close_slot) struct tier *tier = claimed(dir->path);
	struct dir_tier *dir_tier = (struct dir_tier *)tier;
	cleanup_close int fd = -1;
	struct temp_name one = { 0 }, two = { 0 };

	tier_set_owner(tier, VOLUME);
	fd = open(scratch_file(dir, ".mediafs/v1/tmp"), O_RDONLY | O_CLOEXEC);
	check_int(dir_temp_begin(dir_tier, &one), 0);
	check_int(dir_temp_begin(dir_tier, &two), 0);
	check(strncmp(one.text, "part-" VOLUME "-", strlen("part-" VOLUME "-")) == 0);
	check_int(write_file(fd, one.text, "x", 1, 0600), 0);
	check_int(write_file(fd, two.text, "x", 1, 0600), 0);
	dir_temp_end(dir_tier, &one);
	dir_sweep(dir_tier, fd, realtime_ns());
	check_int(faccessat(fd, one.text, F_OK, 0), -1);
	check_int(faccessat(fd, two.text, F_OK, 0), 0);
	dir_temp_end(dir_tier, &two);
}

TEST(offsets_beyond_4_gib_are_read_and_checked)
{
	cleanup_with(scratch_free_slot) struct scratch *dir = scratch_new();
	cleanup_with(tier_close_slot) struct tier *tier = claimed(dir->path);
	const uint64_t far = (9ull << 30) - 3;
	uint64_t size;
	char bytes[4];
	int fd = open(scratch_file(dir, "big"), O_RDWR | O_CREAT | O_CLOEXEC, 0644);

	check_int(write_at(fd, "end", 3, (off_t)far), 0);
	(void)close(fd);
	check_int(tier->backend->stat(tier, "big", &size), 0);
	check(size == 9ull << 30);
	check_int(tier->backend->get(tier, "big", far, bytes, 3, NULL), 0);
	check(memcmp(bytes, "end", 3) == 0);
	check_int(tier->backend->get(tier, "big", far, bytes, 4, NULL), -EBADMSG);
}
