/* SPDX-License-Identifier: Apache-2.0 */
#include "control/control.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "control/client.h"
#include "control/protocol.h"
#include "mediafs/exit.h"
#include "store/store.h"
#include "control_help.h"
#include "control_volume.h"
#include "test.h"
#include "util/cleanup.h"
#include "util/clock.h"
#include "util/thread.h"

struct fixture {
	struct scratch *scratch;
	const char *path; /* of the store */
	struct volume volume;
	struct control *control;
};

static void setup(struct fixture *fixture)
{
	const struct store_identity identity = { "cart", NULL, false };
	cleanup_free char *file = NULL;

	*fixture = (struct fixture){ .scratch = scratch_new(), .volume = { .limit = "0" } };
	mutex_init(&fixture->volume.lock, 90);
	fixture->path = scratch_file(fixture->scratch, "store");
	check_int(store_create(fixture->path, &identity, NULL), 0);
	check_int(store_open(fixture->path, 0, &fixture->volume.store), 0);
	file = store_file(fixture->volume.store, "catalog.db");
	check_int(catalog_open(file, fixture->volume.store->site_uuid, CATALOG_CREATE,
			       &fixture->volume.catalog),
		  0);
	check_int(control_start(&fixture->volume, &fixture->control), 0);
}

static void teardown(struct fixture *fixture)
{
	control_stop(fixture->control);
	catalog_close(fixture->volume.catalog);
	store_close(fixture->volume.store);
	mutex_fini(&fixture->volume.lock);
	scratch_free(fixture->scratch);
}

static int connect_raw(const char *store)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	int fd = socket(AF_UNIX, SOCK_STREAM, 0);

	(void)snprintf(address.sun_path, sizeof(address.sun_path), "%s/run/control", store);
	check_int(connect(fd, (const struct sockaddr *)&address, sizeof(address)), 0);
	return fd;
}

/* All until the server closes, or one line. */
static const char *receive_line(int fd)
{
	static char text[4096];
	size_t used = 0;

	while (used + 1 < sizeof(text) && recv(fd, text + used, 1, 0) == 1) {
		if (text[used++] == '\n')
			break;
	}
	text[used] = '\0';
	return text;
}

static json_t *ask(const char *store, json_t *request)
{
	cleanup_with(client_close_slot) struct client *client = NULL;
	json_t *final = NULL;

	check_int(client_open(store, &client), 0);
	check(client_is_live(client));
	check_int(client_call(client, request, 10000, NULL, NULL, &final), 0);
	return final;
}

TEST(the_socket_is_the_owners_alone)
{
	struct fixture fixture;
	struct stat st;
	char path[4096];

	setup(&fixture);
	(void)snprintf(path, sizeof(path), "%s/run/control", fixture.path);
	check_int(stat(path, &st), 0);
	check_int(st.st_mode & 07777, 0600);
	control_stop(fixture.control);
	fixture.control = NULL;
	check_int(stat(path, &st), -1);
	teardown(&fixture);
}

TEST(a_dead_socket_is_replaced)
{
	struct fixture fixture;
	cleanup_json json_t *final = NULL;
	char path[4096];
	int fd;

	setup(&fixture);
	control_stop(fixture.control);
	(void)snprintf(path, sizeof(path), "%s/run/control", fixture.path);
	fd = open(path, O_WRONLY | O_CREAT, 0644);
	check(fd >= 0 && close(fd) == 0);
	check_int(control_start(&fixture.volume, &fixture.control), 0);
	final = ask(fixture.path, json_pack("{s:s}", "request", "ping"));
	check_int(json_int_or(final, "code", -1), 0);
	check_str(json_string_or(final, "site", ""), "cart");
	teardown(&fixture);
}

TEST(daemon_and_catalog_give_one_answer)
{
	cleanup_json json_t *live = NULL;
	cleanup_json json_t *offline = NULL;
	cleanup_with(client_close_slot) struct client *client = NULL;
	struct fixture fixture;

	setup(&fixture);
	live = ask(fixture.path, json_pack("{s:s}", "request", "status"));
	check_int(json_int_or(live, "code", -1), 0);
	check(json_is_true(json_object_get(live, "mounted")));
	check_int(client_open(fixture.path, &client), 0);
	check_int(client_go_offline(client), 0);
	check(!client_is_live(client));
	check_int(client_call(client, json_pack("{s:s}", "request", "status"), 0, NULL, NULL,
			      &offline),
		  0);
	check(json_is_false(json_object_get(offline, "mounted")));
	check(json_equal(json_object_get(live, "states"), json_object_get(offline, "states")));
	teardown(&fixture);
}

TEST(wrong_requests_get_an_error_and_the_connection_lives_on)
{
	static const struct {
		const char *line, *error;
	} cases[] = {
		{ "nonsense", "EINVAL" },
		{ "{\"request\":\"nope\"}", "EOPNOTSUPP" },
		{ "{\"request\":\"ls\",\"path\":\"../etc\"}", "EINVAL" },
		{ "{\"request\":\"ls\",\"path\":\"absent\"}", "ENOENT" },
		{ "{\"request\":\"residency\",\"path\":\"\",\"verb\":\"eat\"}", "EINVAL" },
		{ "{\"request\":\"config-set\",\"key\":\"transfer.limit\"}", "EINVAL" },
		{ "{\"request\":\"config-set\",\"key\":\"x\",\"value\":\"y\"}", "ENOENT" },
		{ "{\"request\":\"log\",\"count\":0}", "EINVAL" },
		{ "{\"request\":\"limit\",\"rate\":\"1M\",\"for_ns\":-1}", "EINVAL" },
		{ "{\"request\":\"pending\",\"goal\":\"eaten\"}", "EINVAL" },
	};
	struct fixture fixture;
	int fd;

	setup(&fixture);
	fd = connect_raw(fixture.path);
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		cleanup_json json_t *answer = NULL;

		check_int(send(fd, cases[i].line, strlen(cases[i].line), 0),
			  (ssize_t)strlen(cases[i].line));
		check_int(send(fd, "\n", 1, 0), 1);
		answer = json_loads(receive_line(fd), 0, NULL);
		check_str(json_string_or(answer, "errno", ""), cases[i].error);
		check(json_is_true(json_object_get(answer, "done")));
		check(json_int_or(answer, "code", 0) != 0);
	}
	check_int(close(fd), 0);
	teardown(&fixture);
}

TEST(a_line_too_long_ends_the_connection)
{
	cleanup_json json_t *answer = NULL;
	struct fixture fixture;
	char piece[4096];
	int fd;

	setup(&fixture);
	fd = connect_raw(fixture.path);
	memset(piece, 'a', sizeof(piece));
	for (size_t sent = 0; sent <= REQUEST_MAX_BYTES + 1; sent += sizeof(piece)) {
		if (send(fd, piece, sizeof(piece), MSG_NOSIGNAL) < 0)
			break;
	}
	answer = json_loads(receive_line(fd), 0, NULL);
	check_str(json_string_or(answer, "errno", ""), "EMSGSIZE");
	check_int(close(fd), 0);
	teardown(&fixture);
}

TEST(silent_and_half_sent_connections_do_not_keep_others_out_or_the_server_up)
{
	struct fixture fixture;
	cleanup_json json_t *answer = NULL;
	int fds[16], extra;

	setup(&fixture);
	for (size_t i = 0; i < ARRAY_SIZE(fds); i++) {
		fds[i] = connect_raw(fixture.path);
		check_int(send(fds[i], "{\"requ", 6, 0), 6);
	}
	extra = connect_raw(fixture.path);
	answer = json_loads(receive_line(extra), 0, NULL);
	check_str(json_string_or(answer, "errno", ""), "EBUSY");
	teardown(&fixture); /* must not hang */
	for (size_t i = 0; i < ARRAY_SIZE(fds); i++)
		check_int(close(fds[i]), 0);
	check_int(close(extra), 0);
}

static int count_lines(void *arg, const json_t *line)
{
	int *count = arg;

	check(json_object_get(line, "progress") != NULL);
	(*count)++;
	return 0;
}

TEST(work_tells_each_file_and_counts_failures)
{
	cleanup_with(client_close_slot) struct client *client = NULL;
	cleanup_json json_t *final = NULL;
	struct fixture fixture;
	int lines = 0;

	setup(&fixture);
	check_int(client_open(fixture.path, &client), 0);
	check_int(client_call(client,
			      json_pack("{s:s,s:s,s:s}", "request", "residency", "path", "", "verb",
					"evict"),
			      10000, count_lines, &lines, &final),
		  0);
	check_int(lines, 2);
	check_int(json_int_or(final, "files", -1), 1);
	check_int(json_int_or(final, "bytes", -1), 7);
	check_int(json_int_or(final, "failed", -1), 1);
	check_int(json_int_or(final, "code", -1), MEDIAFS_EXIT_BUSY);
	teardown(&fixture);
}

static int give_up(void *arg, const json_t *line)
{
	(void)arg;
	(void)line;
	return -EINTR;
}

TEST(work_ends_when_its_asker_goes_and_when_the_server_stops)
{
	struct client *client = NULL;
	cleanup_json json_t *final = NULL;
	struct fixture fixture;

	setup(&fixture);
	fixture.volume.residency_endless = true;
	for (int i = 0; i < 2; i++) {
		check_int(client_open(fixture.path, &client), 0);
		check_int(client_call(client,
				      json_pack("{s:s,s:s,s:s}", "request", "residency", "path", "",
						"verb", "fetch"),
				      10000, give_up, NULL, &final),
			  -EINTR);
		if (i == 0)
			client_close(client);
	}
	teardown(&fixture); /* the second still runs: must not hang */
	client_close(client);
	check_int(fixture.volume.residency_calls, 2);
}

TEST(a_limit_for_a_time_is_asked_of_the_volume_and_the_answer_says_what_rules)
{
	cleanup_json json_t *final = NULL;
	struct fixture fixture;

	setup(&fixture);
	final = ask(fixture.path, json_pack("{s:s,s:s,s:I}", "request", "limit", "rate", "1M",
					    "for_ns", (json_int_t)3600 * NS_PER_SEC));
	check_int(json_int_or(final, "code", -1), 0);
	check_str(fixture.volume.limit, "1M");
	check_int(fixture.volume.limit_for_ns, 3600 * NS_PER_SEC);
	check_str(json_string_or(final, "limit_rule", ""), "override");
	check_int(json_int_or(final, "limit", -1), 1234);
	check_int(json_int_or(final, "limit_until_ns", -1), 5678);
	teardown(&fixture);
}

TEST(metrics_are_text_of_prometheus)
{
	cleanup_json json_t *final = NULL;
	struct fixture fixture;

	setup(&fixture);
	final = ask(fixture.path, json_pack("{s:s}", "request", "metrics"));
	check(strstr(json_string_or(final, "text", ""),
		     "# TYPE mediafs_files gauge\nmediafs_files{state=\"receiving\"} 0\n") != NULL);
	check(strstr(json_string_or(final, "text", ""), "\nmediafs_mounted 1\n") != NULL);
	teardown(&fixture);
}

TEST(changes_of_settings_are_events_and_the_log_gives_them)
{
	cleanup_json json_t *set = NULL;
	cleanup_json json_t *bad = NULL;
	cleanup_with(client_close_slot) struct client *client = NULL;
	cleanup_json json_t *final = NULL;
	struct fixture fixture;

	setup(&fixture);
	set = ask(fixture.path, json_pack("{s:s,s:s,s:s}", "request", "config-set", "key",
					  "transfer.limit", "value", "9M"));
	check_int(json_int_or(set, "code", -1), 0);
	bad = ask(fixture.path, json_pack("{s:s,s:s,s:s}", "request", "config-set", "key",
					  "transfer.limit", "value", "bad"));
	check_int(json_int_or(bad, "code", -1), MEDIAFS_EXIT_CONFIG);
	check_str(json_string_or(bad, "error", ""), "bad is bad");
	check_int(client_open(fixture.path, &client), 0);
	check_int(client_call(client, json_pack("{s:s}", "request", "log"), 10000, NULL, NULL,
			      &final),
		  0);
	check_int(json_int_or(final, "next", -1), 1);
	teardown(&fixture);
}

static int keep_line(void *arg, const json_t *line)
{
	return json_array_append(arg, json_object_get(line, "known")) < 0 ? -ENOMEM : 0;
}

/* The answers for @items (reference taken). */
static json_t *ask_known(const char *store, json_t *items, int expected)
{
	cleanup_with(client_close_slot) struct client *client = NULL;
	cleanup_json json_t *final = NULL;
	json_t *lines = json_array();

	check_int(client_open(store, &client), 0);
	check_int(client_call(client, json_pack("{s:s,s:o}", "request", "known", "items", items),
			      10000, keep_line, lines, &final),
		  0);
	check_int(json_int_or(final, "code", -1), expected);
	return lines;
}

/* A verified file of 3 bytes with a copy in each of two tiers, of which one is configured. */
static void put_known(struct fixture *fixture, struct tier *tier)
{
	struct catalog *catalog = fixture->volume.catalog;
	struct node_row row = { .id = 10,
				.mode = S_IFREG | 0644,
				.size = 3,
				.generation = 1,
				.state = FILE_RECEIVING };
	struct blockmap map = { 0 };
	struct copy_row copy = { .key = (char *)"a.mov", .confirmed_ns = 5, .checked_ns = 6 };
	uint32_t id, other;

	digest_of("abc", 3, &copy.digest);
	check_int(blockmap_init(&map, 3), 0);
	map.hash[0] = block_hash("abc", 3);
	check_int(catalog_put_node(catalog, &row), 0);
	check_int(catalog_put_name(catalog, CATALOG_ROOT, "a.mov", 10), 0);
	check_int(catalog_set_received(catalog, 10, 1, 1, 1, &map, &copy.digest, 0), 0);
	check_int(catalog_set_verified(catalog, 10, 1, &copy.digest, &map, STEP_WAIT), 0);
	check_int(catalog_put_tier(catalog, tier->name, "s3://x", &id), 0);
	check_int(catalog_put_tier(catalog, "old", "/old", &other), 0);
	check_int(catalog_get_node(catalog, 10, &row), 1);
	copy.content = row.content;
	copy.tier = id;
	check_int(catalog_put_copy(catalog, &copy, STEP_WAIT), 0);
	copy.tier = other;
	check_int(catalog_put_copy(catalog, &copy, STEP_WAIT), 0);
	fixture->volume.tiers[0] = (struct transfer_tier){ id, tier };
	blockmap_fini(&map);
}

TEST(what_a_call_left_is_no_answer_to_the_next)
{
	cleanup_with(client_close_slot) struct client *client = NULL;
	cleanup_json json_t *items = json_pack("[{s:i},{s:i}]", "size", 3, "size", 4);
	cleanup_json json_t *lines = json_array(), *none = NULL, *final = NULL;
	struct fixture fixture;

	setup(&fixture);
	check_int(client_open(fixture.path, &client), 0);
	check_int(client_call(client, json_pack("{s:s,s:O}", "request", "known", "items", items),
			      10000, give_up, NULL, &none),
		  -EINTR);
	check_int(client_call(client, json_pack("{s:s,s:O}", "request", "known", "items", items),
			      10000, keep_line, lines, &final),
		  0);
	check_int(json_array_size(lines), 2);
	check_int(json_int_or(final, "code", -1), 0);
	teardown(&fixture);
}

TEST(what_is_known_of_bytes_is_told)
{
	static const struct tier_backend backend = { .scheme = "s3" };
	struct tier tier = { .backend = &backend, .name = (char *)"cloud" };
	cleanup_json json_t *lines = NULL;
	struct fixture fixture;
	char hex[DIGEST_HEX_SIZE];
	struct digest digest;
	const json_t *file, *copies, *line;

	setup(&fixture);
	put_known(&fixture, &tier);
	digest_of("abc", 3, &digest);
	digest_hex(&digest, hex);
	lines = ask_known(fixture.path,
			  json_pack("[{s:i,s:s},{s:i},{s:i,s:s},{s:s},{s:s}]", "size", 3, "digest",
				    hex, "size", 4, "size", 4, "digest", hex, "path", "a.mov",
				    "path", "b.mov"),
			  0);
	check_int(json_array_size(lines), 5);
	line = json_array_get(lines, 0);
	check(json_is_true(json_object_get(line, "size_known")));
	check_str(json_string_or(line, "digest", ""), hex);
	file = json_array_get(json_object_get(line, "files"), 0);
	check_str(json_string_or(file, "path", ""), "a.mov");
	check_str(json_string_or(file, "state", ""), "verified");
	check(json_is_true(json_object_get(file, "verified")));
	check(json_is_false(json_object_get(file, "damaged")));
	check(json_int_or(file, "verified_ns", 0) > 0);
	copies = json_object_get(line, "copies");
	check_int(json_array_size(copies), 2);
	check_str(json_string_or(json_array_get(copies, 0), "tier", ""), "cloud");
	check_str(json_string_or(json_array_get(copies, 0), "kind", ""), "s3");
	check(json_is_true(json_object_get(json_array_get(copies, 0), "offsite")));
	check_int(json_int_or(json_array_get(copies, 0), "checked_ns", 0), 6);
	check(json_is_null(json_object_get(json_array_get(copies, 1), "kind")));
	check(json_is_false(json_object_get(json_array_get(lines, 1), "size_known")));
	check(json_is_null(json_object_get(json_array_get(lines, 2), "digest")));
	check_int(json_array_size(json_object_get(json_array_get(lines, 2), "files")), 0);
	check_str(json_string_or(json_array_get(lines, 3), "digest", ""), hex);
	check_int(json_array_size(json_object_get(json_array_get(lines, 4), "files")), 0);
	teardown(&fixture);
}

TEST(a_wrong_question_about_bytes_is_refused)
{
	json_t *many = json_array();
	struct fixture fixture;

	setup(&fixture);
	for (size_t i = 0; i < 257; i++)
		check_int(json_array_append_new(many, json_pack("{s:i}", "size", 1)), 0);
	json_decref(ask_known(fixture.path, many, MEDIAFS_EXIT_CONFIG));
	json_decref(ask_known(fixture.path, json_string("x"), MEDIAFS_EXIT_CONFIG));
	json_decref(ask_known(fixture.path, json_pack("[i]", 1), MEDIAFS_EXIT_CONFIG));
	json_decref(ask_known(fixture.path, json_pack("[{s:i}]", "size", -1), MEDIAFS_EXIT_CONFIG));
	json_decref(ask_known(fixture.path, json_pack("[{s:i,s:s}]", "size", 1, "digest", "xy"),
			      MEDIAFS_EXIT_CONFIG));
	json_decref(ask_known(fixture.path, json_pack("[{s:i,s:i}]", "size", 1, "digest", 1),
			      MEDIAFS_EXIT_CONFIG));
	json_decref(
		ask_known(fixture.path, json_pack("[{s:s}]", "path", "../x"), MEDIAFS_EXIT_CONFIG));
	teardown(&fixture);
}
