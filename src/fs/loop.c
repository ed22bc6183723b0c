/* SPDX-License-Identifier: Apache-2.0 */
#include "fs/loop.h"

#include <errno.h>
#include <linux/fuse.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/uio.h>
#include <unistd.h>

#include "util/cleanup.h"
#include "util/log.h"

/* Requests that wait on the disk or for a read-back hold a worker each. */
#define WORKERS_MAX 32

/* That wait for a request at one time; others sleep. The kernel wakes them in turns, so each one
 * more takes the memory it receives into further out of the cache. */
#define RECEIVERS_MAX 4

/* What comes before the bytes of a write. */
#define HEADER_BYTES (sizeof(struct fuse_in_header) + sizeof(struct fuse_write_in))

/* The longest request: no more is received than this, whatever the kernel would send. */
#define REQUEST_BYTES (HEADER_BYTES + WRITE_MAX_BYTES)

struct worker {
	struct loop *loop;
	struct thread thread;
	char *request;       /* owned; REQUEST_BYTES, of a write only the header */
	struct piece *piece; /* owned; NULL: none to spare, or asleep */
	bool has_write;      /* the bytes of the request being handled are in @piece */
};

struct loop {
	/* Constant. */
	struct fs *fs;
	int ended_fd; /* owned; readable once a worker has seen the end */

	struct mutex lock; /* rank 43; guards the rest */
	struct cond wake;  /* too few receive, or the end */
	struct worker workers[WORKERS_MAX];
	unsigned count;     /* started */
	unsigned receiving; /* wait for a request */
	unsigned asleep;
	bool ending;
	int error;
};

/* The worker that this thread is. */
static _Thread_local struct worker *self;

struct piece **loop_piece(void)
{
	return self && self->has_write ? &self->piece : NULL;
}

/* Receiving ----------------------------------------------------------------------------- */

/* With a piece when there is one to spare. As read(2). */
static ssize_t receive_into(struct worker *worker, int fd)
{
	struct iovec parts[2] = {
		{ .iov_base = worker->request, .iov_len = HEADER_BYTES },
		{ .iov_base = worker->request + HEADER_BYTES, .iov_len = WRITE_MAX_BYTES },
	};
	ssize_t n;

	if (worker->piece)
		parts[1].iov_base = piece_bytes(worker->piece);
	/* The end of the loop cancels who waits here, and nowhere else. */
	(void)pthread_setcancelstate(PTHREAD_CANCEL_ENABLE, NULL);
	n = readv(fd, parts, 2);
	(void)pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, NULL);
	return n;
}

/* The length of a request, 0 at the end of the session, or a negative errno. */
static ssize_t receive(struct worker *worker)
{
	const struct fuse_in_header *header = (const void *)worker->request;
	struct fs *fs = worker->loop->fs;
	ssize_t n;

	worker->has_write = false;
	if (!worker->piece)
		worker->piece = volume_take_piece(fs->volume);
	do {
		if (fuse_session_exited(fs->session))
			return 0;
		n = receive_into(worker, fuse_session_fd(fs->session));
		/* ENOENT: the request was interrupted before we had it. */
	} while (n < 0 && (errno == EINTR || errno == EAGAIN || errno == ENOENT));
	if (n < 0)
		return errno == ENODEV ? 0 : -errno; /* ENODEV: unmounted */
	if (!worker->piece || n <= (ssize_t)HEADER_BYTES)
		return n;
	if (header->opcode == FUSE_WRITE)
		worker->has_write = true;
	else
		memcpy(worker->request + HEADER_BYTES, piece_bytes(worker->piece),
		       (size_t)n - HEADER_BYTES);
	return n;
}

static void handle(struct worker *worker, size_t length)
{
	struct fuse_buf request = { .mem = worker->request, .size = length };

	fuse_session_process_buf(worker->loop->fs->session, &request);
}

/* Workers ------------------------------------------------------------------------------- */

static void give_back(struct worker *worker)
{
	if (worker->piece)
		volume_give_piece(worker->loop->fs->volume, take_ptr(worker->piece));
}

/* True: receive. False: it is over. */
static bool await_turn(struct worker *worker)
{
	struct loop *loop = worker->loop;
	bool goes_on;

	mutex_lock(&loop->lock);
	if (!loop->ending && loop->receiving >= RECEIVERS_MAX) {
		mutex_unlock(&loop->lock);
		give_back(worker);
		mutex_lock(&loop->lock);
	}
	while (!loop->ending && loop->receiving >= RECEIVERS_MAX) {
		loop->asleep++;
		cond_wait(&loop->wake, &loop->lock);
		loop->asleep--;
	}
	goes_on = !loop->ending;
	loop->receiving++;
	mutex_unlock(&loop->lock);
	return goes_on;
}

static int start_worker_locked(struct loop *loop);

/* A request is there: somebody else waits for the next one. */
static void received(struct loop *loop)
{
	scoped_lock(&loop->lock);
	if (--loop->receiving > 0 || loop->ending)
		return;
	if (loop->asleep > 0)
		cond_signal(&loop->wake);
	else if (loop->count < WORKERS_MAX)
		(void)start_worker_locked(loop); /* or this one takes it when it is done */
}

static void end(struct loop *loop, int error)
{
	const uint64_t one = 1;

	mutex_lock(&loop->lock);
	if (loop->error == 0)
		loop->error = error;
	mutex_unlock(&loop->lock);
	if (write(loop->ended_fd, &one, sizeof(one)) < 0)
		log_debug("the loop's end was told before");
}

static void cancelled(void *arg)
{
	struct worker *worker = arg;

	give_back(worker);
}

static void *worker_main(void *arg)
{
	struct worker *worker = arg;
	struct loop *loop = worker->loop;
	ssize_t n;

	self = worker;
	(void)pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, NULL);
	pthread_cleanup_push(cancelled, worker);
	while (await_turn(worker)) {
		n = receive(worker);
		if (n <= 0) {
			end(loop, (int)n);
			break;
		}
		received(loop);
		handle(worker, (size_t)n);
		if (!loop->fs->greeted) {
			/* The kernel does not ask again: every call would fail, for ever. */
			log_error("the kernel's first request could not be answered");
			end(loop, -EIO);
			break;
		}
	}
	pthread_cleanup_pop(1);
	return NULL;
}

static int start_worker_locked(struct loop *loop)
{
	struct worker *worker = &loop->workers[loop->count];
	int r;

	worker->loop = loop;
	/* Only what is used of it takes memory. */
	worker->request = malloc(REQUEST_BYTES);
	if (!worker->request)
		return -ENOMEM;
	r = thread_start(&worker->thread, "fuse", worker_main, worker);
	if (r < 0) {
		free(take_ptr(worker->request));
		return r;
	}
	loop->count++;
	return 0;
}

/* The whole ----------------------------------------------------------------------------- */

/* Until a worker or a signal says that it is over. The handlers run only here: none is missed. */
static void wait_for_end(struct loop *loop)
{
	struct pollfd ended = { .fd = loop->ended_fd, .events = POLLIN };
	sigset_t signals, before;

	(void)sigemptyset(&signals);
	(void)sigaddset(&signals, SIGHUP);
	(void)sigaddset(&signals, SIGINT);
	(void)sigaddset(&signals, SIGTERM);
	(void)pthread_sigmask(SIG_BLOCK, &signals, &before);
	while (!fuse_session_exited(loop->fs->session) && ended.revents == 0)
		if (ppoll(&ended, 1, NULL, &before) < 0)
			ended.revents = 0;
	(void)pthread_sigmask(SIG_SETMASK, &before, NULL);
}

static void stop_workers(struct loop *loop)
{
	mutex_lock(&loop->lock);
	loop->ending = true; /* no worker is started any more */
	cond_broadcast(&loop->wake);
	mutex_unlock(&loop->lock);
	for (unsigned i = 0; i < loop->count; i++)
		(void)pthread_cancel(loop->workers[i].thread.id);
	for (unsigned i = 0; i < loop->count; i++) {
		thread_join(&loop->workers[i].thread);
		free(loop->workers[i].request);
	}
}

int loop_run(struct fs *fs)
{
	struct loop *loop = calloc(1, sizeof(*loop));
	int r;

	if (!loop)
		return -ENOMEM;
	loop->fs = fs;
	loop->ended_fd = eventfd(0, EFD_CLOEXEC);
	if (loop->ended_fd < 0) {
		r = -errno;
		free(loop);
		return r;
	}
	mutex_init(&loop->lock, 43);
	cond_init(&loop->wake);
	mutex_lock(&loop->lock);
	r = start_worker_locked(loop);
	mutex_unlock(&loop->lock);
	if (r == 0) {
		wait_for_end(loop);
		r = fuse_session_exited(fs->session) ? 1 : 0;
	}
	stop_workers(loop);
	if (loop->error < 0)
		r = loop->error;
	cond_fini(&loop->wake);
	mutex_fini(&loop->lock);
	(void)close(loop->ended_fd);
	free(loop);
	return r;
}
