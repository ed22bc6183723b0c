/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/source.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "test.h"
#include "util/io.h"

#define cleanup_scratch cleanup_with(scratch_free_slot)
#define cleanup_source cleanup_with(source_close)

static void put(const struct scratch *dir, const char *name, const char *text)
{
	const char *path = scratch_file(dir, name);

	check_int(make_parents(AT_FDCWD, path), 0);
	check_int(write_file(AT_FDCWD, path, text, strlen(text), 0640), 0);
}

static struct card_rules *rules(void)
{
	static const char text[] = "[common]\n"
				   "junk = (.*/)?(\\._[^/]*|\\.DS_Store)\n"
				   "junk = (.*/)?\\.Trashes(/.*)?\n";
	struct card_rules *made = card_rules_new();

	check_int(card_rules_add(made, "common.conf", text, strlen(text)), 0);
	check_int((int)made->error_count, 0);
	return made;
}

static const struct source_entry *find(const struct source *source, const char *path)
{
	for (size_t i = 0; i < source->count; i++) {
		if (strcmp(source->entries[i].path, path) == 0)
			return &source->entries[i];
	}
	return NULL;
}

TEST(all_that_lies_there_is_listed_in_order)
{
	cleanup_scratch struct scratch *dir = scratch_new();
	cleanup_with(card_rules_free_slot) struct card_rules *litter = rules();
	cleanup_source struct source source = { .fd = -1 };
	static const char *const expected[] = {
		"card.txt",        "clips", "clips/._a.mov", "clips/a.mov",
		"clips/empty.mov", "link",  "zero",
	};
	uint64_t bytes;

	put(dir, "clips/a.mov", "abc");
	put(dir, "clips/._a.mov", "litter");
	put(dir, "clips/empty.mov", "");
	put(dir, "card.txt", "text");
	check_int(mkdir(scratch_file(dir, "zero"), 0755), 0);
	check_int(symlink("clips", scratch_file(dir, "link")), 0);
	check_int(source_open(dir->path, litter, &source), 0);
	check_int((int)source.count, ARRAY_SIZE(expected));
	for (size_t i = 0; i < source.count; i++) {
		check_str(source.entries[i].path, expected[i]);
		check_int(source.entries[i].error, 0);
		check_int(source.entries[i].litter, i == 2);
	}
	check_int((int)find(&source, "clips/a.mov")->size, 3);
	check(S_ISLNK(find(&source, "link")->mode));
	check_int((int)source_total(&source, &bytes), 3);
	check_int((int)bytes, 7);
}

TEST(what_lies_in_litter_is_litter)
{
	cleanup_scratch struct scratch *dir = scratch_new();
	cleanup_with(card_rules_free_slot) struct card_rules *litter = rules();
	cleanup_source struct source source = { .fd = -1 };
	cleanup_source struct source plain = { .fd = -1 };
	uint64_t bytes;

	put(dir, ".Trashes/501/old.mov", "abc");
	check_int(source_open(dir->path, litter, &source), 0);
	check(find(&source, ".Trashes/501/old.mov")->litter);
	check_int((int)source_total(&source, &bytes), 0);
	check_int(source_open(dir->path, NULL, &plain), 0);
	check_int((int)source_total(&plain, &bytes), 1);
}

TEST(a_folder_that_cannot_be_listed_says_so)
{
	cleanup_scratch struct scratch *dir = scratch_new();
	cleanup_source struct source source = { .fd = -1 };
	cleanup_source struct source none = { .fd = -1 };
	cleanup_source struct source file = { .fd = -1 };

	put(dir, "clips/a.mov", "abc");
	check_int(source_open(scratch_file(dir, "none"), NULL, &none), -ENOENT);
	check_int(source_open(scratch_file(dir, "clips/a.mov"), NULL, &file), -ENOTDIR);
	check_int(chmod(scratch_file(dir, "clips"), 0), 0);
	check_int(source_open(dir->path, NULL, &source), 0);
	/* Root may list all. */
	check_int(find(&source, "clips")->error, geteuid() == 0 ? 0 : -EACCES);
	check_int(chmod(scratch_file(dir, "clips"), 0755), 0);
}

struct taken {
	char bytes[64];
	size_t length;
	int result;
};

static int take(void *arg, const void *bytes, size_t length)
{
	struct taken *taken = arg;

	check(length <= sizeof(taken->bytes));
	memcpy(taken->bytes, bytes, length);
	taken->length = length;
	return taken->result;
}

static int refuse(void *arg, uint64_t bytes)
{
	(void)arg, (void)bytes;
	return 1;
}

TEST(a_file_is_hashed_in_all_formats_that_are_wanted)
{
	cleanup_scratch struct scratch *dir = scratch_new();
	cleanup_source struct source source = { .fd = -1 };
	struct taken taken = { .result = 0 };
	struct source_hash hash = { .formats = HASH_BIT(HASH_MD5) | HASH_BIT(HASH_XXH128),
				    .tap = take,
				    .arg = &taken };
	char text[HASH_TEXT_SIZE], hex[DIGEST_HEX_SIZE];

	put(dir, "a.mov", "abc");
	check_int(source_open(dir->path, NULL, &source), 0);
	check_int(source_hash(&source, find(&source, "a.mov"), &hash), 0);
	/* `printf abc | md5sum`, `printf abc | xxhsum -H2` */
	hash_text(HASH_MD5, hash.values[HASH_MD5], text);
	check_str(text, "900150983cd24fb0d6963f7d28e17f72");
	digest_hex(&hash.digest, hex);
	check_str(hex, "06b05ab6733a618578af5f94892f3950");
	hash_text(HASH_XXH128, hash.values[HASH_XXH128], text);
	check_str(text, hex);
	check_int((int)taken.length, 3);
	check(memcmp(taken.bytes, "abc", 3) == 0);

	taken.result = -ENOSPC;
	check_int(source_hash(&source, find(&source, "a.mov"), &hash), -ENOSPC);
	hash = (struct source_hash){ .pace = refuse };
	check_int(source_hash(&source, find(&source, "a.mov"), &hash), -ECANCELED);
}

TEST(an_empty_file_has_a_digest_too)
{
	cleanup_scratch struct scratch *dir = scratch_new();
	cleanup_source struct source source = { .fd = -1 };
	struct source_hash hash = { .formats = 0 };
	struct digest empty;

	put(dir, "empty", "");
	digest_of("", 0, &empty);
	check_int(source_open(dir->path, NULL, &source), 0);
	check_int(source_hash(&source, find(&source, "empty"), &hash), 0);
	check(digest_equal(&hash.digest, &empty));
}

TEST(what_changed_since_it_was_listed_is_not_read_as_if_it_had_not)
{
	cleanup_scratch struct scratch *dir = scratch_new();
	cleanup_source struct source source = { .fd = -1 };
	struct source_hash hash = { .formats = 0 };
	const struct source_entry *file;
	const struct timespec times[2] = { { 1, 0 }, { 1, 0 } };

	put(dir, "clips/a.mov", "abc");
	check_int(source_open(dir->path, NULL, &source), 0);
	file = find(&source, "clips/a.mov");
	check_int(source_check(&source, file), 0);
	put(dir, "clips/a.mov", "longer");
	check_int(source_check(&source, file), -ESTALE);
	check_int(source_hash(&source, file, &hash), -ESTALE);
	put(dir, "clips/a.mov", "xyz");
	check_int(utimensat(AT_FDCWD, scratch_file(dir, "clips/a.mov"), times, 0), 0);
	check_int(source_check(&source, file), -ESTALE);
	check_int(unlink(scratch_file(dir, "clips/a.mov")), 0);
	check_int(source_check(&source, file), -ENOENT);
	/* A link in its place is not followed, one in a folder's place neither. */
	put(dir, "other/a.mov", "abc");
	check_int(symlink("../other/a.mov", scratch_file(dir, "clips/a.mov")), 0);
	check_int(source_hash(&source, file, &hash), -ELOOP);
	check_int(unlink(scratch_file(dir, "clips/a.mov")), 0);
	check_int(rmdir(scratch_file(dir, "clips")), 0);
	check_int(symlink("other", scratch_file(dir, "clips")), 0);
	check_int(source_hash(&source, file, &hash), -ELOOP);
}

TEST(a_folder_of_a_disk_is_not_the_whole_disk)
{
	cleanup_scratch struct scratch *dir = scratch_new();
	cleanup_source struct source source = { .fd = -1 };
	struct source_identity identity;

	check_int(source_open(dir->path, NULL, &source), 0);
	source_identify(&source, &identity);
	check(!identity.is_whole);
	check(identity.device_bytes > 0);
}
