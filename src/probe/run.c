/* SPDX-License-Identifier: Apache-2.0 */
#include "probe/run.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "util/clock.h"
#include "util/error.h"
#include "util/sandbox.h"

#define CPU_SECONDS 5u
#define MEMORY_BYTES ((uint64_t)1 << 30) /* the libraries take a third */

/* How the process ended when it did not crash. */
enum { EXIT_ANSWERED = 0, EXIT_NO_SANDBOX = 70, EXIT_FAILED = 71 };

static const char *error_of_look(int error)
{
	switch (error) {
	case -ENOENT:
		return "nothing that is known";
	case -EPROTO:
		return "no media that is known, or damaged";
	case -EOPNOTSUPP:
		return "not probed: how it is made is not public";
	case -ENODATA:
		return "the part of it that tells is not here (mediafs fetch brings it)";
	case -EFBIG:
		return "too much had to be read";
	default:
		return error_text(error);
	}
}

/* Would another look at the same bytes say the same? */
static bool lasts(int error)
{
	return error == 0 || error == -ENOENT || error == -EPROTO || error == -EOPNOTSUPP ||
	       error == -EFBIG;
}

/* In the new process. */
static _Noreturn void answer(struct source *source, run_look_fn look, int fd)
{
	json_t *fields = json_object();
	char *text;
	size_t length, done = 0;
	int r;

	/* Before a byte of the file is looked at. */
	(void)prctl(PR_SET_PDEATHSIG, SIGKILL); /* nobody else would end it */
	if (sandbox_enter(source->fd, fd, CPU_SECONDS, MEMORY_BYTES) < 0)
		_exit(EXIT_NO_SANDBOX);
	r = fields ? look(source, fields) : -ENOMEM;
	if (r < 0)
		(void)json_object_set_new(fields, "error", json_string(error_of_look(r)));
	if (!lasts(r) || !source_was_whole(source))
		(void)json_object_set_new(fields, "again", json_true());
	text = json_dumps(fields, JSON_COMPACT);
	length = text ? strlen(text) : 0;
	while (done < length) {
		ssize_t n = write(fd, text + done, length - done);

		if (n < 0 && errno != EINTR)
			_exit(EXIT_FAILED);
		done += n > 0 ? (size_t)n : 0;
	}
	_exit(length ? EXIT_ANSWERED : EXIT_FAILED);
}

/* Until the other end closes. -ETIMEDOUT, -EFBIG. */
static int read_answer(int fd, char *text, size_t *ret_length, int64_t deadline_ns)
{
	size_t used = 0;

	for (;;) {
		struct pollfd poll_fd = { .fd = fd, .events = POLLIN };
		int64_t left = deadline_ns - monotonic_ns();
		ssize_t n;

		if (left <= 0)
			return -ETIMEDOUT;
		if (poll(&poll_fd, 1, (int)(left / NS_PER_MS) + 1) <= 0)
			continue;
		n = read(fd, text + used, RUN_ANSWER_MAX - used);
		if (n < 0 && errno != EINTR)
			return -errno;
		if (n == 0)
			break;
		used += n > 0 ? (size_t)n : 0;
		if (used == RUN_ANSWER_MAX)
			return -EFBIG;
	}
	*ret_length = used;
	return 0;
}

static json_t *error_json(const char *text)
{
	return json_pack("{s:s,s:b}", "error", text, "again", 1);
}

/* What came of a process that ended with @status after giving @text. NULL without memory. */
static json_t *judge(int r, int status, const char *text, size_t length)
{
	json_t *fields;

	if (r == -ETIMEDOUT || (WIFSIGNALED(status) && WTERMSIG(status) == SIGXCPU))
		return error_json("looking at it took too long");
	if (r < 0)
		return error_json("looking at it gave no sensible answer");
	if (WIFSIGNALED(status))
		return error_json("looking at it crashed");
	if (WEXITSTATUS(status) == EXIT_NO_SANDBOX)
		return error_json("not looked at: this kernel has no sandbox for it (seccomp)");
	fields = WEXITSTATUS(status) == EXIT_ANSWERED
			 ? json_loadb(text, length, JSON_REJECT_DUPLICATES, NULL)
			 : NULL;
	if (json_is_object(fields))
		return fields;
	json_decref(fields);
	return error_json("looking at it gave no sensible answer");
}

static int start(struct source *source, run_look_fn look, int *ret_fd, pid_t *ret_pid)
{
	int fds[2];
	pid_t pid = -1;

	if (pipe2(fds, O_CLOEXEC) < 0)
		return -errno;
	pid = fork();
	if (pid == 0)
		answer(source, look, fds[1]);
	(void)close(fds[1]);
	if (pid < 0) {
		(void)close(fds[0]);
		return -EAGAIN;
	}
	*ret_fd = fds[0];
	*ret_pid = pid;
	return 0;
}

int run_start(int root, const char *path, run_look_fn look, int64_t timeout_ns, struct run *ret_run)
{
	struct run run = { .fd = -1, .deadline_ns = monotonic_ns() + timeout_ns };
	struct source source;
	int r = source_open(root, path, &source);

	if (r < 0) {
		run.failed = error_json(r == -EINVAL ? "it is no regular file" : error_text(r));
		r = run.failed ? 0 : -ENOMEM;
	} else {
		r = start(&source, look, &run.fd, &run.pid);
		source_close(&source);
	}
	if (r == 0)
		*ret_run = run;
	return r;
}

int run_finish(struct run *run, json_t **ret_fields)
{
	cleanup_free char *text = run->pid ? malloc(RUN_ANSWER_MAX) : NULL;
	size_t length = 0;
	int status = 0, r;

	if (run->pid) {
		r = text ? read_answer(run->fd, text, &length, run->deadline_ns) : -ENOMEM;
		if (r < 0)
			(void)kill(run->pid, SIGKILL);
		while (waitpid(run->pid, &status, 0) < 0 && errno == EINTR)
			;
		(void)close(run->fd);
		run->failed = judge(r, status, text, length);
	}
	*ret_fields = run->failed;
	*run = (struct run){ .fd = -1 };
	return *ret_fields ? 0 : -ENOMEM;
}
