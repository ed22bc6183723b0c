/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * Caller: do something on the tree as the process that asked for it, so that the backing file
 * system gives the new inode its owner, group, set-gid inheritance, default ACL and umask.
 *
 * The kernel has checked permission already (default_permissions), so the rights to pass
 * folders and make devices stay; only CAP_FSETID goes with the identity. Per thread; nothing
 * is changed but the umask unless we are root.
 */
#include "volume/volume.h"

struct caller_scope {
	bool switched; /* identity */
	bool grouped;  /* supplementary groups */
	mode_t umask;  /* the thread's before */
};

/*
 * Until caller_leave() this thread acts as @caller. @mode: of the inode about to be made (its
 * set-gid bit decides whether the caller's supplementary groups must be known). Must not be
 * nested, and nothing but the one creating call belongs inside.
 */
int caller_enter(const struct caller *caller, mode_t mode, struct caller_scope *ret_scope);
void caller_leave(const struct caller_scope *scope);

/* True when @caller belongs to @gid: primary or supplementary. */
bool caller_in_group(const struct caller *caller, gid_t gid);

/*
 * What a write by somebody without CAP_FSETID does to the file @fd: set-uid goes, set-gid goes
 * where the group may execute or the writer is a stranger to it. @fd may be O_PATH. Nothing for
 * root, and nothing when neither bit is set. 1 when a bit went.
 */
int caller_drop_setid(const struct caller *caller, int fd);
