/* SPDX-License-Identifier: Apache-2.0 */
#include "volume/level_fix.h"

#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/xattr.h>

#include "catalog/contents.h"
#include "catalog/events.h"
#include "catalog/sync.h"
#include "util/clock.h"
#include "util/io.h"
#include "volume/seals.h"

int level_open(struct store *store, const struct level_find *find)
{
	cleanup_close int fd = -1;
	struct stat st;

	fd = level_open_path(store, find->path, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_NOATIME);
	if (fd == -EPERM)
		fd = level_open_path(store, find->path, O_RDONLY | O_NOFOLLOW | O_NONBLOCK);
	if (fd == -ENOENT || fd == -ENOTDIR)
		return -ESTALE;
	if (fd < 0)
		return fd;
	if (fstat(fd, &st) < 0)
		return -errno;
	return store_node_id(store, &st) == find->id ? take_fd(fd) : -ESTALE;
}

/* Times, size and mode as they are; state and content as the row has them, or of a new file. */
static struct node_row row_of(const struct level_find *find)
{
	struct node_row row = { 0 };

	if (find->has_row)
		row = find->row;
	row.id = find->id;
	row.mode = find->st.st_mode;
	row.size = (uint64_t)find->st.st_size;
	row.mtime_ns = timespec_ns(find->st.st_mtim);
	row.ctime_ns = timespec_ns(find->st.st_ctim);
	row.state_ns = realtime_ns();
	if (S_ISREG(row.mode))
		return row;
	row.generation = row.content = row.resident_bytes = 0;
	row.state = 0;
	row.error = 0;
	return row;
}

/* Unlike any that an inode of this number had before (live_new_generation() counts so too). */
static uint64_t new_generation(const struct node_row *row)
{
	uint64_t now = (uint64_t)realtime_ns() >> 10;

	return now > row->generation ? now : row->generation + 1;
}

/* Nothing is known of the bytes but what is there. */
static void receive_again(struct node_row *row)
{
	row->generation = new_generation(row);
	row->state = FILE_RECEIVING;
	row->content = 0;
	row->error = 0;
	row->resident_bytes = row->size;
}

static void damage(struct node_row *row, int error)
{
	row->state = FILE_DAMAGED;
	row->error = error;
	if (!row->generation)
		row->generation = new_generation(row);
}

static int find_content(struct catalog *catalog, const struct residency *residency,
			uint64_t *ret_content)
{
	struct content_row content;
	int r = catalog_find_content(catalog, residency->size, &residency->digest, &content);

	if (r <= 0)
		return r;
	*ret_content = content.id;
	content_row_fini(&content);
	return 1;
}

/*
 * Putting a block back, or punching it out, sets mtime and ctime to one moment; the mtime is
 * set back right after. Whoever died in between left it to us: the catalog knows it.
 */
static int restore_mtime(int fd, const struct level_find *find, const struct residency *residency,
			 struct node_row *row)
{
	const struct timespec times[2] = {
		{ .tv_nsec = UTIME_OMIT },
		ns_timespec(find->row.mtime_ns),
	};

	if (!find->has_row || row->mtime_ns == find->row.mtime_ns || row->mtime_ns != row->ctime_ns)
		return 0;
	if (futimens(fd, times) < 0)
		return -errno;
	row->mtime_ns = find->row.mtime_ns;
	return residency_write(fd, residency); /* the ctime of now is our doing */
}

/* Some blocks are not here: only the content says what they are. */
static int make_evicted(struct catalog *catalog, int fd, const struct level_find *find,
			const struct residency *residency, struct node_row *row)
{
	uint64_t content = 0;
	int r;

	row->resident_bytes = residency_bytes(residency);
	if (residency->size != row->size) {
		damage(row, -EUCLEAN);
		return 0;
	}
	r = find_content(catalog, residency, &content);
	if (r < 0)
		return r;
	if (r == 0) {
		/* An announced file has no content either. */
		if (!find->has_row || find->row.state != FILE_ANNOUNCED)
			damage(row, -EUCLEAN);
		return 0;
	}
	if (find->has_row && find->row.state == FILE_DAMAGED && find->row.content == content)
		return 0;
	if (!find->has_row || find->row.content != content)
		row->generation = new_generation(row);
	else
		r = restore_mtime(fd, find, residency, row);
	row->content = content;
	row->state = FILE_EVICTED;
	row->error = 0;
	return r < 0 ? r : 0;
}

/*
 * The catalog says that blocks are absent, nothing on the file says so: the mark was lost. It
 * comes back with no block resident, so that no hole is read as zeros.
 */
static int restore_mark(struct catalog *catalog, int fd, struct node_row *row)
{
	struct residency residency;
	struct content_row content;
	bool fits;
	int r = catalog_get_content(catalog, row->content, &content);

	if (r < 0)
		return r;
	fits = r == 1 && content.size == row->size;
	if (fits)
		residency_init(&residency, content.size, &content.digest);
	if (r == 1)
		content_row_fini(&content);
	if (!fits) {
		damage(row, -EUCLEAN);
		return 0;
	}
	row->state = FILE_EVICTED;
	row->resident_bytes = 0;
	return residency_write(fd, &residency);
}

static int make_file(struct store *store, struct catalog *catalog, const struct level_find *find,
		     struct node_row *row)
{
	bool same_file = find->has_row && S_ISREG(find->row.mode);
	cleanup_close int fd = level_open(store, find);
	struct residency residency;
	bool evicted;
	int r;

	if (fd < 0)
		return fd;
	r = residency_read(fd, &residency);
	if (r == -EUCLEAN) {
		damage(row, -EUCLEAN);
		return 0;
	}
	if (r < 0)
		return r;
	if (r == 1 && !residency_full(&residency))
		return make_evicted(catalog, fd, find, &residency, row);
	evicted =
		same_file && (find->row.state == FILE_EVICTED || find->row.state == FILE_HYDRATING);
	if (r == 1 && evicted && find->kind != LEVEL_CHANGED) {
		row->state = FILE_STORED; /* the last block came back before the catalog knew */
		row->resident_bytes = row->size;
		return 0;
	}
	if (!same_file || find->kind == LEVEL_CHANGED) {
		receive_again(row);
		return 0;
	}
	if (evicted)
		return restore_mark(catalog, fd, row);
	if (find->row.state == FILE_DAMAGED)
		row->mtime_ns = find->row.mtime_ns; /* a repair that was cut short sets it */
	return 0;
}

/* The name alone is new: another name of a file, or one that moved. */
static enum level_kind kind_of_row(const struct level_find *find)
{
	const struct node_row *row = &find->row;

	if (find->kind != LEVEL_ADDED || !find->has_row)
		return find->kind;
	if ((row->mode & S_IFMT) != (find->st.st_mode & S_IFMT))
		return LEVEL_CHANGED;
	if (S_ISREG(row->mode) && row->state != FILE_RECEIVING &&
	    (row->size != (uint64_t)find->st.st_size ||
	     row->mtime_ns != timespec_ns(find->st.st_mtim)))
		return LEVEL_CHANGED;
	return row->ctime_ns == timespec_ns(find->st.st_ctim) ? LEVEL_SAME : LEVEL_TOUCHED;
}

/* Whether it says that it is sealed or was opened, seals_load() looks. */
static int make_folder(struct store *store, const struct level_find *find, struct node_row *row)
{
	cleanup_close int fd = level_open_path(store, find->path, O_RDONLY | O_DIRECTORY);

	if (fd < 0)
		return fd;
	row->flags &= ~(unsigned)NODE_SEALED;
	if (fgetxattr(fd, SEAL_XATTR, NULL, 0) >= 0)
		row->flags |= NODE_SEALED;
	else if (errno != ENODATA && errno != EOPNOTSUPP)
		return -errno;
	return 0;
}

int level_make_row(struct store *store, struct catalog *catalog, const struct level_find *find,
		   struct node_row *ret_row)
{
	struct node_row row = row_of(find);
	struct level_find judged = *find;
	int r = 0;

	judged.kind = kind_of_row(find);
	if (judged.kind != LEVEL_SAME && S_ISREG(find->st.st_mode))
		r = make_file(store, catalog, &judged, &row);
	else if (judged.kind != LEVEL_SAME && S_ISDIR(find->st.st_mode))
		r = make_folder(store, find, &row);
	if (r == 0)
		*ret_row = row;
	return r;
}

struct names {
	char **names; /* owned */
	size_t count, room;
};

static int add_name(void *arg, const char *name, const struct node_row *row)
{
	struct names *names = arg;

	(void)row;
	if (names->count == names->room) {
		size_t room = names->room ? names->room * 2 : 32;
		char **moved = reallocarray(names->names, room, sizeof(*moved));

		if (!moved)
			return -ENOMEM;
		names->names = moved;
		names->room = room;
	}
	names->names[names->count] = strdup(name);
	return names->names[names->count] ? (names->count++, 0) : -ENOMEM;
}

/* What the catalog thinks is in a folder that is no folder any more. */
static int remove_children(struct catalog *catalog, uint64_t id)
{
	struct names names = { 0 };
	int r = catalog_each_child(catalog, id, add_name, &names);

	for (size_t i = 0; i < names.count; i++) {
		if (r == 0)
			r = catalog_remove_name(catalog, id, names.names[i]);
		free(names.names[i]);
	}
	free(names.names);
	return r;
}

int level_put_row(struct catalog *catalog, const struct level_find *find,
		  const struct node_row *row)
{
	bool scrub = find->has_row && find->row.generation == row->generation &&
		     file_state_is_verified(row->state);
	int r = 0;

	if (find->has_row && S_ISDIR(find->row.mode) && !S_ISDIR(row->mode))
		r = remove_children(catalog, find->id);
	if (r == 0)
		r = catalog_put_node(catalog, row);
	if (r == 0 && scrub)
		r = catalog_set_checked(catalog, row->id, row->generation, 0);
	if (r == 0 && find->kind == LEVEL_ADDED)
		r = catalog_replace_name(catalog, find->parent, find->name, row->id);
	return r;
}

/* Removing ------------------------------------------------------------------------------ */

struct removal {
	struct catalog *catalog;
	bool (*moved)(void *arg, uint64_t id);
	void *arg;
};

/* Verified media that is gone is told, whoever took it. */
static int tell_missing(void *arg, const char *path, const struct node_row *row)
{
	struct removal *removal = arg;
	char hex[DIGEST_HEX_SIZE] = "";
	struct content_row content;
	struct event event = {
		.actor = "leveller",
		.path = path,
		.event = "missing",
		.digest = hex,
		.detail = "it is not in the tree any more",
	};
	int r;

	if (!S_ISREG(row->mode) || removal->moved(removal->arg, row->id))
		return 0;
	if (!file_state_is_verified(row->state) && row->state != FILE_DAMAGED)
		return 0;
	r = catalog_get_content(removal->catalog, row->content, &content);
	if (r < 0)
		return r;
	if (r == 1) {
		digest_hex(&content.digest, hex);
		content_row_fini(&content);
	}
	return catalog_add_event(removal->catalog, &event);
}

int level_remove(struct catalog *catalog, const struct level_find *find,
		 bool (*moved)(void *arg, uint64_t id), void *arg)
{
	struct removal removal = { .catalog = catalog, .moved = moved, .arg = arg };
	int r = 0;

	if (!moved(arg, find->id)) {
		r = tell_missing(&removal, find->path, &find->row);
		if (r == 0 && S_ISDIR(find->row.mode))
			r = catalog_each_under(catalog, find->id, tell_missing, &removal);
		/* Lost by the disk, not removed: other sites must not take it for a deletion. */
		if (r == 0)
			r = catalog_was_rebooted(catalog);
		if (r > 0)
			r = catalog_lose_shown(catalog, find->path);
	}
	return r == 0 ? catalog_remove_name(catalog, find->parent, find->name) : r;
}
