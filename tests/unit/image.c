/* SPDX-License-Identifier: Apache-2.0 */
#include "image.h"

#include <fcntl.h>
#include <linux/fiemap.h>
#include <linux/fs.h>
#include <spawn.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

extern char **environ;

static int run(char *const argv[])
{
	posix_spawn_file_actions_t actions;
	int status = -1;
	pid_t pid;

	posix_spawn_file_actions_init(&actions);
	posix_spawn_file_actions_addopen(&actions, 1, "/dev/null", O_WRONLY, 0);
	posix_spawn_file_actions_addopen(&actions, 2, "/dev/null", O_WRONLY, 0);
	if (posix_spawnp(&pid, argv[0], &actions, NULL, argv, environ) == 0)
		(void)waitpid(pid, &status, 0);
	posix_spawn_file_actions_destroy(&actions);
	return status;
}

static int make(const struct image *image, const char *type, const char *options,
		unsigned megabytes)
{
	char mkfs[64], mount_options[64];
	char *const format[] = { mkfs, image->file, NULL };
	char *const mount_it[] = { "mount",      "-o",        mount_options, "-t",
				   (char *)type, image->file, image->mount,  NULL };
	int fd;

	(void)snprintf(mkfs, sizeof(mkfs), "mkfs.%s", type);
	(void)snprintf(mount_options, sizeof(mount_options), "loop%s", options);
	fd = open(image->file, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	if (fd < 0 || ftruncate(fd, (off_t)megabytes << 20) < 0)
		return -1;
	(void)close(fd);
	return run(format) == 0 ? run(mount_it) : -1;
}

struct image *image_new(const struct scratch *dir, const char *type, unsigned megabytes)
{
	struct image *image = calloc(1, sizeof(*image));
	const char *comma = strchr(type, ',');
	char options[32], plain[32];
	int r;

	(void)snprintf(plain, sizeof(plain), "%.*s", (int)strcspn(type, ","), type);

	if (!image || asprintf(&image->file, "%s/image-%s", dir->path, plain) < 0 ||
	    asprintf(&image->mount, "%s/mount-%s", dir->path, plain) < 0)
		abort();
	(void)mkdir(image->mount, 0755);
	(void)snprintf(options, sizeof(options), "size=%um", megabytes);
	r = geteuid() != 0               ? -1
	    : strcmp(type, "tmpfs") == 0 ? mount("tmpfs", image->mount, "tmpfs", 0, options)
					 : make(image, plain, comma ? comma : "", megabytes);
	if (r == 0)
		return image;
	printf("skipped: no %s image here (needs root, mkfs.%s, loop devices)\n", type, plain);
	free(image->file);
	free(image->mount);
	free(image);
	return NULL;
}

void image_free(struct image *image)
{
	char *argv[] = { "umount", NULL, NULL };

	if (!image)
		return;
	argv[1] = image->mount;
	if (run(argv) != 0)
		(void)umount2(image->mount, MNT_DETACH);
	free(image->file);
	free(image->mount);
	free(image);
}

void image_flip(const struct image *image, const char *path, uint64_t offset)
{
	union {
		struct fiemap map;
		char space[sizeof(struct fiemap) + sizeof(struct fiemap_extent)];
	} query = { .map = { .fm_start = offset,
			     .fm_length = 1,
			     .fm_flags = FIEMAP_FLAG_SYNC,
			     .fm_extent_count = 1 } };
	struct fiemap_extent extent;
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	uint64_t position;
	uint8_t byte;

	check(fd >= 0);
	check_int(ioctl(fd, FS_IOC_FIEMAP, &query), 0);
	(void)close(fd);
	check_int(query.map.fm_mapped_extents, 1);
	memcpy(&extent, query.space + sizeof(struct fiemap), sizeof(extent));
	position = extent.fe_physical + (offset - extent.fe_logical);

	fd = open(image->file, O_RDWR | O_CLOEXEC);
	check(fd >= 0);
	check_int(pread(fd, &byte, 1, (off_t)position), 1);
	byte ^= 1;
	check_int(pwrite(fd, &byte, 1, (off_t)position), 1);
	check_int(fsync(fd), 0);
	(void)close(fd);
}
