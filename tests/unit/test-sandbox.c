/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <unistd.h>

#include "test.h"
#include "util/sandbox.h"

/* The libraries of this program take a few MiB of it. */
#define MEMORY_BYTES ((uint64_t)256 << 20)
#define CPU_SECONDS 1u

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define LIMITS_MEMORY false /* address space is not limited there */
#else
#define LIMITS_MEMORY true
#endif

/* How @act's process ended, as waitpid() tells it. *ret_usage: what it used. */
static int inside(int (*act)(void), struct rusage *ret_usage)
{
	int fds[2], status = 0;
	pid_t pid;

	check_int(pipe(fds), 0);
	pid = fork();
	if (pid == 0)
		_exit(sandbox_enter(fds[0], fds[1], CPU_SECONDS, MEMORY_BYTES) == 0 ? act() : 99);
	check(pid > 0);
	check_int(wait4(pid, &status, 0, ret_usage), pid);
	check_int(close(fds[0]) + close(fds[1]), 0);
	return status;
}

static int work_for_ever(void)
{
	volatile bool on = true;

	while (on)
		;
	return 0;
}

TEST(who_computes_for_too_long_is_ended)
{
	struct rusage usage;
	int status = inside(work_for_ever, &usage);
	int64_t used_ms = (usage.ru_utime.tv_sec + usage.ru_stime.tv_sec) * 1000 +
			  (usage.ru_utime.tv_usec + usage.ru_stime.tv_usec) / 1000;

	check(WIFSIGNALED(status));
	check(WTERMSIG(status) == SIGKILL || WTERMSIG(status) == SIGXCPU);
	/* CPU time, so no load makes it more. */
	check(used_ms > 500 && used_ms < 3000);
}

/* malloc() would be left out: what it gives is never used. */
static bool can_have(size_t bytes)
{
	char *volatile piece = malloc(bytes);
	bool has = piece != NULL;

	free(piece);
	return has;
}

static int take_memory(void)
{
	bool little = can_have(MEMORY_BYTES / 4), much = can_have(MEMORY_BYTES);

	return little && much != LIMITS_MEMORY ? 0 : 1;
}

TEST(no_more_memory_than_was_given)
{
	struct rusage usage;

	check_int(inside(take_memory, &usage), 0);
}

static int raise_limits(void)
{
	const struct rlimit all = { RLIM_INFINITY, RLIM_INFINITY };

	if (setrlimit(RLIMIT_AS, &all) == 0 || errno != EPERM)
		return 1;
	return setrlimit(RLIMIT_CPU, &all) == 0 || errno != EPERM ? 2 : 0;
}

TEST(limits_cannot_be_raised_from_inside)
{
	struct rusage usage;

	check_int(inside(raise_limits, &usage), 0);
}
