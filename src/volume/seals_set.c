/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/xattr.h>
#include <unistd.h>

#include "catalog/sync.h"
#include "util/cleanup.h"
#include "util/clock.h"
#include "util/log.h"
#include "volume/live.h"
#include "volume/seals_parts.h"
#include "volume/syncer.h"
#include "volume/tree.h"

/* More than a tick takes. */
#define TICK_MOST_NS (100 * NS_PER_MS)

/* The xattr ------------------------------------------------------------------------------ */

int seals_write_mark(struct seals *seals, uint64_t folder, int64_t since_ns, const char *how)
{
	cleanup_close int fd = tree_open(seals->volume, folder, O_RDONLY | O_DIRECTORY);
	char text[64];
	struct stat st;
	int length = snprintf(text, sizeof(text), "%lld %s", (long long)since_ns, how);

	if (fd < 0)
		return fd;
	if (fsetxattr(fd, SEAL_XATTR, text, (size_t)length, 0) < 0 || fsync(fd) < 0 ||
	    fstat(fd, &st) < 0)
		return -errno;
	return tree_queue_attributes(seals->volume, &st);
}

int seals_read_mark(struct seals *seals, uint64_t folder, int64_t *ret_since_ns, char ret_how[8])
{
	cleanup_close int fd = tree_open(seals->volume, folder, O_RDONLY | O_DIRECTORY);
	long long since_ns;
	char text[64];
	ssize_t length;

	if (fd < 0)
		return fd;
	length = fgetxattr(fd, SEAL_XATTR, text, sizeof(text) - 1);
	if (length < 0)
		return errno == ENODATA || errno == EOPNOTSUPP ? 0 : -errno;
	text[length] = '\0';
	if (sscanf(text, "%lld %7s", &since_ns, ret_how) != 2)
		return -EUCLEAN;
	*ret_since_ns = since_ns;
	return 1;
}

/* Trying --------------------------------------------------------------------------------- */

int seals_enter(struct seals *seals, uint64_t folder)
{
	scoped_lock(&seals->lock);
	while (table_get(&seals->turns, folder))
		cond_wait(&seals->turn_over, &seals->lock);
	return table_put(&seals->turns, folder, seals);
}

void seals_leave(struct seals *seals, uint64_t folder)
{
	scoped_lock(&seals->lock);
	(void)table_remove(&seals->turns, folder);
	cond_broadcast(&seals->turn_over);
}

struct writers {
	struct volume *volume;
	char *path;        /* owned: of a file that is open for writing */
	int64_t newest_ns; /* ctime */
};

static int look_for_writer(void *arg, const char *path, const struct node_row *row)
{
	struct writers *writers = arg;
	struct live *live;
	bool written;

	if (row->ctime_ns > writers->newest_ns)
		writers->newest_ns = row->ctime_ns;
	live = S_ISREG(row->mode) ? live_peek(writers->volume, row->id) : NULL;
	if (!live)
		return 0;
	mutex_lock(&live->lock);
	written = live->writers > 0;
	mutex_unlock(&live->lock);
	live_put(live);
	if (!written)
		return 0;
	writers->path = strdup(path);
	return writers->path ? -EBUSY : -ENOMEM;
}

static int set(struct seals *seals, uint64_t folder, int64_t since_ns, bool local)
{
	scoped_lock(&seals->lock);
	return seals_set_locked(seals, folder, since_ns, local);
}

/* Later than it was tried, unless it is somebody else's by now. */
static int move(struct seals *seals, struct seal_try *try, int64_t since_ns)
{
	struct seal *seal;

	scoped_lock(&seals->lock);
	seal = table_get(&seals->by_folder, try->folder);
	if (!seal || seal->since_ns != try->since_ns)
		return -ESTALE;
	seal->since_ns = try->since_ns = since_ns;
	return 0;
}

int64_t seals_since(struct seals *seals, uint64_t folder)
{
	const struct seal *seal;

	scoped_lock(&seals->lock);
	seal = table_get(&seals->by_folder, folder);
	return seal ? seal->since_ns : 0;
}

/* What it is now, to be put back. */
static void note_before(struct seals *seals, struct seal_try *try)
{
	const struct seal *seal;

	scoped_lock(&seals->lock);
	seal = table_get(&seals->by_folder, try->folder);
	try->before_ns = seal ? seal->since_ns : 0;
	try->before_local = seal && seal->local;
}

/*
 * Refused first, then looked for who writes already: an opener does it in the other order
 * (volume_open_file()), so one of the two sees the other.
 */
int seals_try(struct seals *seals, uint64_t folder, struct seal_try *ret_try, char **ret_path)
{
	struct writers writers = { .volume = seals->volume };
	struct seal_try try = { .folder = folder };
	int64_t now_ns = realtime_ns();
	int r;

	note_before(seals, &try);
	try.since_ns = now_ns;
	r = set(seals, folder, now_ns, true);
	if (r == 0)
		r = catalog_barrier(seals->volume->catalog);
	if (r == 0)
		r = catalog_each_under(seals->volume->catalog, folder, look_for_writer, &writers);
	/* With a clock that was set back the files would look as if they came later. */
	if (r == 0 && writers.newest_ns > now_ns)
		r = move(seals, &try, writers.newest_ns);
	if (r < 0) {
		seals_undo(seals, &try);
		*ret_path = writers.path;
		return r;
	}
	*ret_try = try;
	return 0;
}

void seals_undo(struct seals *seals, const struct seal_try *try)
{
	const struct seal *seal;

	scoped_lock(&seals->lock);
	seal = table_get(&seals->by_folder, try->folder);
	if (seal && seal->since_ns == try->since_ns) /* it is there: that takes no memory */
		(void)seals_set_locked(seals, try->folder, try->before_ns, try->before_local);
}

/* Keeping -------------------------------------------------------------------------------- */

/* Other sites hear of it as of any change of the folder. */
static int tell(struct seals *seals, uint64_t folder, const char *actor, const char *event,
		const char *detail)
{
	struct volume *volume = seals->volume;
	cleanup_free char *path = volume_path_of(volume, folder);
	int r;

	if (!path)
		return -ENOMEM;
	log_info("%s: %s%s%s", path, event, *detail ? ", " : "", detail);
	volume_event(volume, actor, event, path, NULL, detail);
	r = catalog_add_unpublished(volume->catalog, path, false);
	if (r == 0 && volume->syncer)
		syncer_wake(volume->syncer);
	return r;
}

/* The flag before the mark: a start looks only where there is a flag. */
static int keep(struct seals *seals, uint64_t folder, int64_t since_ns, bool local)
{
	int r = catalog_set_flags(seals->volume->catalog, folder, NODE_SEALED, 0);

	if (r == 0)
		r = catalog_flush(seals->volume->catalog);
	return r < 0 ? r : seals_write_mark(seals, folder, since_ns, local ? "local" : "site");
}

static bool is_still(struct seals *seals, const struct seal_try *try)
{
	const struct seal *seal;

	scoped_lock(&seals->lock);
	seal = table_get(&seals->by_folder, try->folder);
	return seal && seal->since_ns == try->since_ns;
}

/*
 * A new file's times are those of the kernel's last tick, a few ms ago: what is made once the seal
 * was told must look younger than it.
 */
static void let_tick(int64_t since_ns)
{
	const struct timespec pause = { .tv_nsec = NS_PER_MS };
	struct timespec tick;

	for (;;) {
		(void)clock_gettime(CLOCK_REALTIME_COARSE, &tick);
		/* A seal of files from the future is later for long. */
		if (timespec_ns(tick) > since_ns || timespec_ns(tick) < since_ns - TICK_MOST_NS)
			return;
		(void)nanosleep(&pause, NULL);
	}
}

static void tell_of(struct seals *seals, uint64_t folder)
{
	struct seal *seal;

	scoped_lock(&seals->lock);
	seal = table_get(&seals->by_folder, folder);
	if (seal)
		seal->kept = true;
}

int seals_keep(struct seals *seals, const struct seal_try *try, const char *actor)
{
	int r;

	if (!is_still(seals, try))
		return -ESTALE;
	r = keep(seals, try->folder, try->since_ns, true);
	if (r == 0 && !is_still(seals, try)) {
		/* Opened while the mark was written: the later one was the person's. */
		r = seals_write_mark(seals, try->folder, 0, "open");
		if (r == 0)
			r = catalog_set_flags(seals->volume->catalog, try->folder, 0, NODE_SEALED);
		return r < 0 ? r : -ESTALE;
	}
	if (r < 0)
		return r;
	let_tick(try->since_ns);
	tell_of(seals, try->folder);
	return try->before_ns ? 0 : tell(seals, try->folder, actor, "sealed", "");
}

/* Opening -------------------------------------------------------------------------------- */

static int forget(struct seals *seals, uint64_t folder)
{
	int r = catalog_set_flags(seals->volume->catalog, folder, 0, NODE_SEALED);

	if (r == 0)
		r = set(seals, folder, 0, false);
	return r;
}

int seals_open(struct seals *seals, uint64_t folder, const char *actor)
{
	struct seal_try before = { .folder = folder };
	int r;

	note_before(seals, &before);
	if (!before.before_ns)
		return 0;
	/* The mark first: whatever comes between, a start finds it open. */
	r = seals_write_mark(seals, folder, 0, "open");
	if (r == 0)
		r = forget(seals, folder);
	return r < 0 ? r : tell(seals, folder, actor, "unsealed", "");
}

int seals_was_opened(struct seals *seals, uint64_t folder)
{
	int64_t since_ns;
	char how[8] = "";
	int r = seals_read_mark(seals, folder, &since_ns, how);

	return r < 0 ? r : r > 0 && strcmp(how, "open") == 0;
}

int seals_follow(struct seals *seals, uint64_t folder, bool sealed)
{
	struct seal_try before = { .folder = folder };
	int64_t now_ns = realtime_ns();
	int r;

	note_before(seals, &before);
	if ((before.before_ns != 0) == sealed)
		return 0;
	r = sealed ? set(seals, folder, now_ns, false) : seals_write_mark(seals, folder, 0, "open");
	if (r == 0)
		r = sealed ? keep(seals, folder, now_ns, false) : forget(seals, folder);
	if (r == 0 && sealed)
		tell_of(seals, folder);
	return r < 0 ? r
		     : tell(seals, folder, "daemon", sealed ? "sealed" : "unsealed",
			    "by another site");
}
