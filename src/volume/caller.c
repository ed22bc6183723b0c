/* SPDX-License-Identifier: Apache-2.0 */
#include "volume/caller.h"

#include <errno.h>
#include <grp.h>
#include <linux/capability.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/fsuid.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "util/cleanup.h"

/* Linux allows 65 536; more than fit here are not looked at (they only decide set-gid). */
#define GROUPS_MAX 1024

/* Rights that setfsuid() takes and the caller's own check in the kernel has settled already. */
#define CAPS_KEPT ((1u << CAP_DAC_OVERRIDE) | (1u << CAP_DAC_READ_SEARCH) | (1u << CAP_MKNOD))

static _Thread_local bool own_umask; /* this thread's umask is its own */

/* The umask belongs to the process unless the thread is told otherwise. */
static int private_umask(void)
{
	if (own_umask)
		return 0;
	if (unshare(CLONE_FS) < 0)
		return -errno;
	own_umask = true;
	return 0;
}

/* The "Groups:" line of /proc/PID/status; -1 when it cannot be read (the caller has gone). */
static int read_groups(pid_t pid, gid_t *ret_groups, int max)
{
	cleanup_fclose FILE *status = NULL;
	cleanup_free char *line = NULL;
	size_t size = 0;
	char path[40];
	int count = 0;

	if (pid <= 0)
		return -1;
	(void)snprintf(path, sizeof(path), "/proc/%d/status", (int)pid);
	status = fopen(path, "re");
	if (!status)
		return -1;
	while (getline(&line, &size, status) > 0) {
		char *at = line + strlen("Groups:"), *end;

		if (strncmp(line, "Groups:", strlen("Groups:")) != 0)
			continue;
		for (; count < max; at = end) {
			unsigned long gid = strtoul(at, &end, 10);

			if (end == at)
				break;
			ret_groups[count++] = (gid_t)gid;
		}
		return count;
	}
	return -1;
}

bool caller_in_group(const struct caller *caller, gid_t gid)
{
	gid_t groups[GROUPS_MAX];
	int count;

	if (caller->gid == gid)
		return true;
	count = read_groups(caller->pid, groups, GROUPS_MAX);
	for (int i = 0; i < count; i++)
		if (groups[i] == gid)
			return true;
	return false;
}

/* glibc's setgroups() changes all threads; the system call only this one. */
static int set_thread_groups(const struct caller *caller)
{
	gid_t groups[GROUPS_MAX];
	int count = read_groups(caller->pid, groups, GROUPS_MAX);

	if (syscall(SYS_setgroups, count > 0 ? count : 0, groups) < 0)
		return -errno;
	return 0;
}

/* setfsuid() away from 0 takes the file rights out of the effective set: give back CAPS_KEPT. */
static int keep_caps(void)
{
	struct __user_cap_header_struct header = { .version = _LINUX_CAPABILITY_VERSION_3 };
	struct __user_cap_data_struct data[2];

	if (syscall(SYS_capget, &header, data) < 0)
		return -errno;
	data[0].effective |= CAPS_KEPT & data[0].permitted;
	if (syscall(SYS_capset, &header, data) < 0)
		return -errno;
	return 0;
}

/* Back to root: setfsuid(0) returns the file rights. */
static void restore_identity(bool grouped)
{
	(void)setfsuid(0);
	(void)setfsgid(0);
	if (grouped)
		(void)syscall(SYS_setgroups, 0, NULL);
}

static int switch_identity(const struct caller *caller, mode_t mode, bool *ret_grouped)
{
	int r;

	*ret_grouped = false;
	/* Groups only decide whether set-gid may stay on what is made in a set-gid folder. */
	if ((mode & S_ISGID) && caller->uid != 0) {
		r = set_thread_groups(caller);
		if (r < 0)
			return r;
		*ret_grouped = true;
	}
	(void)setfsgid(caller->gid);
	(void)setfsuid(caller->uid);
	/* setfsuid() tells failure only by not having happened. */
	if ((uid_t)setfsuid(caller->uid) != caller->uid ||
	    (gid_t)setfsgid(caller->gid) != caller->gid) {
		restore_identity(*ret_grouped);
		return -EPERM;
	}
	r = caller->uid != 0 ? keep_caps() : 0;
	if (r < 0)
		restore_identity(*ret_grouped);
	return r;
}

int caller_enter(const struct caller *caller, mode_t mode, struct caller_scope *ret_scope)
{
	int r;

	r = private_umask();
	if (r < 0)
		return r;
	ret_scope->switched = false;
	ret_scope->grouped = false;
	if (geteuid() == 0 && (caller->uid != 0 || caller->gid != 0)) {
		r = switch_identity(caller, mode, &ret_scope->grouped);
		if (r < 0)
			return r;
		ret_scope->switched = true;
	}
	ret_scope->umask = umask(caller->umask);
	return 0;
}

void caller_leave(const struct caller_scope *scope)
{
	int saved = errno;

	(void)umask(scope->umask);
	if (scope->switched)
		restore_identity(scope->grouped);
	errno = saved;
}

int caller_drop_setid(const struct caller *caller, int fd)
{
	struct stat st;
	char path[32];
	mode_t drop;

	if (caller->uid == 0)
		return 0;
	if (fstat(fd, &st) < 0)
		return -errno;
	drop = st.st_mode & S_ISUID;
	/* Set-gid without group execution goes only when a stranger to the group writes, as Linux
	 * has it since 6.2. Source: setattr_should_drop_sgid() in fs/attr.c. */
	if ((st.st_mode & S_ISGID) &&
	    ((st.st_mode & S_IXGRP) || !caller_in_group(caller, st.st_gid)))
		drop |= S_ISGID;
	if (!S_ISREG(st.st_mode) || drop == 0)
		return 0;
	/* Not fchmod(): it refuses O_PATH descriptors. */
	(void)snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	return chmod(path, (st.st_mode & 07777) & ~drop) < 0 ? -errno : 1;
}
