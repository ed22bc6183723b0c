/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <stdlib.h>

#include "manifest/history.h"
#include "manifest/ignore.h"
#include "manifest/list.h"
#include "util/xml.h"
#include "test.h"
#include "util/cleanup.h"
#include "util/clock.h"

#define ASC(body)                                                                                  \
	"<hashlist version=\"2.0\" xmlns=\"urn:ASC:MHL:v2.0\"><hashes>" body "</hashes></"         \
	"hashlist>"
#define FILE_OF(path)                                                                              \
	"<hash><path>" path "</path><md5>0cc175b9c0f1b6a831c399e269772661</md5></hash>"
#define LEGACY(body) "<hashlist version=\"1.1\">" body "</hashlist>"

static int read_list(const char *text, struct list *list)
{
	unsigned long line;
	const char *why;

	return list_read(text, strlen(text), list, &why, &line);
}

TEST(patterns_match_as_in_gitignore)
{
	static const struct {
		const char *pattern, *path;
		bool folder, ignored;
	} cases[] = {
		{ ".DS_Store", "a/.DS_Store", false, true },
		{ "*.tmp", "a/b.tmp", false, true },
		{ "*.tmp", "a/b.tmpx", false, false },
		{ "*.tmp", ".tmp", false, true },
		{ "/top", "top", false, true },
		{ "/top", "a/top", false, false },
		{ "a/b", "a/b", false, true },
		{ "a/b", "x/a/b", false, false },
		{ "dir/", "dir", true, true },
		{ "dir/", "x/dir", true, true },
		{ "dir/", "dir", false, false },
		{ "a/**/z", "a/z", false, true },
		{ "a/**/z", "a/b/c/z", false, true },
		{ "**/z", "b/z", false, true },
		{ "a/**", "a/b/c", false, true },
		{ "a/**", "a", true, false },
		{ "a*c/d", "a/c/d", false, false },
		{ "a?c", "abc", false, true },
		{ "[a-c]x", "bx", false, true },
		{ "[!a-c]x", "bx", false, false },
		{ "[]a]", "]", false, true },
		{ "[a", "[a", false, true },
		{ "\\!x", "!x", false, true },
		{ "\\*", "*", false, true },
		{ "\\*", "a", false, false },
		{ "#x", "#x", false, false },
		{ "x  ", "x", false, true },
		{ "x\\ ", "x ", false, true },
		{ "", "x", false, false },
		{ "/", "x", true, false },
		/* Must not take for ever. */
		{ "*a*a*a*a*a*a*a*a*a*a*a*b", "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa", false,
		  false },
	};

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		char *patterns[] = { (char *)cases[i].pattern };
		bool ignored =
			ignore_match(patterns, 1, cases[i].path, cases[i].folder) == IGNORE_YES;

		if (ignored != cases[i].ignored)
			test_fail(__FILE__, __LINE__, "\"%s\" and \"%s\"", cases[i].pattern,
				  cases[i].path);
	}
}

TEST(the_last_pattern_that_matches_decides)
{
	char *patterns[] = { "*.mov", "!keep.mov" };

	check_int(ignore_match(patterns, 2, "a/keep.mov", false), IGNORE_NO);
	check_int(ignore_match(patterns, 2, "a/b.mov", false), IGNORE_YES);
	check_int(ignore_match(patterns, 2, "a/b.wav", false), IGNORE_UNDECIDED);
	check(ignore_is_floating("*.tmp") && ignore_is_floating("dir/"));
	check(!ignore_is_floating("/top") && !ignore_is_floating("a/b"));
}

TEST(documents_that_mean_no_good_are_refused)
{
	static const char *const bad[] = {
		"",
		"<hashlist",
		"<other/>",
		"<hashlist/>",
		"<hashlist version=\"1.2\"/>",
		"<hashlist version=\"2.0\"/>",
		"<hashlist version=\"3.0\" xmlns=\"urn:ASC:MHL:v2.0\"/>",
		"<!DOCTYPE hashlist>" ASC(FILE_OF("a")),
		"<!DOCTYPE x [<!ENTITY e \"a\">]>" ASC(FILE_OF("&e;")),
		ASC(FILE_OF("../a")),
		ASC(FILE_OF("a/../b")),
		ASC(FILE_OF("/etc/passwd")),
		ASC(FILE_OF("a//b")),
		ASC(FILE_OF("")),
		ASC(FILE_OF("a") FILE_OF("a")),
		ASC("<hash><path>a</path><md5>0cc1</md5></hash>"),
		ASC("<hash><md5>0cc175b9c0f1b6a831c399e269772661</md5></hash>"),
		LEGACY(""),
		LEGACY("<hash><file>a</file><size>1</size></hash>"),
		LEGACY("<hash><file>../a</file><size>1</size><null/></hash>"),
		LEGACY("<hash><file>a</file><size>1</size><xxhash>4294967296</xxhash></hash>"),
	};

	for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
		struct list list;
		int r = read_list(bad[i], &list);

		if (r != -EPROTO)
			test_fail(__FILE__, __LINE__, "%d: %s", r, bad[i]);
		list_fini(&list);
	}
}

TEST(depth_and_text_have_limits)
{
	cleanup_free char *text = malloc(1 << 20);
	struct list list;
	size_t used = 0;

	used += (size_t)sprintf(text, "<hashlist version=\"1.1\">");
	for (size_t i = 0; i < 100; i++)
		used += (size_t)sprintf(text + used, "<a>");
	check_int(read_list(text, &list), -EPROTO);
	list_fini(&list);
	used = (size_t)sprintf(text, "<hashlist version=\"1.1\"><hash><file>");
	memset(text + used, 'a', 100000);
	(void)strcpy(text + used + 100000, "</file><null/></hash></hashlist>");
	check_int(read_list(text, &list), -EPROTO);
	list_fini(&list);
	(void)sprintf(text, "<a%0*d/>", XML_PATH_MAX, 0);
	check_int(read_list(text, &list), -EPROTO);
	list_fini(&list);
}

TEST(both_spellings_of_one_value_are_read)
{
	static const char text[] =
		LEGACY("<hash><file> a </file><size>5</size>"
		       "<xxhash64be> 07E3670C0C8DC7EB </xxhash64be>"
		       "<xxhash64>ebc78d0c0c67e307</xxhash64><xxhash>2537091483</xxhash></hash>");
	static const uint8_t want[8] = { 0x07, 0xe3, 0x67, 0x0c, 0x0c, 0x8d, 0xc7, 0xeb };
	static const uint8_t want32[4] = { 0x97, 0x38, 0xf1, 0x9b };
	cleanup_with(list_fini) struct list list;

	check_int(read_list(text, &list), 0);
	check_int(list.kind, LIST_LEGACY);
	check_int(list.record_count, 1);
	check_str(list.records[0].path, " a ");
	check_int(list.records[0].size, 5);
	check_int(list.records[0].hash_count, 3);
	check(memcmp(list.records[0].hashes[0].bytes, want, 8) == 0);
	check(memcmp(list.records[0].hashes[1].bytes, want, 8) == 0);
	check(!list.records[0].hashes[0].swapped && list.records[0].hashes[1].swapped);
	check(memcmp(list.records[0].hashes[2].bytes, want32, 4) == 0);
}

TEST(what_others_put_into_metadata_is_no_record)
{
	static const char text[] = ASC(
		"<hash><path size=\"1\">a/</path><md5 action=\"original\">"
		"0cc175b9c0f1b6a831c399e269772661</md5><metadata><path>x</path><hash/></metadata>"
		"<x:md5 xmlns:x=\"urn:other\">zz</x:md5></hash>");
	cleanup_with(list_fini) struct list list;

	check_int(read_list(text, &list), 0);
	check_int(list.record_count, 1);
	check_str(list.records[0].path, "a");
	check_int(list.records[0].hash_count, 1);
	check_int(list.records[0].hashes[0].action, ACTION_ORIGINAL);
}

TEST(dates_of_every_kind_are_read)
{
	static const struct {
		const char *text;
		int64_t ns;
	} cases[] = {
		{ "2026-03-01T10:20:30Z", 1772360430 * NS_PER_SEC },
		{ "2026-03-01T10:20:30", 1772360430 * NS_PER_SEC },
		{ "2026-03-01T11:20:30.25+01:00", 1772360430 * NS_PER_SEC + 250000000 },
		{ "2026-03-01T02:20:30-0800", 1772360430 * NS_PER_SEC },
		{ "2012-11-24 10-32-36", 1353753156 * NS_PER_SEC },
		{ "2026-03-01", NO_TIME },
		{ "", NO_TIME },
		{ "9999-01-01T00:00:00Z", NO_TIME },
	};
	char text[DATE_SIZE];

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++)
		check_int(date_parse(cases[i].text), cases[i].ns);
	check_str(date_format(1772360430 * NS_PER_SEC + 1000, DATE_MICROS, text),
		  "2026-03-01T10:20:30.000001+00:00");
	check_str(date_format(1772360430 * NS_PER_SEC, DATE_MICROS, text),
		  "2026-03-01T10:20:30+00:00");
	check_str(date_format(1772360430 * NS_PER_SEC, DATE_NAME, text), "2026-03-01_102030");
}

TEST(only_what_xml_has_can_be_carried)
{
	check(xml_can_carry("plain \xc3\xb6 \xf0\x9f\x8e\xa5 \t\r\n"));
	check(!xml_can_carry("bell\a"));
	check(!xml_can_carry("\xe4"));
	check(!xml_can_carry("\xc0\xaf"));     /* '/' in two bytes */
	check(!xml_can_carry("\xed\xa0\x80")); /* half of a surrogate pair */
	check(!xml_can_carry("\xef\xbf\xbf")); /* U+FFFF */
	check(!xml_can_carry("\xf4\x90\x80\x80"));
}

static void append(struct history *history, const char *text)
{
	struct list list;

	check_int(read_list(text, &list), 0);
	check_int(history_append(history, &list), 0);
	list_fini(&list);
}

#define MOVED(path, from)                                                                          \
	"<hash><path>" path "</path><md5>0cc175b9c0f1b6a831c399e269772661</md5>"                   \
	"<previousPath>" from "</previousPath></hash>"

TEST(renames_of_one_generation_happen_at_once)
{
	struct history *history = history_new("");
	const struct known *a, *b;

	append(history, ASC("<hash><path size=\"1\">a</path></hash><hash><path "
			    "size=\"2\">b</path></hash>" FILE_OF("c")));
	append(history, ASC(MOVED("a", "b") MOVED("b", "a") MOVED("d", "c")));
	append(history, ASC(MOVED("e", "d")));
	a = history_find(history, "a");
	b = history_find(history, "b");
	check(a && b);
	check_int(a->records[0]->size, 2);
	check_int(b->records[0]->size, 1);
	check(!history_find(history, "c") && !history_find(history, "d"));
	check_int(history_find(history, "e")->count, 3);
	history_free(history);
}

TEST(a_chain_is_numbered_from_one)
{
	static const char form[] =
		"<ascmhldirectory xmlns=\"urn:ASC:MHL:DIRECTORY:v2.0\"><hashlist sequencenr=\"%s\">"
		"<path>%s</path><c4>nonsense</c4></hashlist></ascmhldirectory>";
	static const struct {
		const char *number, *path;
		int result;
	} cases[] = {
		{ "1", "0001_a.mhl", 0 },           { "2", "0001_a.mhl", -EPROTO },
		{ "x", "0001_a.mhl", -EPROTO },     { "1", "../0001_a.mhl", -EPROTO },
		{ "1", "sub/0001_a.mhl", -EPROTO },
	};

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		struct chain chain;
		unsigned long line;
		const char *why;
		char text[512];

		(void)snprintf(text, sizeof(text), form, cases[i].number, cases[i].path);
		check_int(chain_read(text, strlen(text), &chain, &why, &line), cases[i].result);
		if (cases[i].result == 0)
			check(chain.count == 1 && !chain.entries[0].has_c4);
		chain_fini(&chain);
	}
}
