/* SPDX-License-Identifier: Apache-2.0 */
#include "tier/tier.h"

#include <errno.h>
#include <sys/stat.h>
#include <unistd.h>

#include "test.h"

TEST(only_keys_that_stay_inside_are_keys)
{
	static const char *const good[] = {
		"a",        "DAY1/A001/clip.mxf", "...",         "..a/b..", ".hidden", "a b", " ",
		"\xff\xfe", "x/.mediafs/y",       ".mediafs2/x", "a\\b",    "-rf",     "*",
	};
	static const char *const bad[] = {
		"",
		"/",
		"/a",
		"a/",
		"a//b",
		".",
		"..",
		"./a",
		"a/.",
		"../a",
		"a/../b",
		"a/..",
		"a\nb",
		"\x01",
		"a\x7f",
		".mediafs",
		".mediafs/v1/tier.json",
		".MediaFS/x",
		".MEDIAFS",
	};
	char key[4200];

	for (size_t i = 0; i < ARRAY_SIZE(good); i++) {
		if (!tier_key_ok(good[i]))
			test_fail(__FILE__, __LINE__, "\"%s\" is refused", good[i]);
	}
	for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
		if (tier_key_ok(bad[i]))
			test_fail(__FILE__, __LINE__, "\"%s\" is taken", bad[i]);
	}
	memset(key, 'a', sizeof(key));
	key[255] = 0;
	check(tier_key_ok(key));
	key[255] = 'a';
	key[256] = 0;
	check(!tier_key_ok(key));
	for (size_t i = 0; i < sizeof(key); i++)
		key[i] = i % 100 == 99 ? '/' : 'a';
	key[4095] = 0;
	check(tier_key_ok(key));
	key[4095] = 'a';
	key[4096] = 0;
	check(!tier_key_ok(key));
}

TEST(urls_name_a_folder_or_are_refused)
{
	static const struct {
		const char *url;
		int expected;
	} cases[] = {
		{ "/mnt/nas", 0 },
		{ "file:///mnt/my%20nas", 0 },
		{ "file://host/mnt", -EINVAL },
		{ "file://", -EINVAL },
		{ "file:///a%0", -EINVAL },
		{ "file:///a%00b", -EINVAL },
		{ "file:///a%zz", -EINVAL },
		{ "mnt/nas", -EINVAL },
		{ "", -EINVAL },
		{ "ftp://host/", -EPROTONOSUPPORT },
	};
	cleanup_with(scratch_free_slot) struct scratch *dir = scratch_new();
	char uuid[37];

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		struct tier *tier = NULL;

		check_int(tier_open("x", cases[i].url, &tier), cases[i].expected);
		tier_close(tier);
	}
	check_int(mkdir(scratch_file(dir, "a b"), 0777), 0);
	{
		cleanup_free char *url = NULL;
		cleanup_with(tier_close_slot) struct tier *tier = NULL;

		check(asprintf(&url, "file://%s/a%%20b", dir->path) > 0);
		check_int(tier_open("x", url, &tier), 0);
		check_int(tier_claim(tier, "0f0e0d0c-0b0a-4908-8706-050403020100", uuid), 0);
		check_int(tier->backend->probe(tier), 0);
	}
	check_int(access(scratch_file(dir, "a b/.mediafs"), F_OK), 0);
}
