/* SPDX-License-Identifier: Apache-2.0 */
#include "manifest/apart.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "util/io.h"

#define PIPE_BYTES (1 << 20)

int apart_send(int fd, uint32_t kind, const struct apart_piece *pieces, size_t count)
{
	struct apart_frame frame = { .kind = kind };
	int r;

	for (size_t i = 0; i < count; i++)
		frame.length += (uint32_t)pieces[i].length;
	r = write_all(fd, &frame, sizeof(frame));
	for (size_t i = 0; r == 0 && i < count; i++)
		r = write_all(fd, pieces[i].bytes, pieces[i].length);
	return r;
}

/* 1: all of it; 0: the pipe ended. */
static int receive_all(int fd, void *bytes, size_t length)
{
	char *at = bytes;

	while (length > 0) {
		ssize_t n = read(fd, at, length);

		if (n < 0 && errno != EINTR)
			return -errno;
		if (n == 0)
			return 0;
		if (n > 0) {
			at += n;
			length -= (size_t)n;
		}
	}
	return 1;
}

int apart_receive(struct apart *apart, struct apart_frame *ret_frame, char *payload,
		  size_t max_bytes)
{
	struct apart_frame frame;
	int r = receive_all(apart->fd, &frame, sizeof(frame));

	if (r > 0 && frame.length > max_bytes)
		return -EPROTO;
	if (r > 0)
		r = receive_all(apart->fd, payload, frame.length);
	if (r <= 0)
		return r;
	payload[frame.length] = '\0';
	*ret_frame = frame;
	return 1;
}

int apart_start(void (*work)(void *arg, int fd), void *arg, struct apart *ret_apart)
{
	int pipe_fds[2], error;
	pid_t pid;

	if (pipe2(pipe_fds, O_CLOEXEC) < 0)
		return -errno;
	(void)fcntl(pipe_fds[1], F_SETPIPE_SZ, PIPE_BYTES); /* only faster */
	pid = fork();
	if (pid == 0) {
		(void)prctl(PR_SET_PDEATHSIG, SIGKILL); /* the parent may have no time to say so */
		(void)signal(SIGPIPE, SIG_DFL);
		(void)signal(SIGINT, SIG_IGN); /* the parent decides */
		work(arg, pipe_fds[1]);
		_exit(0); /* not exit(): that would flush what is the parent's */
	}
	error = errno;
	(void)close(pipe_fds[1]); /* the process has it */
	if (pid < 0) {
		(void)close(pipe_fds[0]);
		return -error;
	}
	*ret_apart = (struct apart){ pid, pipe_fds[0] };
	return 0;
}

void apart_end(struct apart *apart)
{
	if (apart->fd >= 0)
		(void)close(apart->fd); /* read only */
	if (apart->pid > 0) {
		(void)kill(apart->pid, SIGKILL);
		while (waitpid(apart->pid, NULL, 0) < 0 && errno == EINTR)
			;
	}
	*apart = (struct apart){ .fd = -1 };
}
