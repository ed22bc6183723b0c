/* SPDX-License-Identifier: Apache-2.0 */
#include "fs/mountpoint.h"

#include <dirent.h>
#include <errno.h>
#include <limits.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/wait.h>
#include <unistd.h>

#include "fs/fs.h"
#include "store/store.h"
#include "util/cleanup.h"
#include "util/error.h"
#include "util/log.h"
#include "util/mountinfo.h"

extern char **environ;

bool mountpoint_is_ours(const char *type, const char *source)
{
	if (strcmp(type, "fuse.mediafs") == 0 || strcmp(type, "mediafs") == 0)
		return true;
	/* subtype=WORD: our daemon gives the store as source, and no one else's does. */
	return strncmp(type, "fuse.", 5) == 0 && *source == '/' && store_is_at(source);
}

/* The topmost mount on @path: 1 and its type (caller frees) and whether it is ours, 0 none. */
static int look_at_mount(const char *path, char **ret_type, bool *ret_ours)
{
	cleanup_fclose FILE *file = fopen("/proc/self/mountinfo", "re");
	cleanup_free char *line = NULL, *found = NULL;
	bool ours = false;
	struct mountinfo mount;
	size_t size = 0;

	if (!file)
		return -errno;
	while (getline(&line, &size, file) > 0) {
		if (!mountinfo_parse(line, &mount) || strcmp(mount.point, path) != 0)
			continue;
		/* Later lines lie on top. */
		free(found);
		found = strdup(mount.type);
		if (!found)
			return -ENOMEM;
		ours = mountpoint_is_ours(mount.type, mount.source);
	}
	if (!found)
		return 0;
	*ret_type = take_ptr(found);
	*ret_ours = ours;
	return 1;
}

int mountpoint_type(const char *path, char **ret_type)
{
	bool ours;

	return look_at_mount(path, ret_type, &ours);
}

int mountpoint_of_source(const char *source)
{
	cleanup_fclose FILE *file = fopen("/proc/self/mountinfo", "re");
	cleanup_free char *line = NULL;
	struct mountinfo mount;
	size_t size = 0;

	if (!file)
		return -errno;
	while (getline(&line, &size, file) > 0)
		if (mountinfo_parse(line, &mount) && mountpoint_is_ours(mount.type, mount.source) &&
		    strcmp(mount.source, source) == 0)
			return 1;
	return 0;
}

int mountpoint_connection(const char *path, unsigned *ret_connection)
{
	cleanup_fclose FILE *file = fopen("/proc/self/mountinfo", "re");
	cleanup_free char *line = NULL;
	struct mountinfo mount;
	size_t size = 0;
	int found = 0;

	if (!file)
		return -errno;
	while (getline(&line, &size, file) > 0)
		if (mountinfo_parse(line, &mount) && strcmp(mount.point, path) == 0)
			found = mountpoint_is_ours(mount.type, mount.source) &&
				sscanf(mount.device, "0:%u", ret_connection) == 1;
	return found;
}

/* realpath() without touching the last part: that may be a mount whose daemon is dead. */
static char *absolute_path(const char *path)
{
	cleanup_free char *copy = strdup(path), *parent = NULL;
	char *slash, *name, *result = NULL;

	if (!copy)
		return NULL;
	for (size_t n = strlen(copy); n > 1 && copy[n - 1] == '/'; n--)
		copy[n - 1] = '\0';
	slash = strrchr(copy, '/');
	name = slash ? slash + 1 : copy;
	if (!*name || strcmp(name, ".") == 0 || strcmp(name, "..") == 0)
		return realpath(path, NULL);
	if (slash)
		*slash = '\0';
	parent = realpath(!slash ? "." : slash == copy ? "/" : copy, NULL);
	if (parent && asprintf(&result, "%s/%s", strcmp(parent, "/") ? parent : "", name) < 0)
		result = NULL;
	return result;
}

static bool is_below(const char *path, const char *folder)
{
	size_t length = strlen(folder);

	if (strcmp(folder, "/") == 0)
		return true;
	return strncmp(path, folder, length) == 0 && (path[length] == '/' || path[length] == '\0');
}

/* As an ordinary user: the set-uid helper of libfuse. */
static int run_fusermount(const char *mountpoint, bool lazy)
{
	/* -z detaches lazily. */
	char *const lazy_argv[] = {
		"fusermount3", "-u", "-q", "-z", "--", (char *)mountpoint, NULL
	};
	char *const busy_argv[] = { "fusermount3", "-u", "-q", "--", (char *)mountpoint, NULL };
	char *const *argv = lazy ? lazy_argv : busy_argv;
	int status, error;
	pid_t pid;

	error = posix_spawnp(&pid, "fusermount3", NULL, NULL, argv, environ);
	if (error)
		return -error;
	while (waitpid(pid, &status, 0) < 0)
		if (errno != EINTR)
			return -errno;
	return WIFEXITED(status) && WEXITSTATUS(status) == 0 ? 0 : -EBUSY;
}

static int detach(const char *path, bool lazy)
{
	if (geteuid() != 0)
		return run_fusermount(path, lazy);
	return umount2(path, UMOUNT_NOFOLLOW | (lazy ? MNT_DETACH : 0)) < 0 ? -errno : 0;
}

int fs_unmount(const char *mountpoint, enum fs_unmount_flags flags)
{
	cleanup_free char *path = absolute_path(mountpoint), *type = NULL;
	int r;

	if (!path)
		return -errno;
	r = mountpoint_type(path, &type);
	if (r < 0)
		return r;
	if (r == 0 || strncmp(type, "fuse", 4) != 0)
		return -EINVAL;
	return detach(path, flags & FS_UNMOUNT_LAZY);
}

/* The daemon of what is mounted at @path is dead. */
static int remove_stale(const char *path)
{
	cleanup_free char *type = NULL;
	bool ours = false;
	int r = look_at_mount(path, &type, &ours);

	if (r < 0)
		return r;
	if (!ours) {
		log_error("%s: a mount whose server has died (%s), and not one of mediafs: "
			  "unmount it first",
			  path, r > 0 ? type : "unknown");
		return -ENOTCONN;
	}
	r = detach(path, true);
	if (r < 0)
		log_error_errno(r, "%s: cannot remove the mount that a killed mediafs left", path);
	else
		log_warning("%s: removed the mount that a killed mediafs left", path);
	return r;
}

/* By statvfs(): what stat() says the kernel may remember, long after the daemon died. */
static bool server_died(const char *path)
{
	struct statvfs st;

	return statvfs(path, &st) < 0 && (errno == ENOTCONN || errno == ECONNABORTED);
}

static int check_folder(const char *path)
{
	struct stat st;
	int r;

	if (server_died(path)) {
		r = remove_stale(path);
		if (r < 0)
			return r;
	}
	if (stat(path, &st) < 0) {
		r = -errno;
		log_error_errno(r, "mount point %s", path);
		return r;
	}
	if (!S_ISDIR(st.st_mode)) {
		log_error("mount point %s is not a folder", path);
		return -ENOTDIR;
	}
	return 0;
}

static int check_free(const char *path)
{
	cleanup_free char *type = NULL;
	int r = mountpoint_type(path, &type);

	/* systemd's automount lies below what it triggers. */
	if (r <= 0 || strcmp(type, "autofs") == 0)
		return r < 0 ? r : 0;
	log_error("mount point %s is in use: %s is mounted there", path, type);
	return -EBUSY;
}

static void warn_not_empty(const char *path)
{
	cleanup_closedir DIR *folder = opendir(path);
	const struct dirent *entry;

	while (folder && (entry = readdir(folder)) != NULL) {
		if (strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0)
			continue;
		log_warning("mount point %s is not empty: what is in it is hidden while mounted",
			    path);
		return;
	}
}

int mountpoint_check(const char *mountpoint, const char *store, char **ret_path)
{
	cleanup_free char *path = absolute_path(mountpoint), *real = NULL, *real_store = NULL;
	int r = path ? check_folder(path) : -errno;

	if (!path)
		log_error_errno(r, "mount point %s", mountpoint);
	if (r < 0)
		return r;
	real = realpath(path, NULL);
	real_store = realpath(store, NULL);
	if (!real || !real_store) {
		r = -errno;
		log_error_errno(r, "%s", real ? store : path);
		return r;
	}
	if (is_below(real, real_store) || is_below(real_store, real)) {
		log_error("mount point %s and store %s may not lie in each other", real,
			  real_store);
		return -EINVAL;
	}
	r = check_free(real);
	if (r < 0)
		return r;
	warn_not_empty(real);
	*ret_path = take_ptr(real);
	return 0;
}
