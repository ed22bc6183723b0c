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
#include <sys/wait.h>
#include <unistd.h>

#include "fs/fs.h"
#include "util/cleanup.h"
#include "util/error.h"
#include "util/log.h"

extern char **environ;

/* "\040" and the like in mountinfo, in place. */
static void unescape(char *text)
{
	char *to = text;

	for (const char *from = text; *from; to++) {
		if (from[0] == '\\' && from[1] && from[2] && from[3]) {
			*to = (char)((from[1] - '0') * 64 + (from[2] - '0') * 8 + (from[3] - '0'));
			from += 4;
		} else {
			*to = *from++;
		}
	}
	*to = '\0';
}

struct mount_line {
	const char *device; /* "98:0" */
	char *point, *type, *source;
};

/*
 * A line of mountinfo: "36 35 98:0 /root /mount/point options tags - type source ...".
 * Source: proc_pid_mountinfo(5).
 */
static bool parse_mountinfo(char *line, struct mount_line *ret_mount)
{
	char *save = NULL, *field = strtok_r(line, " \n", &save);

	for (int i = 0; field && i < 4; i++) {
		field = strtok_r(NULL, " \n", &save);
		if (i == 1)
			ret_mount->device = field;
	}
	if (!field)
		return false;
	ret_mount->point = field;
	while (field && strcmp(field, "-") != 0)
		field = strtok_r(NULL, " \n", &save);
	ret_mount->type = field ? strtok_r(NULL, " \n", &save) : NULL;
	ret_mount->source = ret_mount->type ? strtok_r(NULL, " \n", &save) : NULL;
	if (!ret_mount->source)
		return false;
	unescape(ret_mount->point);
	unescape(ret_mount->source);
	return true;
}

static bool is_ours(const char *type)
{
	return strcmp(type, "fuse.mediafs") == 0 || strcmp(type, "mediafs") == 0;
}

int mountpoint_type(const char *path, char **ret_type)
{
	cleanup_fclose FILE *file = fopen("/proc/self/mountinfo", "re");
	cleanup_free char *line = NULL, *found = NULL;
	struct mount_line mount;
	size_t size = 0;

	if (!file)
		return -errno;
	while (getline(&line, &size, file) > 0) {
		if (!parse_mountinfo(line, &mount) || strcmp(mount.point, path) != 0)
			continue;
		/* Later lines lie on top. */
		free(found);
		found = strdup(mount.type);
		if (!found)
			return -ENOMEM;
	}
	if (!found)
		return 0;
	*ret_type = take_ptr(found);
	return 1;
}

int mountpoint_of_source(const char *source)
{
	cleanup_fclose FILE *file = fopen("/proc/self/mountinfo", "re");
	cleanup_free char *line = NULL;
	struct mount_line mount;
	size_t size = 0;

	if (!file)
		return -errno;
	while (getline(&line, &size, file) > 0)
		if (parse_mountinfo(line, &mount) && is_ours(mount.type) &&
		    strcmp(mount.source, source) == 0)
			return 1;
	return 0;
}

int mountpoint_connection(const char *path, unsigned *ret_connection)
{
	cleanup_fclose FILE *file = fopen("/proc/self/mountinfo", "re");
	cleanup_free char *line = NULL;
	struct mount_line mount;
	size_t size = 0;
	int found = 0;

	if (!file)
		return -errno;
	while (getline(&line, &size, file) > 0)
		if (parse_mountinfo(line, &mount) && strcmp(mount.point, path) == 0)
			found = is_ours(mount.type) &&
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
	int r = mountpoint_type(path, &type);

	if (r < 0)
		return r;
	if (r == 0 || !is_ours(type)) {
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

static int check_folder(const char *path)
{
	struct stat st;
	int r;

	if (stat(path, &st) < 0 && (errno == ENOTCONN || errno == ECONNABORTED)) {
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
