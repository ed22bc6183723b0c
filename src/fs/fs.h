/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * fs: a volume as a mounted file system.
 *
 * The only layer that knows FUSE. No rule of the product lives here: an operation unpacks
 * its arguments, calls one volume_*() and replies.
 */
#include "fs/options.h"

/*
 * Mount @options' store on its mount point, serve until it is unmounted or a signal (TERM,
 * INT, HUP) asks for the end, then close the volume. Unless in the foreground the caller's process
 * only waits until the mount answers. Returns an exit code of mount(8); everything that went
 * wrong was logged. No thread may have been started before.
 */
int fs_run(const struct fs_options *options);

enum fs_exit {
	FS_EXIT_OK = 0,
	FS_EXIT_USAGE = 1,   /* wrong option, or not permitted */
	FS_EXIT_SYSTEM = 2,  /* out of memory, cannot fork, ... */
	FS_EXIT_FAILED = 32, /* the mount failed */
};

/*
 * Detach what is mounted at @mountpoint (as an ordinary user by fusermount3). @lazy: even when it
 * is in use. Negative errno: -EINVAL nothing of ours is mounted there, -EBUSY.
 */
enum fs_unmount_flags { FS_UNMOUNT_LAZY = 1 << 0 };
int fs_unmount(const char *mountpoint, enum fs_unmount_flags flags);
