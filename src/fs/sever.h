/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include "fs/session.h"

/*
 * After a signal the mount at @mountpoint is still there and nobody answers: a notice that waits
 * for a caller who waits for us would wait for ever. Cut the connection (all that waits gets an
 * error) and detach the mount. @connection as mountpoint_connection(), 0 not known. Nothing when it
 * was unmounted already, or when we may not: root may, an ordinary user where the kernel's control
 * file system is mounted.
 */
void sever(struct fs *fs, const char *mountpoint, unsigned connection);
