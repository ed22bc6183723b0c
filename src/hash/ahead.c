/* SPDX-License-Identifier: Apache-2.0 */
#include "hash/ahead.h"

static void *body(void *arg)
{
	struct ahead *ahead = arg;

	mutex_lock(&ahead->lock);
	for (;;) {
		int r;

		while (!ahead->wanted && !ahead->stopping)
			cond_wait(&ahead->changed, &ahead->lock);
		if (ahead->stopping)
			break;
		mutex_unlock(&ahead->lock);
		/* Nobody writes these while the read is wanted. */
		r = ahead->fn(ahead->arg, ahead->buffer, ahead->offset, ahead->length);
		mutex_lock(&ahead->lock);
		ahead->result = r;
		ahead->wanted = false;
		cond_broadcast(&ahead->changed);
	}
	mutex_unlock(&ahead->lock);
	return NULL;
}

void ahead_init(struct ahead *ahead, ahead_fn fn, void *arg, enum ahead_flags flags)
{
	*ahead = (struct ahead){ .fn = fn, .arg = arg };
	mutex_init(&ahead->lock, 94);
	cond_init(&ahead->changed);
	if (flags & AHEAD_THREAD)
		(void)thread_start(&ahead->thread, "read-ahead", body, ahead); /* or without */
}

void ahead_fini(struct ahead *ahead)
{
	mutex_lock(&ahead->lock);
	ahead->stopping = true;
	cond_broadcast(&ahead->changed);
	mutex_unlock(&ahead->lock);
	thread_join(&ahead->thread);
	cond_fini(&ahead->changed);
	mutex_fini(&ahead->lock);
}

void ahead_begin(struct ahead *ahead, void *buffer, uint64_t offset, size_t length)
{
	if (!ahead->thread.running) {
		ahead->result = ahead->fn(ahead->arg, buffer, offset, length);
		return;
	}
	scoped_lock(&ahead->lock);
	ahead->buffer = buffer;
	ahead->offset = offset;
	ahead->length = length;
	ahead->wanted = true;
	cond_broadcast(&ahead->changed);
}

int ahead_wait(struct ahead *ahead)
{
	scoped_lock(&ahead->lock);
	while (ahead->wanted)
		cond_wait(&ahead->changed, &ahead->lock);
	return ahead->result;
}
