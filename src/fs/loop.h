/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * The session's loop: threads that receive requests and handle them. It is our own because of what
 * it receives into: the bytes of a write arrive in a piece of write-behind's (volume/file.h) and
 * are handed on instead of being copied; all else arrives where the library wants it.
 */
#include "fs/session.h"

/*
 * Returns when the file system is unmounted (0), a signal handler has ended the session (1), or a
 * negative errno. The session is mounted; fuse_set_signal_handlers() was called. Not for FUSE over
 * io_uring.
 */
int loop_run(struct fs *fs);

/*
 * The piece in which this thread has received the write that it is handling, to be given to
 * volume_write_piece(); NULL: the library has the bytes. What is left there is used again.
 */
struct piece **loop_piece(void);
