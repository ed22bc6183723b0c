/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Mappings that the kernel made past us. While readers pass through, a handle that is opened for
 * reading and writing must pass too, and a shared mapping of it writes into the backing
 * file itself. Such a write moves the backing file's mtime: then every block is received anew.
 * A mapping that outlives its handle is beyond that; the scrub, and the check before
 * anything is sent, find what it did.
 */
#include <errno.h>
#include <sys/stat.h>

#include "util/clock.h"
#include "util/error.h"
#include "util/log.h"
#include "volume/file_internal.h"

void volume_watch_mapping(struct file *file)
{
	struct stat st;

	live_drain(file->live);
	/* Without a stat: as if it had changed. */
	file->watched_mtime_ns = fstat(file->fd, &st) == 0 ? timespec_ns(st.st_mtim) : INT64_MIN;
	file->watched = true;
}

static int receive_anew(struct file *file, const struct stat *st)
{
	struct live *live = file->live;
	int r = live_lock_for_change(live, file->fd, CHANGE_AFTER_WRITES);

	if (r < 0)
		return r;
	r = st->st_size > 0 ? receipt_touch(live->receipt, 0, (uint64_t)st->st_size) : 0;
	mutex_unlock(&live->lock);
	return r;
}

void file_check_mapping(struct file *file)
{
	struct stat st;
	int r;

	if (!file->watched)
		return;
	live_drain(file->live);
	r = fstat(file->fd, &st) < 0 ? -errno : 0;
	if (r == 0 && timespec_ns(st.st_mtim) == file->watched_mtime_ns)
		return;
	if (r == 0)
		r = receive_anew(file, &st);
	if (r < 0)
		log_warning_errno(r,
				  "inode %llu may have been changed through a mapping, and "
				  "cannot be received anew",
				  (unsigned long long)file->live->id);
}
