/* SPDX-License-Identifier: Apache-2.0 */
#include "control/client.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>

#include "catalog/catalog.h"
#include "control/protocol.h"
#include "control/requests.h"
#include "store/store.h"
#include "util/cleanup.h"
#include "util/interrupt.h"

struct client {
	char *path; /* owned */
	int fd;     /* -1: offline */
	struct line_reader reader;
	bool is_amid; /* lines of a call that ended early may still come */

	/* Offline. */
	struct store *store;     /* owned */
	struct catalog *catalog; /* owned; NULL with catalog_error */
	int catalog_error;
};

/* -ENOENT or -ECONNREFUSED: nobody listens. */
static int connect_to(const char *path, int *ret_fd)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	cleanup_free char *run = NULL;
	cleanup_close int run_fd = -1;
	cleanup_close int fd = -1;

	if (asprintf(&run, "%s/run", path) < 0)
		return -ENOMEM;
	run_fd = open(run, O_PATH | O_DIRECTORY | O_CLOEXEC);
	if (run_fd < 0)
		return -errno;
	/* A store's path may be longer than what an address holds. */
	(void)snprintf(address.sun_path, sizeof(address.sun_path), "/proc/self/fd/%d/control",
		       run_fd);
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (fd < 0)
		return -errno;
	if (connect(fd, (const struct sockaddr *)&address, sizeof(address)) < 0)
		return -errno;
	*ret_fd = take_fd(fd);
	return 0;
}

static int open_offline(struct client *client)
{
	cleanup_free char *file = NULL;
	int r = store_open(client->path, 0, &client->store);

	if (r < 0)
		return r;
	file = store_file(client->store, "catalog.db");
	if (!file)
		return -ENOMEM;
	client->catalog_error =
		catalog_open(file, client->store->site_uuid, CATALOG_READ_ONLY, &client->catalog);
	return 0;
}

int client_open(const char *path, struct client **ret_client)
{
	cleanup_with(client_close_slot) struct client *client = calloc(1, sizeof(*client));
	int r;

	if (!client)
		return -ENOMEM;
	client->fd = -1;
	line_reader_init(&client->reader, REPLY_MAX_BYTES);
	client->path = strdup(path);
	if (!client->path)
		return -ENOMEM;
	r = connect_to(path, &client->fd);
	if (r == -ENOENT || r == -ECONNREFUSED || r == -ENOTDIR)
		r = open_offline(client);
	if (r < 0)
		return r;
	*ret_client = take_ptr(client);
	return 0;
}

void client_close(struct client *client)
{
	if (!client)
		return;
	if (client->fd >= 0)
		(void)close(client->fd);
	line_reader_fini(&client->reader);
	catalog_close(client->catalog);
	store_close(client->store);
	free(client->path);
	free(client);
}

bool client_is_live(const struct client *client)
{
	return client->fd >= 0;
}

pid_t client_silent_daemon(const struct client *client)
{
	return client->fd >= 0 ? 0 : store_locked_by(client->path);
}

int client_go_offline(struct client *client)
{
	if (client->fd < 0)
		return 0;
	(void)close(client->fd);
	client->fd = -1;
	return open_offline(client);
}

static int receive(struct client *client, char **ret_line, size_t *ret_length)
{
	char *room;
	size_t size;
	ssize_t n;
	int r;

	for (;;) {
		r = line_reader_next(&client->reader, ret_line, ret_length);
		if (r != 0)
			return r < 0 ? -EPROTO : 0;
		r = line_reader_room(&client->reader, &room, &size);
		if (r < 0)
			return r == -EMSGSIZE ? -EPROTO : r;
		n = recv(client->fd, room, size, 0);
		if (n > 0)
			line_reader_add(&client->reader, (size_t)n);
		else if (n == 0)
			return -ECONNRESET;
		else if (errno == EAGAIN || errno == EWOULDBLOCK)
			return -ETIMEDOUT;
		else if (errno != EINTR || interrupted())
			return -errno;
	}
}

/* What still comes of the call before must not be taken for an answer to the next. */
static int connect_again(struct client *client)
{
	int fd = -1, r = connect_to(client->path, &fd);

	if (r < 0)
		return -ECONNRESET;
	(void)close(client->fd);
	client->fd = fd;
	line_reader_fini(&client->reader);
	line_reader_init(&client->reader, REPLY_MAX_BYTES);
	client->is_amid = false;
	return 0;
}

static int call_daemon(struct client *client, const json_t *request, int timeout_ms,
		       client_line_fn fn, void *arg, json_t **ret_final)
{
	const struct timeval timeout = { timeout_ms / 1000, timeout_ms % 1000 * 1000 };
	size_t length;
	char *line;
	int r = client->is_amid ? connect_again(client) : 0;

	if (r < 0)
		return r;
	if (setsockopt(client->fd, SOL_SOCKET, SO_RCVTIMEO, &timeout, sizeof(timeout)) < 0)
		return -errno;
	client->is_amid = true;
	r = line_send(client->fd, request, REQUEST_MAX_BYTES);
	/* The daemon may have said why before it closed. */
	if (r < 0 && r != -EPIPE)
		return r;
	for (;;) {
		cleanup_json json_t *object = NULL;

		r = receive(client, &line, &length);
		if (r < 0)
			return r;
		object = json_loadb(line, length, JSON_REJECT_DUPLICATES, NULL);
		if (!json_is_object(object))
			return -EPROTO;
		if (json_is_true(json_object_get(object, "done"))) {
			*ret_final = take_ptr(object);
			client->is_amid = false;
			return 0;
		}
		r = fn ? fn(arg, object) : 0;
		if (r != 0)
			return r;
	}
}

static int ignore_line(void *arg, const json_t *line)
{
	(void)arg;
	(void)line;
	return 0;
}

static int call_offline(struct client *client, const json_t *request, client_line_fn fn, void *arg,
			json_t **ret_final)
{
	const struct request_source source = {
		.store = client->store,
		.catalog = client->catalog,
		.catalog_error = client->catalog_error,
		.uid = geteuid(),
	};
	const struct request_sink sink = { fn ? fn : ignore_line, arg };

	return request_run(&source, request, &sink, ret_final);
}

int client_call(struct client *client, json_t *request, int timeout_ms, client_line_fn fn,
		void *arg, json_t **ret_final)
{
	cleanup_json json_t *owned = request;

	if (!owned)
		return -ENOMEM;
	if (client->fd < 0)
		return call_offline(client, owned, fn, arg, ret_final);
	return call_daemon(client, owned, timeout_ms, fn, arg, ret_final);
}
