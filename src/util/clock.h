/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* Time is int64_t nanoseconds everywhere. */
#include <stdint.h>
#include <time.h>

#define NS_PER_SEC 1000000000LL
#define NS_PER_MS 1000000LL

/* Since boot, never jumps: for waits and rates. */
static inline int64_t monotonic_ns(void)
{
	struct timespec ts;

	(void)clock_gettime(CLOCK_MONOTONIC, &ts);
	return (int64_t)ts.tv_sec * NS_PER_SEC + ts.tv_nsec;
}

/* Since boot, time asleep included, never jumps: for promises that others rely on. */
static inline int64_t boot_ns(void)
{
	struct timespec ts;

	(void)clock_gettime(CLOCK_BOOTTIME, &ts);
	return (int64_t)ts.tv_sec * NS_PER_SEC + ts.tv_nsec;
}

/* Since 1970: for records and people. */
static inline int64_t realtime_ns(void)
{
	struct timespec ts;

	(void)clock_gettime(CLOCK_REALTIME, &ts);
	return (int64_t)ts.tv_sec * NS_PER_SEC + ts.tv_nsec;
}

static inline int64_t timespec_ns(struct timespec ts)
{
	return (int64_t)ts.tv_sec * NS_PER_SEC + ts.tv_nsec;
}

/* Right for times before 1970 too: tv_nsec is never negative. */
static inline struct timespec ns_timespec(int64_t ns)
{
	struct timespec ts = { .tv_sec = ns / NS_PER_SEC, .tv_nsec = ns % NS_PER_SEC };

	if (ts.tv_nsec < 0) {
		ts.tv_nsec += NS_PER_SEC;
		ts.tv_sec--;
	}
	return ts;
}
