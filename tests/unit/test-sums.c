/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <string.h>

#include "manifest/sums.h"
#include "test.h"

#define ABC "900150983cd24fb0d6963f7d28e17f72" /* MD5 of "abc": RFC 1321, A.5 */

static int read_sums(const char *name, const char *text, struct list *ret_list)
{
	unsigned long line;
	const char *why;

	return sums_read(name, text, strlen(text), ret_list, &why, &line);
}

TEST(lines_of_all_programs_are_read)
{
	static const char *const texts[] = {
		ABC "  a/b.mov\n",
		ABC " *a/b.mov\r\n",
		"# made by hand\n\n" ABC "  ./a/b.mov",
		"MD5 (a/b.mov) = " ABC "\n",
		ABC " *a\\b.mov\n",
		"900150983CD24FB0D6963F7D28E17F72  a/b.mov\n",
	};

	for (size_t i = 0; i < ARRAY_SIZE(texts); i++) {
		cleanup_with(list_fini) struct list list = { 0 };

		check_int(read_sums("x.md5", texts[i], &list), 0);
		check_int(list.record_count, 1);
		check_str(list.records[0].path, "a/b.mov");
		check_int(list.records[0].hashes[0].format, HASH_MD5);
		check_int(list.records[0].hashes[0].bytes[0], 0x90);
	}
}

TEST(a_value_alone_is_that_of_the_file_beside)
{
	cleanup_with(list_fini) struct list list = { 0 };

	check_int(read_sums("clip.mov.md5", ABC "\n", &list), 0);
	check_str(list.records[0].path, "clip.mov");
}

TEST(what_is_no_list_or_leads_out_is_refused)
{
	static const char *const texts[] = {
		"",
		"\n",
		"hello\n",
		"hello  world\n",
		ABC "0  x\n",
		ABC "  ../x\n",
		ABC "  /x\n",
		"MD5 (../x) = " ABC "\n",
		"\\" ABC "  x\\ny\n",
		ABC "  a\n" ABC "\n",
	};

	for (size_t i = 0; i < ARRAY_SIZE(texts); i++) {
		cleanup_with(list_fini) struct list list = { 0 };

		check_int(read_sums("x.md5", texts[i], &list), -EPROTO);
	}
}

TEST(the_ending_tells_the_format)
{
	enum hash_format format;

	check(sums_format("A001.SHA1", &format) && format == HASH_SHA1);
	check(sums_format("a.mov.xxh128", &format) && format == HASH_XXH128);
	check(!sums_format("a.mov", &format));
	check(!sums_format(".md5", &format));
	check(!sums_format("md5", &format));
}
