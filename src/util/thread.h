/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * Threads and ranked locks.
 *
 * Every lock has a rank from the table in HACKING.md; a thread may only take a lock
 * of a higher rank than those it holds. With assertions on, breaking the order aborts.
 */
#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

struct mutex {
	pthread_mutex_t mutex;
	int rank;
	_Atomic uintptr_t owner; /* pthread_self() of the holder, 0 when free */
};

/* Abort if memory for a lock is missing: only called while objects are made. */
void mutex_init(struct mutex *mutex, int rank);
void mutex_fini(struct mutex *mutex);
void mutex_lock(struct mutex *mutex);
void mutex_unlock(struct mutex *mutex);
void mutex_assert_held(const struct mutex *mutex);

/* Hold @mutex until the end of the scope. */
static inline void mutex_unlock_slot(struct mutex **slot)
{
	if (*slot)
		mutex_unlock(*slot);
}
static inline struct mutex *mutex_lock_ref(struct mutex *mutex)
{
	mutex_lock(mutex);
	return mutex;
}
#define SCOPED_NAME2(line) scoped_lock_##line
#define SCOPED_NAME(line) SCOPED_NAME2(line)
#define scoped_lock(mutex_ptr)                                                                     \
	struct mutex *SCOPED_NAME(__LINE__) __attribute__((cleanup(mutex_unlock_slot), unused)) =  \
		mutex_lock_ref(mutex_ptr)

struct cond {
	pthread_cond_t cond;
};

void cond_init(struct cond *cond); /* waits are measured on CLOCK_MONOTONIC */
void cond_fini(struct cond *cond);
void cond_signal(struct cond *cond);
void cond_broadcast(struct cond *cond);
void cond_wait(struct cond *cond, struct mutex *mutex);

/* Wait until signalled or until @deadline_ns (monotonic_ns() scale). True when signalled. */
bool cond_wait_until(struct cond *cond, struct mutex *mutex, int64_t deadline_ns);

struct thread {
	pthread_t id;
	bool running;
};

/*
 * Start a thread named @name (at most 15 bytes) with all signals blocked. Negative
 * errno on failure. The owner stops its body by its own means and then joins it.
 */
int thread_start(struct thread *thread, const char *name, void *(*body)(void *), void *arg);

/* Wait for the end of the thread; nothing if it was never started. */
void thread_join(struct thread *thread);
