/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * Apart: a process of its own that looks at what comes from outside, in a sandbox
 * (util/sandbox.h), and tells what it finds in frames, through a pipe. Both ends are one program,
 * so the fields of frames are as the compiler lays them out; who receives checks every one, since
 * the process may have been taken over.
 */
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

/* xz takes up to 1 GiB for what it unpacks (libarchive's limit), zstd less. */
#define APART_MEMORY_BYTES ((uint64_t)2 << 30)

struct apart {
	pid_t pid; /* 0: none */
	int fd;    /* owned: to read from; -1: none */
};

struct apart_piece {
	const void *bytes;
	size_t length;
};

struct apart_frame {
	uint32_t kind, length; /* of the payload */
};

/*
 * Run @work in a new process. Before sandbox_enter() it may open what libraries want; @fd is for
 * apart_send(). When it returns, the process ends. Forks: no other thread may run. Negative errno.
 */
int apart_start(void (*work)(void *arg, int fd), void *arg, struct apart *ret_apart);

/* Ends the process, also one that was never started (zeros but fd -1). */
void apart_end(struct apart *apart);

/* One frame with @pieces, one behind the other, as its payload. Negative errno. */
int apart_send(int fd, uint32_t kind, const struct apart_piece *pieces, size_t count);

/*
 * 1 and the next frame, its payload and a NUL at @payload (room for @max_bytes and that NUL); 0:
 * the process is gone; -EPROTO: a longer one; other errno.
 */
int apart_receive(struct apart *apart, struct apart_frame *ret_frame, char *payload,
		  size_t max_bytes);
