/* SPDX-License-Identifier: Apache-2.0 */

/*
 * A monotonic clock that runs at another speed, for LD_PRELOAD. The file that MEDIAFS_CLOCK names
 * holds three doubles, mapped by all who use it: how many seconds pass in one, how many the
 * machine was asleep, which is what CLOCK_BOOTTIME alone counts, and how many the time of day is
 * ahead. All may be changed at any moment; the clock never jumps and never goes back.
 *
 * Changed are clock_gettime() of the monotonic clocks and all waits of the daemon and of libcurl:
 * condition variables (all of ours wait on the monotonic clock), poll(), ppoll().
 * Not changed: what the kernel itself times (TCP's retransmissions and user time-out), and files.
 *
 * A wait sleeps at most SLICE_NS of the real clock at once, so that a change of the speed bites.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#define SLICE_NS 50000000LL
#define NS 1000000000LL

static struct {
	atomic_flag taken;
	int64_t real_ns, shown_ns; /* the same moment on both clocks */
	double speed;              /* since then */
} now = { .taken = ATOMIC_FLAG_INIT };

static _Atomic(const double *) wanted; /* the speed; asleep; ahead */

__attribute__((constructor)) static void map_speed(void)
{
	const char *path = getenv("MEDIAFS_CLOCK");
	int fd = path ? open(path, O_RDONLY | O_CLOEXEC) : -1;
	void *page =
		fd < 0 ? MAP_FAILED : mmap(NULL, 3 * sizeof(double), PROT_READ, MAP_SHARED, fd, 0);

	if (fd >= 0)
		(void)close(fd);
	atomic_store(&wanted, page == MAP_FAILED ? NULL : page);
}

static int64_t ns_of(const struct timespec *ts)
{
	return (int64_t)ts->tv_sec * NS + ts->tv_nsec;
}

static struct timespec ts_of(int64_t ns)
{
	return (struct timespec){ .tv_sec = ns / NS, .tv_nsec = ns % NS };
}

static int64_t real_now_ns(void)
{
	struct timespec ts = { 0 };

	(void)syscall(SYS_clock_gettime, CLOCK_MONOTONIC, &ts);
	return ns_of(&ts);
}

/* What the clock shows; *ret_speed: how fast it runs. */
static int64_t shown_now_ns(double *ret_speed)
{
	const volatile double *speed = atomic_load(&wanted);
	int64_t real_ns, shown_ns;

	while (atomic_flag_test_and_set(&now.taken))
		;
	real_ns = real_now_ns();
	if (now.speed == 0) {
		now.real_ns = now.shown_ns = real_ns;
		now.speed = 1;
	}
	shown_ns = now.shown_ns + (int64_t)((double)(real_ns - now.real_ns) * now.speed);
	if (speed && *speed >= 1 && *speed != now.speed) {
		now.real_ns = real_ns;
		now.shown_ns = shown_ns;
		now.speed = *speed;
	}
	*ret_speed = now.speed;
	atomic_flag_clear(&now.taken);
	return shown_ns;
}

/* Of the second or third number. */
static int64_t wanted_ns(int index)
{
	const volatile double *numbers = atomic_load(&wanted);

	return numbers ? (int64_t)(numbers[index] * (double)NS) : 0;
}

int clock_gettime(clockid_t id, struct timespec *ts)
{
	double speed;

	if (id != CLOCK_MONOTONIC && id != CLOCK_MONOTONIC_RAW && id != CLOCK_MONOTONIC_COARSE &&
	    id != CLOCK_BOOTTIME) {
		int r = (int)syscall(SYS_clock_gettime, id, ts);

		if (r == 0 && (id == CLOCK_REALTIME || id == CLOCK_REALTIME_COARSE))
			*ts = ts_of(ns_of(ts) + wanted_ns(2));
		return r;
	}
	*ts = ts_of(shown_now_ns(&speed) + (id == CLOCK_BOOTTIME ? wanted_ns(1) : 0));
	return 0;
}

/* Real time to sleep now for @left_ns of the clock shown. */
static int64_t slice_ns(int64_t left_ns, double speed)
{
	double real = (double)left_ns / speed;

	return real < 1 ? 1 : real > SLICE_NS ? SLICE_NS : (int64_t)real;
}

int pthread_cond_timedwait(pthread_cond_t *cond, pthread_mutex_t *mutex, const struct timespec *at)
{
	static int (*real)(pthread_cond_t *, pthread_mutex_t *, clockid_t, const struct timespec *);
	struct timespec until;
	double speed;
	int64_t left_ns = ns_of(at) - shown_now_ns(&speed);
	int error;

	if (!real)
		real = (int (*)(pthread_cond_t *, pthread_mutex_t *, clockid_t,
				const struct timespec *))dlsym(RTLD_NEXT, "pthread_cond_clockwait");
	if (left_ns <= 0)
		return ETIMEDOUT;
	until = ts_of(real_now_ns() + slice_ns(left_ns, speed));
	error = real(cond, mutex, CLOCK_MONOTONIC, &until);
	/* It ended early: as if woken for nothing, which may always happen. */
	return error == ETIMEDOUT && shown_now_ns(&speed) < ns_of(at) ? 0 : error;
}

int ppoll(struct pollfd *fds, nfds_t count, const struct timespec *wait, const sigset_t *mask)
{
	double speed;
	int64_t until_ns = wait ? shown_now_ns(&speed) + ns_of(wait) : INT64_MAX;

	for (;;) {
		int64_t left_ns = wait ? until_ns - shown_now_ns(&speed) : 0;
		struct timespec slice;
		int n;

		slice = ts_of(!wait ? SLICE_NS : left_ns <= 0 ? 0 : slice_ns(left_ns, speed));
		n = (int)syscall(SYS_ppoll, fds, count, &slice, mask, sizeof(long));
		if (n != 0 || (wait && left_ns <= 0))
			return n;
	}
}

int poll(struct pollfd *fds, nfds_t count, int wait_ms)
{
	struct timespec wait = ts_of(wait_ms < 0 ? 0 : wait_ms * (NS / 1000));

	return ppoll(fds, count, wait_ms < 0 ? NULL : &wait, NULL);
}

/* Built with fortified headers, others call these. */
int __poll_chk(struct pollfd *fds, nfds_t count, int wait_ms, size_t size)
{
	(void)size;
	return poll(fds, count, wait_ms);
}

int __ppoll_chk(struct pollfd *fds, nfds_t count, const struct timespec *wait, const sigset_t *mask,
		size_t size)
{
	(void)size;
	return ppoll(fds, count, wait, mask);
}
