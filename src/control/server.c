/* SPDX-License-Identifier: Apache-2.0 */
#include "control/control.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>

#include "control/protocol.h"
#include "control/requests.h"
#include "mediafs/exit.h"
#include "util/error.h"
#include "util/log.h"
#include "volume/limit.h"
#include "volume/manage.h"

/* A connection has a thread; a fetch may keep it for hours while others ask for status. */
#define CONNECTIONS_MAX 16
/* A peer that asks nothing, or reads nothing (`mediafs ls | less`), is dropped after this. */
#define IDLE_SECONDS 600
#define TICK_MS 1000

struct connection {
	struct control *control; /* borrowed */
	struct thread thread;
	uid_t uid; /* of the peer */

	int fd;    /* guarded by control->lock; -1: none */
	bool busy; /* likewise; the thread has not ended */
};

struct control {
	struct volume *volume; /* borrowed, outlives us */
	int run_fd, listen_fd, wake_fd;
	uid_t owner; /* of the store */
	struct thread acceptor;
	_Atomic bool stopping;

	struct mutex lock; /* rank 10; guards the connections' fd and busy */
	struct connection connections[CONNECTIONS_MAX];
};

static int send_line(void *arg, const json_t *object)
{
	struct connection *connection = arg;

	/* Only this thread closes the descriptor: it stays ours without the lock. */
	if (connection->control->stopping)
		return -ECANCELED;
	return line_send(connection->fd, object, REPLY_MAX_BYTES);
}

static int send_error(int fd, int error, const char *text)
{
	cleanup_json json_t *object =
		json_pack("{s:s,s:s,s:b,s:i}", "error", text, "errno", errno_name(error), "done", 1,
			  "code", exit_code_of(error));

	return object ? line_send(fd, object, REPLY_MAX_BYTES) : -ENOMEM;
}

static int answer(struct connection *connection, const char *line, size_t length)
{
	struct control *control = connection->control;
	const struct request_source source = {
		.volume = control->volume,
		.store = volume_store(control->volume),
		.catalog = volume_catalog(control->volume),
		.uid = connection->uid,
	};
	const struct request_sink sink = { send_line, connection };
	cleanup_json json_t *request = NULL;
	cleanup_json json_t *final = NULL;
	const char *message;
	int r;

	r = request_parse(line, length, &request, &message);
	if (r < 0)
		return send_error(connection->fd, r, message);
	r = request_run(&source, request, &sink, &final);
	if (r < 0)
		return send_error(connection->fd, r, error_text(r));
	r = send_line(connection, final);
	if (r == -EMSGSIZE)
		return send_error(connection->fd, r, "the answer is too long");
	return r;
}

/* Until the peer goes, is silent for too long, or sends what is no line. */
static void serve(struct connection *connection, struct line_reader *reader)
{
	char *line, *room = NULL;
	size_t length;
	ssize_t n;
	int r = 0;

	while (r >= 0 && !connection->control->stopping) {
		r = line_reader_next(reader, &line, &length);
		if (r == 1) {
			r = answer(connection, line, length);
			continue;
		}
		if (r == 0)
			r = line_reader_room(reader, &room, &length);
		if (r == -EMSGSIZE)
			(void)send_error(connection->fd, r, "the request is too long");
		if (r < 0)
			return;
		n = recv(connection->fd, room, length, 0);
		if (n > 0)
			line_reader_add(reader, (size_t)n);
		else if (n == 0 || errno != EINTR)
			return;
	}
}

static void *connection_body(void *arg)
{
	struct connection *connection = arg;
	struct line_reader reader;

	line_reader_init(&reader, REQUEST_MAX_BYTES);
	serve(connection, &reader);
	line_reader_fini(&reader);
	scoped_lock(&connection->control->lock);
	(void)close(connection->fd);
	connection->fd = -1;
	connection->busy = false;
	return NULL;
}

static bool peer_ok(const struct control *control, int fd, uid_t *ret_uid)
{
	struct ucred peer;
	socklen_t size = sizeof(peer);

	if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &size) < 0 || size != sizeof(peer))
		return false;
	*ret_uid = peer.uid;
	return peer.uid == 0 || peer.uid == geteuid() || peer.uid == control->owner;
}

static struct connection *take_slot(struct control *control, int fd)
{
	scoped_lock(&control->lock);
	for (size_t i = 0; i < CONNECTIONS_MAX; i++) {
		struct connection *connection = &control->connections[i];

		if (connection->busy)
			continue;
		connection->busy = true;
		connection->fd = fd;
		return connection;
	}
	return NULL;
}

static void drop_slot(struct control *control, struct connection *connection)
{
	scoped_lock(&control->lock);
	connection->busy = false;
	connection->fd = -1;
}

/* Takes @fd. */
static void start_connection(struct control *control, int fd)
{
	const struct timeval idle = { .tv_sec = IDLE_SECONDS };
	struct connection *connection;
	uid_t uid;
	int r;

	(void)setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &idle, sizeof(idle));
	(void)setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &idle, sizeof(idle));
	if (!peer_ok(control, fd, &uid)) {
		(void)send_error(fd, -EPERM, "only root and the store's owner may ask");
		(void)close(fd);
		return;
	}
	connection = take_slot(control, fd);
	if (!connection) {
		(void)send_error(fd, -EBUSY, "too many commands are running: try again");
		(void)close(fd);
		return;
	}
	connection->uid = uid;
	thread_join(&connection->thread); /* of the one before, which has ended */
	r = thread_start(&connection->thread, "control-n", connection_body, connection);
	if (r < 0) {
		(void)send_error(fd, r, error_text(r));
		drop_slot(control, connection);
		(void)close(fd);
	}
}

static void *acceptor_body(void *arg)
{
	struct control *control = arg;

	while (!control->stopping) {
		struct pollfd polled[] = {
			{ .fd = control->listen_fd, .events = POLLIN },
			{ .fd = control->wake_fd, .events = POLLIN },
		};
		int fd;

		volume_limit_tick(control->volume);
		if (poll(polled, ARRAY_SIZE(polled), TICK_MS) <= 0 || !(polled[0].revents & POLLIN))
			continue;
		fd = accept4(control->listen_fd, NULL, NULL, SOCK_CLOEXEC);
		if (fd >= 0)
			start_connection(control, fd);
		else if (errno == EMFILE || errno == ENFILE || errno == ENOMEM)
			/* The backlog stays readable: no spinning until descriptors are free. */
			(void)poll(&polled[1], 1, TICK_MS);
	}
	return NULL;
}

static int open_run(const struct store *store)
{
	int fd;

	if (mkdirat(store->root_fd, "run", 0700) < 0 && errno != EEXIST)
		return -errno;
	fd = openat(store->root_fd, "run", O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	return fd < 0 ? -errno : fd;
}

static int open_socket(struct control *control)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	if (fd < 0)
		return -errno;
	control->listen_fd = fd;
	if (unlinkat(control->run_fd, "control", 0) < 0 && errno != ENOENT)
		return -errno;
	/* The mode of the descriptor becomes that of the name, in one step (unix(7)). */
	if (fchmod(fd, 0600) < 0)
		return -errno;
	/* A store's path may be longer than what an address holds. */
	(void)snprintf(address.sun_path, sizeof(address.sun_path), "/proc/self/fd/%d/control",
		       control->run_fd);
	if (bind(fd, (const struct sockaddr *)&address, sizeof(address)) < 0)
		return -errno;
	/* A store made by root for a person is that person's: so is its socket. */
	if (control->owner != geteuid() && fchownat(control->run_fd, "control", control->owner,
						    (gid_t)-1, AT_SYMLINK_NOFOLLOW) < 0)
		return -errno;
	return listen(fd, CONNECTIONS_MAX) < 0 ? -errno : 0;
}

static int start(struct control *control)
{
	const struct store *store = volume_store(control->volume);
	struct stat st;
	int r;

	if (fstat(store->root_fd, &st) < 0)
		return -errno;
	control->owner = st.st_uid;
	control->run_fd = open_run(store);
	if (control->run_fd < 0)
		return control->run_fd;
	control->wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (control->wake_fd < 0)
		return -errno;
	r = open_socket(control);
	if (r < 0)
		return r;
	return thread_start(&control->acceptor, "control", acceptor_body, control);
}

int control_start(struct volume *volume, struct control **ret_control)
{
	struct control *control = calloc(1, sizeof(*control));
	int r;

	if (!control)
		return -ENOMEM;
	control->volume = volume;
	control->run_fd = control->listen_fd = control->wake_fd = -1;
	mutex_init(&control->lock, 10);
	for (size_t i = 0; i < CONNECTIONS_MAX; i++)
		control->connections[i] = (struct connection){ .control = control, .fd = -1 };
	r = start(control);
	if (r < 0) {
		control_stop(control);
		return r;
	}
	*ret_control = control;
	return 0;
}

/* Readers and writers of the connections get an end; their threads see it and leave. */
static void end_connections(struct control *control)
{
	scoped_lock(&control->lock);
	for (size_t i = 0; i < CONNECTIONS_MAX; i++) {
		if (control->connections[i].fd >= 0)
			(void)shutdown(control->connections[i].fd, SHUT_RDWR);
	}
}

void control_stop(struct control *control)
{
	const uint64_t one = 1;

	if (!control)
		return;
	control->stopping = true;
	if (control->wake_fd >= 0 && write(control->wake_fd, &one, sizeof(one)) < 0)
		log_debug("cannot wake the control thread, it looks by itself soon");
	thread_join(&control->acceptor);
	end_connections(control);
	for (size_t i = 0; i < CONNECTIONS_MAX; i++)
		thread_join(&control->connections[i].thread);
	if (control->listen_fd >= 0) {
		(void)unlinkat(control->run_fd, "control", 0);
		(void)close(control->listen_fd);
	}
	if (control->wake_fd >= 0)
		(void)close(control->wake_fd);
	if (control->run_fd >= 0)
		(void)close(control->run_fd);
	mutex_fini(&control->lock);
	free(control);
}
