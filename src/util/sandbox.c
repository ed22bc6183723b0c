/* SPDX-License-Identifier: Apache-2.0 */
#include "util/sandbox.h"

#include <errno.h>
#include <fcntl.h>
#include <seccomp.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/time.h>
#include <unistd.h>

#include "util/cleanup.h"

/* Sanitizers reserve terabytes of address space. */
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define LIMITS_MEMORY 0
#elif defined(__has_feature)
#define LIMITS_MEMORY !(__has_feature(address_sanitizer) || __has_feature(thread_sanitizer))
#else
#define LIMITS_MEMORY 1
#endif

static int set_limits(unsigned cpu_seconds, uint64_t memory_bytes)
{
	const struct {
		__rlimit_resource_t resource;
		rlim_t most;
	} limits[] = {
		{ RLIMIT_CORE, 0 },
		{ RLIMIT_FSIZE, 0 },
		{ RLIMIT_NOFILE, 0 }, /* what is open stays */
		{ RLIMIT_CPU, cpu_seconds == SANDBOX_ANY_TIME ? RLIM_INFINITY : cpu_seconds },
		{ RLIMIT_AS, LIMITS_MEMORY ? memory_bytes : RLIM_INFINITY },
	};

	for (size_t i = 0; i < ARRAY_SIZE(limits); i++) {
		struct rlimit limit;

		if (getrlimit(limits[i].resource, &limit) < 0)
			return -errno;
		/* Never more than we were given. */
		if (limits[i].most < limit.rlim_max)
			limit.rlim_max = limits[i].most;
		limit.rlim_cur = limit.rlim_max;
		if (setrlimit(limits[i].resource, &limit) < 0)
			return -errno;
	}
	return 0;
}

static int close_others(int read_fd, int write_fd)
{
	unsigned low = (unsigned)(read_fd < write_fd ? read_fd : write_fd);
	unsigned high = (unsigned)(read_fd < write_fd ? write_fd : read_fd);

	if ((low > 0 && close_range(0, low - 1, 0) < 0) ||
	    (high > low + 1 && close_range(low + 1, high - 1, 0) < 0) ||
	    close_range(high + 1, ~0u, 0) < 0)
		return -errno;
	return 0;
}

/* What else is asked for is answered with EPERM: libraries then do without. */
static int allow_calls(scmp_filter_ctx filter)
{
	static const int calls[] = {
		SCMP_SYS(read),         SCMP_SYS(pread64),
		SCMP_SYS(lseek),        SCMP_SYS(write),
		SCMP_SYS(close),        SCMP_SYS(brk),
		SCMP_SYS(munmap),       SCMP_SYS(mremap),
		SCMP_SYS(madvise),      SCMP_SYS(futex),
		SCMP_SYS(getrandom),    SCMP_SYS(clock_gettime),
		SCMP_SYS(gettimeofday), SCMP_SYS(sched_getaffinity),
		SCMP_SYS(sched_yield),  SCMP_SYS(rt_sigprocmask),
		SCMP_SYS(rt_sigaction), SCMP_SYS(rt_sigreturn),
		SCMP_SYS(sigaltstack),  SCMP_SYS(exit),
		SCMP_SYS(exit_group),   SCMP_SYS(fstat),
	};
	static const int mapping[] = { SCMP_SYS(mmap), SCMP_SYS(mprotect) };
	int r = 0;

	for (size_t i = 0; r == 0 && i < ARRAY_SIZE(calls); i++)
		r = seccomp_rule_add(filter, SCMP_ACT_ALLOW, calls[i], 0);
	/* What glibc makes of fstat(). */
	if (r == 0)
		r = seccomp_rule_add(filter, SCMP_ACT_ALLOW, SCMP_SYS(newfstatat), 1,
				     SCMP_A3(SCMP_CMP_EQ, AT_EMPTY_PATH, 0));
	/* Memory, but none that can be run. */
	for (size_t i = 0; r == 0 && i < ARRAY_SIZE(mapping); i++)
		r = seccomp_rule_add(filter, SCMP_ACT_ALLOW, mapping[i], 1,
				     SCMP_A2(SCMP_CMP_MASKED_EQ, PROT_EXEC, 0));
	return r;
}

/* libseccomp (2.5.4) goes round for ever when it finds no memory while it writes the filter. */
#define LOAD_CPU_SECONDS 2

static int load(scmp_filter_ctx filter)
{
	const struct itimerval most = { .it_value.tv_sec = LOAD_CPU_SECONDS };
	int r;

	(void)signal(SIGPROF, SIG_DFL);
	if (setitimer(ITIMER_PROF, &most, NULL) < 0)
		return -errno;
	r = seccomp_load(filter);       /* sets no_new_privs before */
	(void)signal(SIGPROF, SIG_IGN); /* the timer itself can no longer be stopped */
	return r;
}

int sandbox_enter(int read_fd, int write_fd, unsigned cpu_seconds, uint64_t memory_bytes)
{
	scmp_filter_ctx filter;
	int r = close_others(read_fd, write_fd);

	if (r == 0)
		r = set_limits(cpu_seconds, memory_bytes);
	if (r < 0)
		return r;
	if (prctl(PR_SET_DUMPABLE, 0) < 0)
		return -errno;
	filter = seccomp_init(SCMP_ACT_ERRNO(EPERM));
	if (!filter)
		return -ENOMEM;
	r = allow_calls(filter);
	if (r == 0)
		r = load(filter);
	seccomp_release(filter);
	return r;
}
