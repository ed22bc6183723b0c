/* SPDX-License-Identifier: Apache-2.0 */
#include "store/settings.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/stat.h>

#include "util/conf.h"
#include "test.h"
#include "util/clock.h"
#include "util/io.h"

static struct settings *parse(const char *text)
{
	cleanup_free char *message = NULL;
	struct settings *settings = NULL;
	int r = settings_parse(text, strlen(text), &settings, &message);

	if (r < 0)
		test_fail(__FILE__, __LINE__, "\"%s\": %d %s", text, r, message);
	return settings;
}

static void check_text(const struct settings *settings, const char *key, const char *expected)
{
	cleanup_free char *value = NULL;

	check_int(settings_get_text(settings, key, &value), 0);
	check_str(value, expected);
}

static void set(struct settings *settings, const char *key, const char *value)
{
	cleanup_free char *message = NULL;

	check_int(settings_set_text(settings, key, value, &message), 0);
}

static void write_conf(const struct scratch *dir, const char *text)
{
	check_int(write_file(AT_FDCWD, scratch_file(dir, "mediafs.conf"), text, strlen(text), 0640),
		  0);
}

static void check_conf(const struct scratch *dir, const char *expected)
{
	cleanup_free char *text = NULL;
	size_t length;

	check_int(read_file(AT_FDCWD, scratch_file(dir, "mediafs.conf"), 65536, &text, &length), 0);
	check_str(text, expected);
}

static struct settings *load(const struct scratch *dir)
{
	cleanup_free char *message = NULL;
	struct settings *settings = NULL;

	check_int(settings_load(dir->path, &settings, &message), 0);
	return settings;
}

TEST(an_empty_text_gives_the_documented_defaults)
{
	cleanup_with(settings_free_slot) struct settings *settings = parse("");

	check_int(settings_get(settings, SETTING_VERIFY), 0);
	check_int(settings_get(settings, SETTING_VERIFY_RATE), 0);
	check_int(settings_get(settings, SETTING_SCRUB_INTERVAL), 30ll * 86400 * NS_PER_SEC);
	check_int(settings_get(settings, SETTING_SETTLE), 5 * NS_PER_SEC);
	check_int(settings_get(settings, SETTING_EVICT_ABOVE), 800);
	check_int(settings_get(settings, SETTING_RESERVE), 50);
	check_int(settings_get(settings, SETTING_LIMIT), 0);
	check_int(settings_get(settings, SETTING_PAUSE), 0);
	check_int(settings_get(settings, SETTING_RETRY_MAX), 600 * NS_PER_SEC);
	check_int(settings_get(settings, SETTING_REQUIRED_COPIES), 1);
	check_int(settings_get(settings, SETTING_HYDRATE_TIMEOUT), 60 * NS_PER_SEC);
	check_int(settings_get(settings, SETTING_READ_AHEAD), 32 << 20);
	check_int(settings_get(settings, SETTING_SYNC_POLL), 2 * NS_PER_SEC);
	check_int(settings_get(settings, SETTING_SYNC_FLUSH), NS_PER_SEC);
	check_int(settings_tier_count(settings), 0);
	check(settings_rule(settings, "ignore") == NULL);
	check_text(settings, "space.evict_above", "80%");
}

TEST(values_comments_quotes_and_indented_lines_are_read)
{
	cleanup_with(settings_free_slot) struct settings *settings =
		parse("\xef\xbb\xbf# a comment\r\n"
		      "[ ingest ]\r\n"
		      "verify=close   ; wait\r\n"
		      "verify_rate = 200M/s\r\n"
		      "\r\n"
		      "[tier   nas-1]\n"
		      "url = file:///mnt/nas;1\n"
		      "[rules]\n"
		      "ignore = *.tmp ._* #*#\n"
		      "\t; in between\n"
		      "\t.DS_Store\n"
		      "  \"*.bak ;x\"\n"
		      "priority.sound = \"*.wav *.WAV\"\n"
		      "[tier second]\n"
		      "url = /srv/b");

	check_int(settings_get(settings, SETTING_VERIFY), 1);
	check_int(settings_get(settings, SETTING_VERIFY_RATE), 200 << 20);
	check_str(settings_rule(settings, "ignore"), "*.tmp ._* #*# .DS_Store *.bak ;x");
	check_str(settings_rule(settings, "priority.sound"), "*.wav *.WAV");
	check_int(settings_tier_count(settings), 2);
	check_str(settings_tier(settings, 0)->name, "nas-1");
	check_str(settings_tier(settings, 0)->url, "file:///mnt/nas;1");
	check_str(settings_tier(settings, 1)->url, "/srv/b");
	check(settings_tier(settings, 2) == NULL);
	check_text(settings, "tier.second.url", "/srv/b");
}

TEST(long_lines_are_not_cut)
{
	char text[4096] = "[rules]\nignore =";
	cleanup_with(settings_free_slot) struct settings *settings = NULL;

	for (int i = 0; i < 300; i++)
		strcat(text, " *.abcdef");
	settings = parse(text);
	check_int(strlen(settings_rule(settings, "ignore")), 300 * 9 - 1);
}

TEST(what_cannot_be_meant_is_refused_with_its_line)
{
	static const struct {
		const char *text, *message;
	} cases[] = {
		{ "[ingest]\nverify = maybe\n",
		  "line 2: ingest.verify = maybe: must be one of async|close" },
		{ "[ingest]\nverify =\n", "line 2: ingest.verify = : must be one of async|close" },
		{ "[ingest]\nverify = async|close\n",
		  "line 2: ingest.verify = async|close: must be one of async|close" },
		{ "\n\n[transfer]\nlimt = 3\n", "line 4: [transfer] has no key limt" },
		{ "[transfers]\n", "line 1: no such section [transfers]" },
		{ "[rules.priority]\nnotes = x\n", "line 1: no such section [rules.priority]" },
		{ "[rules]\npriority.note = x\n", "line 2: [rules] has no key priority.note" },
		{ "limit = 3\n", "line 1: limit stands before any [section]" },
		{ "[transfer]\nlimit\n", "line 2: neither [section] nor key = value" },
		{ "[transfer]\n= 5\n", "line 2: no key before the =" },
		{ "[transfer\n", "line 1: a section has no ]" },
		{ "[]\n", "line 1: a section has no name" },
		{ "[transfer] x\n", "line 1: text after the ] of a section" },
		{ "[transfer]\nlimit = \"3\n", "line 2: quotes must stand around the whole value" },
		{ "[transfer]\nlimit = \"3\" 4\n",
		  "line 2: quotes must stand around the whole value" },
		{ "[transfer]\nlimit = 1\n[transfer]\nlimit = 1\n",
		  "line 4: transfer.limit is given twice" },
		{ "[transfer]\nlimit = -1\n",
		  "line 2: transfer.limit = -1: must be a rate such as 20M, 0 for no limit" },
		{ "[transfer]\nrequired_copies = 0\n",
		  "line 2: transfer.required_copies = 0: must be a number from 1 to 16" },
		{ "[transfer]\nrequired_copies = 17\n",
		  "line 2: transfer.required_copies = 17: must be a number from 1 to 16" },
		{ "[space]\nreserve = 51%\n",
		  "line 2: space.reserve = 51%: must be a percentage up to 50%" },
		{ "[sync]\npoll = 0\n",
		  "line 2: sync.poll = 0: must be a duration from 100ms to 1h" },
		{ "[manifest]\nhash = md5,\n",
		  "line 2: manifest.hash = md5,: must be some of c4, md5, sha1, xxh128, xxh3 and "
		  "xxh64, with commas between" },
		{ "[manifest]\nhash = xxh32\n",
		  "line 2: manifest.hash = xxh32: must be some of c4, md5, sha1, xxh128, xxh3 and "
		  "xxh64, with commas between" },
		{ "[tier a.b]\n", "line 1: no such section [tier a.b] (a tier's name has letters, "
				  "digits, - and _)" },
		{ "[tier a]\noffsite = yes\n", "tier.a.offsite is given without tier.a.url" },
		{ "[tier a]\nurl = /x\noffsite = far\n",
		  "line 3: tier.a.offsite = far: must be yes or no" },
		{ "[tier a]\nurl = nas\n",
		  "line 2: tier.a.url = nas: must be an absolute path or a URL" },
		{ "[tier a]\nurl = \n",
		  "line 2: tier.a.url = : must be an absolute path or a URL" },
		{ "[tier a]\nsize = 3\n", "line 2: [tier a] has no key size" },
	};

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		struct settings *settings = NULL;
		cleanup_free char *message = NULL;

		check_int(settings_parse(cases[i].text, strlen(cases[i].text), &settings, &message),
			  -EINVAL);
		check_str(message, cases[i].message);
		check(settings == NULL);
	}
}

TEST(no_text_makes_the_parser_fail_in_another_way)
{
	static const char alphabet[] = "[]=;#\" \t\r\n\0ab\x80.tier ingest verify async 80% 5s";
	uint64_t seed = 1;

	for (int round = 0; round < 20000; round++) {
		char text[80];
		size_t length = round % sizeof(text);
		struct settings *settings = NULL;
		cleanup_free char *message = NULL;
		int r;

		for (size_t i = 0; i < length; i++) {
			seed = seed * 6364136223846793005u + 1442695040888963407u;
			text[i] = alphabet[(seed >> 33) % (sizeof(alphabet) - 1)];
		}
		r = settings_parse(text, length, &settings, &message);
		check(r == 0 || (r == -EINVAL && message && strncmp(message, "line ", 5) == 0));
		settings_free(settings);
	}
}

TEST(set_checks_and_takes_effect)
{
	cleanup_with(settings_free_slot) struct settings *settings =
		parse("[transfer]\nlimit = 5M\n");
	cleanup_free char *message = NULL;

	set(settings, "transfer.limit", "20M");
	check_int(settings_get(settings, SETTING_LIMIT), 20 << 20);
	check_text(settings, "transfer.limit", "20M");
	check_int(settings_set_text(settings, "transfer.limit", "fast", &message), -EINVAL);
	check_str(message, "transfer.limit = fast: must be a rate such as 20M, 0 for no limit");
	check_int(settings_get(settings, SETTING_LIMIT), 20 << 20);
	set(settings, "transfer.limit", "");
	check_int(settings_get(settings, SETTING_LIMIT), 0);
	check_text(settings, "transfer.limit", "0");

	free(take_ptr(message));
	check_int(settings_set_text(settings, "transfer.nothing", "1", &message), -ENOENT);
	check(message == NULL);
	check_int(settings_set_text(settings, "tier.a b.url", "/x", &message), -ENOENT);
	check_int(settings_set_text(settings, "tier.a.url", "/x\n[tier b]", &message), -EINVAL);
	check_int(settings_tier_count(settings), 0);
	set(settings, "transfer.pause", "on");
	check_int(settings_get(settings, SETTING_PAUSE), 1);
	set(settings, "transfer.pause", "no");
	check_int(settings_get(settings, SETTING_PAUSE), 0);
}

TEST(a_tier_says_whether_it_is_another_place_and_behind_the_uplink)
{
	cleanup_with(scratch_free_slot) struct scratch *dir = scratch_new();
	cleanup_with(settings_free_slot) struct settings *settings = load(dir);
	cleanup_with(settings_free_slot) struct settings *again = NULL;
	cleanup_free char *message = NULL;

	check_int(settings_set_text(settings, "tier.nas.offsite", "yes", &message), -ENOENT);
	set(settings, "tier.nas.url", "/mnt/nas");
	set(settings, "tier.cloud.url", "s3://bucket");
	check_int(settings_tier(settings, 0)->offsite, -1);
	set(settings, "tier.nas.offsite", "yes");
	set(settings, "tier.cloud.offsite", "no");
	check_int(settings_set_text(settings, "tier.nas.offsite", "far", &message), -EINVAL);
	check_str(message, "tier.nas.offsite = far: must be yes or no");
	check_int(settings_tier(settings, 0)->offsite, 1);
	check_int(settings_tier(settings, 1)->offsite, 0);
	check_int(settings_tier(settings, 0)->uplink, -1);
	set(settings, "tier.nas.uplink", "yes");
	set(settings, "tier.cloud.uplink", "no");
	check_int(settings_tier(settings, 0)->uplink, 1);
	check_int(settings_tier(settings, 1)->uplink, 0);
	check_int(settings_tier_count(settings), 2);
	check_int(settings_save(settings, dir->path), 0);
	again = load(dir);
	check_int(settings_tier(again, 0)->offsite, 1);
	check_text(again, "tier.cloud.offsite", "no");

	/* The next tier of that name is another one. */
	set(again, "tier.nas.url", "");
	set(again, "tier.nas.url", "/mnt/other");
	check_int(settings_tier(again, 0)->offsite, -1);
	check_int(settings_tier(again, 0)->uplink, -1);
	check_int(settings_save(again, dir->path), 0);
}

TEST(a_file_that_is_missing_gives_defaults_a_missing_store_does_not)
{
	cleanup_with(scratch_free_slot) struct scratch *dir = scratch_new();
	cleanup_with(settings_free_slot) struct settings *settings = load(dir);
	struct settings *other = NULL;
	cleanup_free char *message = NULL;

	check_int(settings_get(settings, SETTING_RESERVE), 50);
	check_int(settings_load(scratch_file(dir, "nothing"), &other, &message), -ENOENT);
}

TEST(save_keeps_comments_order_and_what_others_changed)
{
	cleanup_with(scratch_free_slot) struct scratch *dir = scratch_new();
	cleanup_with(settings_free_slot) struct settings *settings = NULL;
	struct stat st;

	write_conf(dir, "# our cart\n"
			"[transfer]\n"
			"  limit=5M      ; the hotel's line\n"
			"pause = no\n"
			"\n"
			"; tiers\n"
			"[tier old]\n"
			"url = /old\n"
			"[rules]\n"
			"ignore = a\n"
			"   b\n");
	settings = load(dir);
	write_conf(dir, "# our cart, by hand\n"
			"[transfer]\n"
			"  limit=5M      ; the hotel's line\n"
			"retry_max =; empty\n"
			"pause = yes\n"
			"\n"
			"; tiers\n"
			"[tier old]\n"
			"url = /old\n"
			"[rules]\n"
			"ignore = a\n"
			"   b\n");
	set(settings, "transfer.limit", "20M");
	set(settings, "transfer.retry_max", "5min");
	set(settings, "transfer.read_ahead", "8M");
	set(settings, "tier.old.url", "");
	set(settings, "tier.new.url", "file:///mnt/nas");
	set(settings, "rules.ignore", "*.tmp ;x");
	check_int(settings_save(settings, dir->path), 0);
	check_conf(dir, "# our cart, by hand\n"
			"[transfer]\n"
			"  limit= 20M      ; the hotel's line\n"
			"retry_max = 5min ; empty\n"
			"pause = yes\n"
			"read_ahead = 8M\n"
			"\n"
			"; tiers\n"
			"[tier old]\n"
			"[rules]\n"
			"ignore = \"*.tmp ;x\"\n"
			"\n"
			"[tier new]\n"
			"url = file:///mnt/nas\n");
	check_int(stat(scratch_file(dir, "mediafs.conf"), &st), 0);
	check_int(st.st_mode & 0777, 0640);

	settings_free(take_ptr(settings));
	settings = load(dir);
	check_int(settings_get(settings, SETTING_LIMIT), 20 << 20);
	check_int(settings_get(settings, SETTING_PAUSE), 1);
	check_int(settings_tier_count(settings), 1);
	check_str(settings_tier(settings, 0)->name, "new");
	check_str(settings_rule(settings, "ignore"), "*.tmp ;x");
}

TEST(save_makes_the_file_and_refuses_to_touch_one_it_cannot_read)
{
	cleanup_with(scratch_free_slot) struct scratch *dir = scratch_new();
	cleanup_with(settings_free_slot) struct settings *settings = load(dir);

	set(settings, "transfer.pause", "yes");
	check_int(settings_save(settings, dir->path), 0);
	check_conf(dir, "[transfer]\npause = yes\n");
	write_conf(dir, "[transfer\n");
	check_int(settings_save(settings, dir->path), -EINVAL);
	check_conf(dir, "[transfer\n");
}

TEST(what_was_saved_is_not_written_again_and_an_override_never)
{
	cleanup_with(scratch_free_slot) struct scratch *dir = scratch_new();
	cleanup_with(settings_free_slot) struct settings *settings = load(dir);
	cleanup_free char *message = NULL;

	check_int(settings_override(settings, "ingest.verify", "close", &message), 0);
	set(settings, "transfer.limit", "5M");
	check_int(settings_save(settings, dir->path), 0);
	check_conf(dir, "[transfer]\nlimit = 5M\n");
	write_conf(dir, "[transfer]\nlimit = 20M\n");
	set(settings, "transfer.pause", "yes");
	check_int(settings_save(settings, dir->path), 0);
	check_conf(dir, "[transfer]\nlimit = 20M\npause = yes\n");
	check_text(settings, "ingest.verify", "close");
}

TEST(a_copy_says_the_same_and_is_taken_over_whole)
{
	cleanup_with(settings_free_slot) struct settings *settings =
		parse("[transfer]\nlimit = 5M\ntimetable = mon-sun 00:00-24:00 7M\n"
		      "[tier nas]\nurl = /mnt/nas\nuplink = yes\n");
	struct settings *copy = NULL;

	check_int(settings_copy(settings, &copy), 0);
	check_int(settings_limit(copy, 0).per_second, 7 << 20);
	check_int(settings_tier(copy, 0)->uplink, 1);
	set(copy, "transfer.limit", "20M");
	set(copy, "transfer.timetable", "");
	set(copy, "tier.cloud.url", "s3://bucket");
	check_text(settings, "transfer.limit", "5M");
	check_int(settings_tier_count(settings), 1);
	settings_become(settings, copy);
	check_int(settings_limit(settings, 0).per_second, 20 << 20);
	check_str(settings_tier(settings, 1)->url, "s3://bucket");
}

TEST(every_key_is_described_and_its_default_is_a_legal_value)
{
	cleanup_with(settings_free_slot) struct settings *settings = parse("");
	const char *key, *fallback, *help;
	size_t count = 0;

	for (; settings_describe(count, &key, &fallback, &help) == 0; count++) {
		check_text(settings, key, fallback);
		set(settings, key, fallback);
		check(strlen(help) > 10);
	}
	check_int(count, SETTING_COUNT + 6);
}
