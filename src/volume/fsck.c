/* SPDX-License-Identifier: Apache-2.0 */
#include "volume/fsck.h"

#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "catalog/events.h"
#include "util/cleanup.h"
#include "util/error.h"
#include "volume/fsck_parts.h"
#include "volume/level_numbers.h"
#include "volume/level_walk.h"

#define TEXT_BYTES 2048

bool fsck_stopped(const struct fsck *fsck)
{
	return fsck->host->stop && *fsck->host->stop;
}

void fsck_found(struct fsck *fsck, const struct fsck_finding *finding)
{
	switch (finding->outcome) {
	case FSCK_NOTE:
		fsck->report.notes++;
		break;
	case FSCK_CORRECTED:
		fsck->report.corrected++;
		break;
	case FSCK_LEFT:
		fsck->report.left++;
		break;
	}
	fsck->host->found(fsck->host->arg, finding);
}

void fsck_tell(struct fsck *fsck, enum fsck_outcome outcome, const char *what, const char *path,
	       const char *format, ...)
{
	char detail[TEXT_BYTES];
	const struct fsck_finding finding = {
		.outcome = outcome,
		.what = what,
		.path = path,
		.detail = detail,
	};
	va_list ap;

	va_start(ap, format);
	(void)vsnprintf(detail, sizeof(detail), format, ap);
	va_end(ap);
	fsck_found(fsck, &finding);
}

int fsck_fail(struct fsck *fsck, int error, const char *format, ...)
{
	char text[TEXT_BYTES];
	size_t used;
	va_list ap;

	va_start(ap, format);
	(void)vsnprintf(text, sizeof(text), format, ap);
	va_end(ap);
	used = strlen(text);
	if (error)
		(void)snprintf(text + used, sizeof(text) - used, ": %s", error_text(error));
	fsck->report.incomplete = true;
	fsck->host->failed(fsck->host->arg, text);
	return error;
}

void fsck_event(struct fsck *fsck, const char *event, const char *path, const struct digest *digest,
		const char *detail)
{
	char hex[DIGEST_HEX_SIZE] = "";
	const struct event row = {
		.actor = "fsck",
		.event = event,
		.path = path,
		.digest = hex,
		.detail = detail,
	};
	int r;

	if (!fsck->can_write)
		return;
	if (digest)
		digest_hex(digest, hex);
	r = catalog_add_event(fsck->catalog, &row);
	if (r < 0)
		(void)fsck_fail(fsck, r, "cannot write the event %s about %s", event, path);
}

char *fsck_path(struct fsck *fsck, uint64_t id)
{
	char *path = NULL;

	if (catalog_path_of(fsck->catalog, id, &path) > 0)
		return path;
	return asprintf(&path, "inode %llu", (unsigned long long)id) < 0 ? NULL : path;
}

int fsck_open_file(struct fsck *fsck, const struct node_row *row, const char *path, int flags)
{
	cleanup_close int fd = -1;
	struct stat st;

	flags |= O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC;
	fd = level_open_path(fsck->store, path, flags | O_NOATIME);
	if (fd == -EPERM)
		fd = level_open_path(fsck->store, path, flags);
	if (fd == -ENOENT || fd == -ENOTDIR || fd == -ELOOP)
		return -ESTALE;
	if (fd < 0)
		return fd;
	if (fstat(fd, &st) < 0)
		return -errno;
	if (!S_ISREG(st.st_mode) || store_node_id(fsck->store, &st) != row->id)
		return -ESTALE;
	return take_fd(fd);
}

int fsck_add_id(struct fsck_ids *ids, const struct node_row *row)
{
	if (ids->count == ids->room) {
		size_t room = ids->room ? ids->room * 2 : 1024;
		uint64_t *moved = reallocarray(ids->ids, room, sizeof(*moved));

		if (!moved)
			return -ENOMEM;
		ids->ids = moved;
		ids->room = room;
	}
	ids->ids[ids->count++] = row->id;
	ids->bytes += row->state == FILE_EVICTED || row->state == FILE_HYDRATING
			      ? row->resident_bytes
			      : row->size;
	return 0;
}

static int add_row(void *arg, const char *name, const struct node_row *row)
{
	(void)name;
	return fsck_add_id(arg, row);
}

int fsck_collect(struct fsck *fsck, unsigned state_mask, struct fsck_ids *ids)
{
	int r = catalog_each_file(fsck->catalog, state_mask, 0, add_row, ids);

	return r < 0 ? fsck_fail(fsck, r, "cannot read the files in the catalog") : 0;
}

/* Opening ------------------------------------------------------------------------------- */

static int open_store(struct fsck *fsck, const char *path)
{
	int r = store_open(path, STORE_LOCK, &fsck->store);

	if (r == -EBUSY) {
		fsck->mounted = true;
		r = store_open(path, 0, &fsck->store);
	}
	if (r == -ENOENT || r == -ENOTDIR)
		return fsck_fail(fsck, r, "%s is not a store", path);
	if (r == -EPROTONOSUPPORT)
		return fsck_fail(fsck, r, "%s was made by a newer mediafs: use that one", path);
	if (r < 0)
		return fsck_fail(fsck, r, "cannot open the store %s", path);
	fsck->report.mounted = fsck->mounted;
	if (!fsck->mounted || !(fsck->flags & (FSCK_REPAIR | FSCK_REBUILD)))
		return 0;
	(void)fsck_fail(
		fsck, 0,
		"%s is mounted (process %d): it can be checked but not repaired; unmount it "
		"first",
		path, (int)store_locked_by(path));
	return -EBUSY;
}

static int open_settings(struct fsck *fsck)
{
	cleanup_free char *message = NULL;
	int r = settings_load(fsck->store->path, &fsck->settings, &message);

	if (r < 0 && message)
		(void)fsck_fail(fsck, 0, "%s/mediafs.conf: %s", fsck->store->path, message);
	else if (r < 0)
		(void)fsck_fail(fsck, r, "cannot read %s/mediafs.conf", fsck->store->path);
	return r;
}

/* @old_name: what the catalog put aside is called now, NULL: there is none. */
static int open_catalog(struct fsck *fsck, char **ret_old_name)
{
	cleanup_free char *file = store_file(fsck->store, "catalog.db");
	enum catalog_flags flags = fsck->can_write ? 0 : CATALOG_READ_ONLY;
	int r = 0;

	if (!file)
		return -ENOMEM;
	if (!(fsck->flags & FSCK_REBUILD)) {
		r = catalog_open(file, fsck->store->site_uuid, flags, &fsck->catalog);
		if ((r == -ENOENT || r == -EUCLEAN) && (fsck->flags & FSCK_REPAIR_ALL))
			fsck->flags |= FSCK_REBUILD;
		else if (r == -ENOENT || r == -EUCLEAN)
			return fsck_fail(
				fsck, r,
				"%s is %s; --rebuild-catalog makes a new one from the files", file,
				r == -ENOENT ? "missing" : "damaged");
		else if (r < 0)
			return fsck_fail(fsck, r, "cannot open %s", file);
	}
	if (fsck->flags & FSCK_REBUILD) {
		r = fsck_put_aside(fsck, ret_old_name);
		if (r < 0)
			return fsck_fail(fsck, r, "cannot put %s aside", file);
		r = catalog_open(file, fsck->store->site_uuid, CATALOG_CREATE, &fsck->catalog);
		if (r < 0)
			return fsck_fail(fsck, r, "cannot make a new %s", file);
	}
	/* Until it is level with the tree: whoever opens it next has to look. */
	if (fsck->can_write)
		catalog_keep_unclean(fsck->catalog, catalog_was_unclean(fsck->catalog) ||
							    (fsck->flags & FSCK_REBUILD));
	return 0;
}

/* By wrong numbers every file would be missing, or taken for another. */
static int find_again(struct fsck *fsck)
{
	static const char what[] = "copied";
	int r = fsck->can_repair ? level_find_again(fsck->store, fsck->catalog, fsck->host->stop)
				 : level_was_copied(fsck->store, fsck->catalog);

	if (r < 0)
		return r == -ECANCELED ? r
				       : fsck_fail(fsck, r, "cannot find the files of %s",
						   fsck->store->path);
	if (r == 0)
		return 0;
	if (!fsck->can_repair) {
		fsck_tell(fsck, FSCK_LEFT, what, "",
			  "the store was copied or restored since it was last mounted, and its "
			  "catalog knows the files by numbers that they do not have here");
		(void)fsck_fail(fsck, 0,
				"nothing else was checked; mount it once, or let -p find its files "
				"again by their names");
		return -ESTALE;
	}
	fsck->copied = true;
	fsck_tell(fsck, FSCK_CORRECTED, what, "",
		  "the store was copied or restored since it was last mounted; its files were "
		  "found again by their names");
	fsck_event(fsck, "store copied", "", NULL, "its files were found again by their names");
	return 0;
}

static int check(struct fsck *fsck, const char *path)
{
	cleanup_free char *old_name = NULL;
	int r = open_store(fsck, path);

	if (r == 0)
		r = open_settings(fsck);
	if (r < 0)
		return r;
	fsck->can_write = !fsck->mounted && !(fsck->flags & FSCK_READ_ONLY);
	fsck->can_repair = fsck->can_write && (fsck->flags & (FSCK_REPAIR | FSCK_REBUILD));
	r = open_catalog(fsck, &old_name);
	if (r == 0)
		r = find_again(fsck);
	if (r == 0 && (fsck->flags & FSCK_REBUILD))
		r = fsck_rebuild(fsck, old_name);
	if (r < 0 && old_name) {
		/* Half made, it knows less than the one before: pins are only there. */
		catalog_close(take_ptr(fsck->catalog));
		fsck_put_back(fsck, old_name);
	}
	if (r == 0)
		r = fsck_quick(fsck);
	if (r == 0 && ((fsck->flags & FSCK_FULL) || fsck->can_repair))
		r = fsck_full(fsck);
	if (r == 0 && (fsck->flags & FSCK_REMOTE))
		r = fsck_remote(fsck);
	if (r == 0 && fsck->can_write) {
		r = catalog_flush(fsck->catalog);
		if (r < 0)
			r = fsck_fail(fsck, r, "cannot write the catalog");
	}
	return r;
}

int fsck_run(const char *path, enum fsck_flags flags, const struct fsck_host *host,
	     struct fsck_report *ret_report)
{
	struct fsck fsck = { .flags = flags, .host = host };
	int r;

	if (flags & FSCK_REPAIR_ALL)
		fsck.flags |= FSCK_REPAIR;
	r = check(&fsck, path);
	for (size_t i = 0; i < fsck.tier_count; i++)
		tier_close(fsck.tiers[i].tier);
	free(fsck.tiers);
	free(fsck.touched.ids);
	catalog_close(fsck.catalog);
	settings_free(fsck.settings);
	store_close(fsck.store);
	*ret_report = fsck.report;
	return r;
}
