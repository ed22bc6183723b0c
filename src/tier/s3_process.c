/* SPDX-License-Identifier: Apache-2.0 */
#include "tier/s3_process.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "util/clock.h"

#define PROCESS_NS (60 * NS_PER_SEC)
#define OUTPUT_MAX 65536

extern char **environ;

static int spawn(char *const *words, int out_fd, pid_t *ret_pid)
{
	posix_spawn_file_actions_t actions;
	posix_spawnattr_t attributes;
	sigset_t none;
	int r;

	(void)sigemptyset(&none); /* our threads block all signals */
	if (posix_spawn_file_actions_init(&actions) != 0)
		return -ENOMEM;
	if (posix_spawnattr_init(&attributes) != 0) {
		(void)posix_spawn_file_actions_destroy(&actions);
		return -ENOMEM;
	}
	r = posix_spawn_file_actions_adddup2(&actions, out_fd, STDOUT_FILENO);
	if (r == 0)
		r = posix_spawn_file_actions_addopen(&actions, STDIN_FILENO, "/dev/null", O_RDONLY,
						     0);
	if (r == 0)
		r = posix_spawnattr_setsigmask(&attributes, &none);
	if (r == 0)
		r = posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETSIGMASK);
	if (r == 0)
		r = posix_spawnp(ret_pid, words[0], &actions, &attributes, words, environ);
	(void)posix_spawnattr_destroy(&attributes);
	(void)posix_spawn_file_actions_destroy(&actions);
	return -r;
}

/* What comes out of @fd until its end, into @text. -ETIMEDOUT. */
static int read_all(int fd, char *text, size_t size, size_t *ret_length)
{
	int64_t deadline = monotonic_ns() + PROCESS_NS;
	size_t used = 0;

	for (;;) {
		struct pollfd poll_fd = { .fd = fd, .events = POLLIN };
		int64_t left = (deadline - monotonic_ns()) / NS_PER_MS;
		ssize_t n;
		int r;

		if (left <= 0)
			return -ETIMEDOUT;
		r = poll(&poll_fd, 1, (int)left);
		if (r <= 0)
			continue;
		n = read(fd, text + used, size - used);
		if (n < 0 && errno != EINTR)
			return -errno;
		if (n == 0)
			break;
		used += n > 0 ? (size_t)n : 0;
		if (used == size)
			return -EFBIG;
	}
	*ret_length = used;
	return 0;
}

int s3_run_process(const char *line, struct s3_keys *ret_keys)
{
	cleanup_close int read_fd = -1, write_fd = -1;
	cleanup_free char **words = NULL;
	cleanup_free char *text = malloc(OUTPUT_MAX);
	size_t length = 0;
	int fds[2], status = 0, r;
	pid_t pid;

	if (!text)
		return -ENOMEM;
	r = s3_split_words(line, &words);
	if (r < 0)
		return r;
	if (pipe2(fds, O_CLOEXEC) < 0)
		return -errno;
	read_fd = fds[0];
	write_fd = fds[1];
	r = spawn(words, write_fd, &pid);
	if (r < 0)
		return r == -ENOMEM ? r : -EINVAL;
	close_fd_slot(&write_fd);
	write_fd = -1;
	r = read_all(read_fd, text, OUTPUT_MAX, &length);
	if (r < 0)
		(void)kill(pid, SIGKILL);
	while (waitpid(pid, &status, 0) < 0 && errno == EINTR)
		;
	if (r == 0)
		r = WIFEXITED(status) && WEXITSTATUS(status) == 0
			    ? s3_keys_parse_json(text, length, ret_keys)
			    : -EINVAL;
	explicit_bzero(text, OUTPUT_MAX);
	return r == -ENOMEM || r == 0 ? r : -EINVAL;
}
