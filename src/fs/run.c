/* SPDX-License-Identifier: Apache-2.0 */
#include "fs/fs.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/statvfs.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "fs/mountpoint.h"
#include "fs/serve.h"
#include "store/store.h"
#include "util/cleanup.h"
#include "util/clock.h"
#include "util/error.h"
#include "util/log.h"

/* How long a daemon that was unmounted may take to close its store. */
#define STORE_WAIT_NS (30 * NS_PER_SEC)
#define LOOK_NS (50 * NS_PER_MS)

static int exit_code(int error)
{
	switch (-error) {
	case 0:
		return FS_EXIT_OK;
	case EPERM:
	case EACCES:
		return FS_EXIT_USAGE;
	case ENOMEM:
	case EAGAIN:
	case EMFILE:
	case ENFILE:
		return FS_EXIT_SYSTEM;
	default:
		return FS_EXIT_FAILED;
	}
}

static void tell_store_error(const char *path, int error)
{
	pid_t holder;

	switch (-error) {
	case EBUSY:
		holder = store_locked_by(path);
		if (holder > 0)
			log_error("store %s is in use by process %d: is it mounted already?", path,
				  (int)holder);
		else
			log_error("store %s is in use", path);
		break;
	case ENOENT:
		log_error("%s is not a store: mediafs init makes one", path);
		break;
	case EPROTONOSUPPORT:
		log_error("store %s was made by a newer mediafs: use that one", path);
		break;
	case EINVAL: /* a setting: told where it was found */
		break;
	default:
		log_error_errno(error, "cannot open store %s", path);
	}
}

/*
 * An unmount returns before the daemon has closed the store: who mounts again at once waits for it.
 * What is still mounted is not waited for.
 */
static int wait_for_store(const struct store *store)
{
	const struct timespec pause = { .tv_nsec = LOOK_NS };
	int64_t deadline = monotonic_ns() + STORE_WAIT_NS;

	while (store_locked_by(store->path) > 0) {
		if (mountpoint_of_source(store->path) != 0 || monotonic_ns() > deadline)
			return -EBUSY;
		(void)nanosleep(&pause, NULL);
	}
	return 0;
}

/* Without locking: who it is, and whether anybody has it. */
static int look_at_store(const struct fs_options *options, bool *ret_read_only)
{
	cleanup_with(store_close_slot) struct store *store = NULL;
	int r;

	r = store_open(options->store, 0, &store);
	if (r == 0)
		r = wait_for_store(store);
	if (r < 0) {
		tell_store_error(options->store, r);
		return r;
	}
	*ret_read_only = options->access == FS_ACCESS_READ_ONLY ||
			 (options->access == FS_ACCESS_DEFAULT && store->joined);
	return 0;
}

/* Files open at once are files here too. */
static void raise_limits(void)
{
	struct rlimit limit;

	if (getrlimit(RLIMIT_NOFILE, &limit) < 0)
		return;
	limit.rlim_cur = limit.rlim_max;
	(void)setrlimit(RLIMIT_NOFILE, &limit);
}

static int run_here(struct serving *serving)
{
	int r;

	raise_limits();
	r = serve(serving);
	/* What the store is called in serve()'s errors. */
	if (r < 0 && serving->store_failed)
		tell_store_error(serving->options->store, r);
	return exit_code(r);
}

/* What the daemon has of who started it. */
struct parent {
	int pipe_fd; /* owned */
	int null_fd; /* owned; takes the place of the terminal */
};

/* The mount answers: let the waiting parent go and leave its terminal. */
static void tell_parent(void *arg)
{
	struct parent *parent = arg;
	char ok = 0;

	if (write(parent->pipe_fd, &ok, 1) < 0)
		log_debug("nobody waits for the mount");
	close_fd_slot(&parent->pipe_fd);
	parent->pipe_fd = -1;
	if (chdir("/") < 0)
		log_debug("the daemon keeps its folder in use");
	for (int fd = STDIN_FILENO; fd <= STDERR_FILENO; fd++)
		(void)dup2(parent->null_fd, fd);
}

static bool is_answering(const char *mountpoint)
{
	cleanup_free char *type = NULL;
	struct statvfs st;

	return mountpoint_type(mountpoint, &type) > 0 && statvfs(mountpoint, &st) == 0;
}

/* Until the child says that the mount answers, or ends. */
static int wait_for_mount(const char *mountpoint, pid_t child, int fd)
{
	const struct timespec pause = { .tv_nsec = LOOK_NS };
	pid_t ended;
	int status;
	ssize_t n;
	char ok;

	do {
		n = read(fd, &ok, 1);
	} while (n < 0 && errno == EINTR);
	if (n == 1)
		return FS_EXIT_OK;
	/* It may also be there and have been unable to say so. */
	while ((ended = waitpid(child, &status, WNOHANG)) <= 0) {
		if (ended < 0 && errno != EINTR)
			return FS_EXIT_SYSTEM;
		if (is_answering(mountpoint))
			return FS_EXIT_OK;
		(void)nanosleep(&pause, NULL);
	}
	if (WIFEXITED(status) && WEXITSTATUS(status) != 0)
		return WEXITSTATUS(status);
	log_error("the daemon ended before the mount answered");
	return FS_EXIT_FAILED;
}

static int run_behind(struct serving *serving)
{
	cleanup_close int null_fd = open("/dev/null", O_RDWR | O_CLOEXEC);
	struct parent parent = { .null_fd = null_fd };
	int fds[2], code;
	pid_t child;

	if (null_fd < 0) {
		log_error_errno(-errno, "cannot open /dev/null");
		return FS_EXIT_SYSTEM;
	}
	if (pipe2(fds, O_CLOEXEC) < 0) {
		log_error_errno(-errno, "cannot make a pipe");
		return FS_EXIT_SYSTEM;
	}
	child = fork();
	if (child < 0) {
		log_error_errno(-errno, "cannot fork");
		(void)close(fds[0]);
		(void)close(fds[1]);
		return FS_EXIT_SYSTEM;
	}
	if (child > 0) {
		(void)close(fds[1]);
		code = wait_for_mount(serving->mountpoint, child, fds[0]);
		(void)close(fds[0]);
		return code;
	}
	(void)close(fds[0]);
	(void)setsid();
	parent.pipe_fd = fds[1];
	serving->ready = tell_parent;
	serving->ready_arg = &parent;
	code = run_here(serving);
	close_fd_slot(&parent.pipe_fd);
	return code;
}

/* The flags that a mount has now have the same numbers as those to set. */
#define REMOUNT_FLAGS                                                                              \
	(MS_RDONLY | MS_NOSUID | MS_NODEV | MS_NOEXEC | MS_SYNCHRONOUS | MS_NOATIME | MS_DIRSYNC)

static int remount(const struct fs_options *options)
{
	cleanup_free char *type = NULL, *path = realpath(options->mountpoint, NULL);
	unsigned long flags, clear = options->clear_flags;
	struct statvfs st;

	if (!path || mountpoint_type(path, &type) <= 0 || statvfs(path, &st) < 0) {
		log_error("%s is not mounted", options->mountpoint);
		return FS_EXIT_FAILED;
	}
	flags = st.f_flag & REMOUNT_FLAGS;
	if (options->access == FS_ACCESS_READ_WRITE)
		clear |= MS_RDONLY;
	flags = (flags & ~clear) | options->set_flags;
	if (options->access == FS_ACCESS_READ_ONLY)
		flags |= MS_RDONLY;
	if (mount(NULL, path, NULL, MS_REMOUNT | flags, NULL) < 0) {
		log_error_errno(-errno, "cannot remount %s", path);
		return FS_EXIT_FAILED;
	}
	return FS_EXIT_OK;
}

int fs_run(const struct fs_options *options)
{
	cleanup_free char *mountpoint = NULL;
	struct serving serving = { .options = options };
	int r;

	if (options->remount)
		return remount(options);
	r = look_at_store(options, &serving.read_only);
	if (r == 0)
		r = mountpoint_check(options->mountpoint, options->store, &mountpoint);
	if (r < 0)
		return exit_code(r);
	serving.mountpoint = mountpoint;
	return options->foreground ? run_here(&serving) : run_behind(&serving);
}
