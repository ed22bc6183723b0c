/* SPDX-License-Identifier: Apache-2.0 */
#include "util/json.h"

#include "test.h"

static void check_path(const char *path, const char *written)
{
	cleanup_json json_t *value = json_path(path);
	cleanup_json json_t *again = NULL;
	cleanup_free char *text = NULL;
	cleanup_free char *back = NULL;

	check(value);
	check_str(json_string_value(value), written);
	text = json_dumps(value, JSON_ENCODE_ANY);
	check(text);
	again = json_loads(text, JSON_DECODE_ANY, NULL);
	back = json_path_value(again);
	check_str(back, path);
}

TEST(paths_of_any_bytes_survive_json)
{
	char byte[3] = "x";

	check_path("A001/C001.mov", "A001/C001.mov");
	check_path("100% Größe \xf0\x9f\x8e\xac", "100% Größe \xf0\x9f\x8e\xac");
	check_path("a\xff%", "%:a%ff%25");
	check_path("%:x", "%:%25:x");
	check_path("", "");
	check_path("cut \xc3", "%:cut %c3");
	check_path("overlong \xc0\xaf", "%:overlong %c0%af");
	check_path("surrogate \xed\xa0\x80", "%:surrogate %ed%a0%80");
	check_path("too far \xf4\x90\x80\x80", "%:too far %f4%90%80%80");
	check_path("good ü bad \xe0\x80", "%:good ü bad %e0%80");
	for (int i = 1; i < 256; i++) {
		cleanup_json json_t *value = NULL;
		cleanup_free char *back = NULL;

		byte[1] = (char)i;
		value = json_path(byte);
		check(value);
		back = json_path_value(value);
		check_str(back, byte);
	}
}

TEST(paths_that_are_none_are_refused)
{
	static const char *const bad[] = { "%:%", "%:%4", "%:%zz", "%:a%00b" };

	for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
		cleanup_json json_t *value = json_string(bad[i]);

		check(!json_path_value(value));
	}
	cleanup_json json_t *number = json_integer(3);
	cleanup_json json_t *nul = json_stringn("a\0b", 3);

	check(!json_path_value(number));
	check(!json_path_value(nul));
	check(!json_path_value(NULL));
}

TEST(members_of_another_type_give_the_fallback)
{
	cleanup_json json_t *object = json_pack("{s:i, s:s}", "n", 5, "s", "text");

	check_int(json_int_or(object, "n", 1), 5);
	check_int(json_int_or(object, "s", 1), 1);
	check_int(json_int_or(object, "none", 1), 1);
	check_int(json_int_or(NULL, "n", 1), 1);
	check_str(json_string_or(object, "s", "d"), "text");
	check_str(json_string_or(object, "n", "d"), "d");
	check_str(json_string_or(NULL, "n", "d"), "d");
}
