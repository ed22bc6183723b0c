/* SPDX-License-Identifier: Apache-2.0 */
#include "control/protocol.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/socket.h>

#include "mediafs/exit.h"
#include "test.h"
#include "util/cleanup.h"

#define MAX_LINE 100u

/* Feed @bytes as a socket would, in pieces of at most @piece. */
static int feed(struct line_reader *reader, const char *bytes, size_t length, size_t piece)
{
	while (length > 0) {
		char *room;
		size_t size;
		int r = line_reader_room(reader, &room, &size);

		if (r < 0)
			return r;
		if (size > piece)
			size = piece;
		if (size > length)
			size = length;
		memcpy(room, bytes, size);
		line_reader_add(reader, size);
		bytes += size;
		length -= size;
	}
	return 0;
}

TEST(lines_come_whole_however_bytes_come)
{
	static const char text[] = "one\n\ntwo two\nthree";

	for (size_t piece = 1; piece < sizeof(text); piece++) {
		struct line_reader reader;
		size_t length;
		char *line;

		line_reader_init(&reader, MAX_LINE);
		check_int(feed(&reader, text, strlen(text), piece), 0);
		check_int(line_reader_next(&reader, &line, &length), 1);
		check_str(line, "one");
		check_int(length, 3);
		check_int(line_reader_next(&reader, &line, &length), 1);
		check_str(line, "");
		check_int(line_reader_next(&reader, &line, &length), 1);
		check_str(line, "two two");
		check_int(line_reader_next(&reader, &line, &length), 0);
		check_int(feed(&reader, "\n", 1, 1), 0);
		check_int(line_reader_next(&reader, &line, &length), 1);
		check_str(line, "three");
		line_reader_fini(&reader);
	}
}

TEST(line_of_the_limit_is_taken_and_a_longer_one_refused)
{
	char text[MAX_LINE + 2];
	struct line_reader reader;
	size_t length;
	char *line;

	memset(text, 'a', sizeof(text));
	text[MAX_LINE] = '\n';
	line_reader_init(&reader, MAX_LINE);
	check_int(feed(&reader, text, MAX_LINE + 1, 7), 0);
	check_int(line_reader_next(&reader, &line, &length), 1);
	check_int(length, MAX_LINE);
	text[MAX_LINE] = 'a';
	check_int(feed(&reader, text, MAX_LINE + 1, 7), 0);
	check_int(line_reader_next(&reader, &line, &length), -EMSGSIZE);
	check_int(line_reader_room(&reader, &line, &length), -EMSGSIZE);
	line_reader_fini(&reader);
}

TEST(many_lines_need_no_more_room_than_one)
{
	struct line_reader reader;
	size_t length;
	char *line;

	line_reader_init(&reader, MAX_LINE);
	for (int i = 0; i < 10000; i++) {
		check_int(feed(&reader, "0123456789\n", 11, 11), 0);
		check_int(line_reader_next(&reader, &line, &length), 1);
	}
	check(reader.size <= MAX_LINE + 1);
	line_reader_fini(&reader);
}

TEST(hostile_requests_are_refused)
{
	static const char *const bad[] = {
		"",
		"{",
		"[]",
		"null",
		"\"status\"",
		"{}",
		"{\"request\":1}",
		"{\"request\":null}",
		"{\"request\":\"a\",\"request\":\"b\"}",
		"{\"request\":\"a\"} x",
		"{\"request\":\"a\\u0000b\"}",
		"{\"request\":\"\xff\xfe\"}",
		"{\"request\":\"a\",\"n\":1e999}",
		"{\"request\":\"a\",\"n\":99999999999999999999}",
	};
	static char deep[40000];
	json_t *request = NULL;
	const char *message = NULL;

	for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
		check_int(request_parse(bad[i], strlen(bad[i]), &request, &message), -EINVAL);
		check(request == NULL && message != NULL);
	}
	memset(deep, '[', sizeof(deep));
	check_int(request_parse(deep, sizeof(deep), &request, &message), -EINVAL);
}

static int path_of(const char *json, char **ret_path)
{
	cleanup_json json_t *request = NULL;
	const char *message;

	check_int(request_parse(json, strlen(json), &request, &message), 0);
	return request_path(request, ret_path);
}

TEST(paths_leave_the_volume_never)
{
	static const char *const bad[] = {
		"/etc", "..",  "a/../b",  ".",        "a//b",  "a/",
		"/",    "./a", "%:a%00b", "%:%2e%2e", "%:%zz",
	};
	char json[256];
	char *path;

	for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
		(void)snprintf(json, sizeof(json), "{\"request\":\"ls\",\"path\":\"%s\"}", bad[i]);
		check_int(path_of(json, &path), -EINVAL);
	}
	check_int(path_of("{\"request\":\"ls\",\"path\":7}", &path), -EINVAL);
	check_int(path_of("{\"request\":\"ls\",\"path\":null}", &path), -EINVAL);
	check_int(path_of("{\"request\":\"ls\"}", &path), 0);
	check_str(path, "");
	free(path);
	check_int(path_of("{\"request\":\"ls\",\"path\":\"%:a%ff/b\"}", &path), 0);
	check_str(path, "a\xff/b");
	free(path);
}

TEST(numbers_keep_to_their_range)
{
	static const struct {
		const char *json;
		int result;
		int64_t value;
	} cases[] = {
		{ "{\"request\":\"a\"}", 0, 7 },
		{ "{\"request\":\"a\",\"n\":1}", 0, 1 },
		{ "{\"request\":\"a\",\"n\":10}", 0, 10 },
		{ "{\"request\":\"a\",\"n\":0}", -EINVAL, 0 },
		{ "{\"request\":\"a\",\"n\":11}", -EINVAL, 0 },
		{ "{\"request\":\"a\",\"n\":-9223372036854775808}", -EINVAL, 0 },
		{ "{\"request\":\"a\",\"n\":1.5}", -EINVAL, 0 },
		{ "{\"request\":\"a\",\"n\":\"1\"}", -EINVAL, 0 },
		{ "{\"request\":\"a\",\"n\":true}", -EINVAL, 0 },
	};

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		cleanup_json json_t *request = NULL;
		const char *message;
		int64_t value = 0;

		check_int(request_parse(cases[i].json, strlen(cases[i].json), &request, &message),
			  0);
		check_int(request_int(request, "n", 1, 10, 7, &value), cases[i].result);
		check_int(value, cases[i].value);
	}
}

TEST(only_true_is_a_flag)
{
	cleanup_json json_t *request =
		json_pack("{s:b,s:i,s:s,s:b}", "yes", 1, "one", 1, "text", "true", "no", 0);

	check(request_flag(request, "yes"));
	check(!request_flag(request, "one") && !request_flag(request, "text"));
	check(!request_flag(request, "no") && !request_flag(request, "absent"));
}

TEST(sent_lines_end_and_a_gone_peer_is_an_error)
{
	cleanup_json json_t *object = json_pack("{s:i}", "a", 1);
	char text[16] = { 0 };
	int pair[2];

	check_int(socketpair(AF_UNIX, SOCK_STREAM, 0, pair), 0);
	check_int(line_send(pair[0], object, 7), 0);
	check_int(recv(pair[1], text, sizeof(text), 0), 8);
	check_str(text, "{\"a\":1}\n");
	check_int(line_send(pair[0], object, 6), -EMSGSIZE);
	check_int(close(pair[1]), 0);
	check_int(line_send(pair[0], object, 7), -EPIPE);
	check_int(close(pair[0]), 0);
}

TEST(exit_codes_follow_from_errors)
{
	check_int(exit_code_of(-EHOSTDOWN), MEDIAFS_EXIT_OFFLINE);
	check_int(exit_code_of(-EBADMSG), MEDIAFS_EXIT_DAMAGED);
	check_int(exit_code_of(-ENOENT), MEDIAFS_EXIT_NO_ENTRY);
	check_int(exit_code_of(-EIO), MEDIAFS_EXIT_FAILED);
	check_str(errno_name(-ENOENT), "ENOENT");
	check_str(errno_name(-99999), "E?");
}
