/* SPDX-License-Identifier: Apache-2.0 */
#include "fs/sever.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <sys/mount.h>
#include <unistd.h>

#include "fs/fs.h"
#include "util/cleanup.h"
#include "util/error.h"
#include "util/log.h"

/* The file belongs to whoever mounted.
 * Source: Linux, Documentation/filesystems/fuse.rst, "Control filesystem". */
static bool abort_connection(unsigned connection)
{
	cleanup_close int fd = -1;
	char path[64];

	(void)snprintf(path, sizeof(path), "/sys/fs/fuse/connections/%u/abort", connection);
	fd = open(path, O_WRONLY | O_CLOEXEC);
	return fd >= 0 && write(fd, "1", 1) == 1;
}

void sever(struct fs *fs, const char *mountpoint, unsigned connection)
{
	struct pollfd device = { .fd = fuse_session_fd(fs->session) };
	int r = 0;

	if (poll(&device, 1, 0) < 0 || device.revents & POLLERR)
		return; /* POLLERR: it was unmounted, another mount may be there by now */
	if (geteuid() == 0)
		r = umount2(mountpoint, MNT_FORCE | MNT_DETACH) < 0 ? -errno : 0;
	/* Not the other way round: an unmount writes pages back first, and waits for us. */
	else if (connection && abort_connection(connection))
		r = fs_unmount(mountpoint, FS_UNMOUNT_LAZY);
	if (r < 0)
		log_warning_errno(r, "cannot unmount %s", mountpoint);
}
