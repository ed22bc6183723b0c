/* SPDX-License-Identifier: Apache-2.0 */
#include "util/thread.h"

#include <assert.h>
#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <time.h>

/* Ranks that this thread holds, in the order taken. */
#define MAX_HELD 16
static _Thread_local int held[MAX_HELD];
static _Thread_local int held_count;

static void push_rank(int rank)
{
	assert(held_count == 0 || held[held_count - 1] < rank);
	assert(held_count < MAX_HELD);
	held[held_count++] = rank;
}

/* Locks may be released in any order; the rest keeps rising. */
static void pop_rank(int rank)
{
	int i = held_count - 1;

	while (i >= 0 && held[i] != rank)
		i--;
	assert(i >= 0);
	for (; i + 1 < held_count; i++)
		held[i] = held[i + 1];
	held_count--;
}

static void must(int error)
{
	if (error)
		abort();
}

void mutex_init(struct mutex *mutex, int rank)
{
	must(pthread_mutex_init(&mutex->mutex, NULL));
	mutex->rank = rank;
	mutex->owner = 0;
}

void mutex_fini(struct mutex *mutex)
{
	(void)pthread_mutex_destroy(&mutex->mutex);
}

void mutex_lock(struct mutex *mutex)
{
	push_rank(mutex->rank);
	must(pthread_mutex_lock(&mutex->mutex));
	mutex->owner = (uintptr_t)pthread_self();
}

void mutex_unlock(struct mutex *mutex)
{
	/* Once it is free its owner may end it: nothing of it is touched after. */
	int rank = mutex->rank;

	mutex->owner = 0;
	must(pthread_mutex_unlock(&mutex->mutex));
	pop_rank(rank);
}

void mutex_assert_held(const struct mutex *mutex)
{
	assert(mutex->owner == (uintptr_t)pthread_self());
	(void)mutex;
}

void cond_init(struct cond *cond)
{
	pthread_condattr_t attr;

	must(pthread_condattr_init(&attr));
	must(pthread_condattr_setclock(&attr, CLOCK_MONOTONIC));
	must(pthread_cond_init(&cond->cond, &attr));
	(void)pthread_condattr_destroy(&attr);
}

void cond_fini(struct cond *cond)
{
	(void)pthread_cond_destroy(&cond->cond);
}

void cond_signal(struct cond *cond)
{
	must(pthread_cond_signal(&cond->cond));
}

void cond_broadcast(struct cond *cond)
{
	must(pthread_cond_broadcast(&cond->cond));
}

void cond_wait(struct cond *cond, struct mutex *mutex)
{
	mutex_assert_held(mutex);
	mutex->owner = 0;
	must(pthread_cond_wait(&cond->cond, &mutex->mutex));
	mutex->owner = (uintptr_t)pthread_self();
}

bool cond_wait_until(struct cond *cond, struct mutex *mutex, int64_t deadline_ns)
{
	struct timespec at = {
		.tv_sec = deadline_ns / 1000000000,
		.tv_nsec = deadline_ns % 1000000000,
	};
	int error;

	mutex_assert_held(mutex);
	mutex->owner = 0;
	error = pthread_cond_timedwait(&cond->cond, &mutex->mutex, &at);
	mutex->owner = (uintptr_t)pthread_self();
	if (error == ETIMEDOUT)
		return false;
	must(error);
	return true;
}

int thread_start(struct thread *thread, const char *name, void *(*body)(void *), void *arg)
{
	sigset_t all, old;
	int error;

	(void)sigfillset(&all);
	must(pthread_sigmask(SIG_SETMASK, &all, &old));
	error = pthread_create(&thread->id, NULL, body, arg);
	must(pthread_sigmask(SIG_SETMASK, &old, NULL));
	if (error)
		return -error;
	(void)pthread_setname_np(thread->id, name);
	thread->running = true;
	return 0;
}

void thread_join(struct thread *thread)
{
	if (!thread->running)
		return;
	must(pthread_join(thread->id, NULL));
	thread->running = false;
}
