/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * Ahead: one read at a time in a thread of its own, so that the disk is busy while the block
 * before is hashed. Without a thread (none wanted, none to be had) reads happen in
 * ahead_begin(): slower, never different.
 */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "util/thread.h"

typedef int (*ahead_fn)(void *arg, void *buffer, uint64_t offset, size_t length);

struct ahead {
	/* Constant after ahead_init(). */
	ahead_fn fn;
	void *arg;
	struct thread thread;

	struct mutex lock; /* rank 94; guards the rest */
	struct cond changed;
	bool stopping;
	bool wanted; /* begun and not read yet */
	void *buffer;
	uint64_t offset;
	size_t length;
	int result;
};

enum ahead_flags { AHEAD_THREAD = 1 << 0 };

void ahead_init(struct ahead *ahead, ahead_fn fn, void *arg, enum ahead_flags flags);

/* Waits for a read that is under way. */
void ahead_fini(struct ahead *ahead);

/* @buffer belongs to the read until ahead_wait(). One at a time. */
void ahead_begin(struct ahead *ahead, void *buffer, uint64_t offset, size_t length);

/* What @fn returned. */
int ahead_wait(struct ahead *ahead);
