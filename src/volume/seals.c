/* SPDX-License-Identifier: Apache-2.0 */
#include "volume/seals.h"

#include <errno.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/xattr.h>
#include <unistd.h>

#include "catalog/offloads.h"
#include "manifest/history.h"
#include "transfer/rules.h"
#include "util/cleanup.h"
#include "util/clock.h"
#include "util/error.h"
#include "util/io.h"
#include "util/log.h"
#include "volume/seals_parts.h"
#include "volume/tree.h"

/* Of one folder, what is refused is told once in this time. */
#define TELL_NS (60 * NS_PER_SEC)
#define LOAD_AT_ONCE 256
#define NAMES_MAX 64 /* of one file that are looked at; hard links beyond that are all refused */
#define DEPTH_MAX 65536

/* Memory --------------------------------------------------------------------------------- */

int seals_set_locked(struct seals *seals, uint64_t folder, int64_t since_ns, bool local)
{
	struct seal *seal = table_get(&seals->by_folder, folder);

	mutex_assert_held(&seals->lock);
	if (!since_ns) {
		free(table_remove(&seals->by_folder, folder));
		seals->count = seals->by_folder.used;
		return 0;
	}
	if (!seal) {
		seal = calloc(1, sizeof(*seal));
		if (!seal || table_put(&seals->by_folder, folder, seal) < 0) {
			free(seal);
			return -ENOMEM;
		}
		seal->told_ns = INT64_MIN / 2;
	}
	seal->folder = folder;
	seal->since_ns = since_ns;
	seal->local = local;
	seals->count = seals->by_folder.used;
	return 0;
}

struct seals *seals_new(struct volume *volume)
{
	struct seals *seals = calloc(1, sizeof(*seals));

	if (!seals)
		return NULL;
	seals->volume = volume;
	mutex_init(&seals->lock, 36);
	table_init(&seals->by_folder);
	table_init(&seals->turns);
	cond_init(&seals->turn_over);
	return seals;
}

void seals_free(struct seals *seals)
{
	size_t at = 0;
	uint64_t id;
	void *seal;

	if (!seals)
		return;
	while (table_next(&seals->by_folder, &at, &id, &seal))
		free(seal);
	table_fini(&seals->by_folder);
	table_fini(&seals->turns);
	cond_fini(&seals->turn_over);
	mutex_fini(&seals->lock);
	free(seals);
}

/* Made since: no manifest tells of it. A file system without times of birth has none. */
static bool is_younger(int fd, int64_t since_ns)
{
	struct statx st;

	if (statx(fd, "", AT_EMPTY_PATH | AT_SYMLINK_NOFOLLOW, STATX_BTIME, &st) < 0 ||
	    !(st.stx_mask & STATX_BTIME))
		return false;
	return st.stx_btime.tv_sec * NS_PER_SEC + st.stx_btime.tv_nsec > since_ns;
}

/* 1: the folder was made after it was sealed, so it is a copy, and so is all in it. */
static int is_copy(struct seals *seals, uint64_t folder, int64_t since_ns)
{
	cleanup_close int fd = tree_open(seals->volume, folder, O_PATH);

	return fd < 0 ? fd : is_younger(fd, since_ns);
}

/* The catalog says where to look, the folder what is so. */
static int load_one(struct seals *seals, uint64_t folder)
{
	char how[8] = "";
	int64_t since_ns = 0;
	int r = seals_read_mark(seals, folder, &since_ns, how);
	bool local = strcmp(how, "local") == 0;
	struct seal *seal;

	if (r > 0 && local) {
		r = is_copy(seals, folder, since_ns);
		if (r > 0) {
			since_ns = realtime_ns();
			/* Where that fails the next start does it. */
			(void)seals_write_mark(seals, folder, since_ns, how);
		}
		r = r < 0 ? r : 1;
	}
	if (r == -ESTALE || r == -ENOENT)
		return 0; /* it went; its row goes */
	if (r == -ENOMEM)
		return r;
	if (r < 0) {
		/* Better closed than open. */
		log_error_errno(r, "inode %llu: whether it is sealed cannot be read, so it is",
				(unsigned long long)folder);
		local = true;
		since_ns = realtime_ns();
	} else if (r == 0 || (!local && strcmp(how, "site") != 0)) {
		return catalog_set_flags(seals->volume->catalog, folder, 0, NODE_SEALED);
	}
	/* What other sites placed before was sealed there. */
	if (!local)
		since_ns = realtime_ns();
	scoped_lock(&seals->lock);
	r = seals_set_locked(seals, folder, since_ns, local);
	seal = table_get(&seals->by_folder, folder);
	if (seal)
		seal->kept = true;
	return r;
}

int seals_load(struct seals *seals)
{
	uint64_t ids[LOAD_AT_ONCE], after = 0;
	int r, count;

	do {
		count = catalog_get_sealed(seals->volume->catalog, after, ids, LOAD_AT_ONCE);
		r = count < 0 ? count : 0;
		for (int i = 0; r == 0 && i < count; i++) {
			r = load_one(seals, ids[i]);
			after = ids[i];
		}
	} while (r == 0 && count == LOAD_AT_ONCE);
	return r;
}

void seals_exempt_me(struct seals *seals)
{
	seals->exempt_tid = (pid_t)syscall(SYS_gettid);
}

/* Looking up ------------------------------------------------------------------------------ */

struct climb {
	struct seals *seals;
	struct seal seal; /* the newest of those above; folder 0: none */
	bool any_local, any_kept;
	bool passed;     /* a folder called `ascmhl` */
	bool in_history; /* and a seal above it */
};

static int look_at(void *arg, uint64_t id, const char *name)
{
	struct climb *climb = arg;
	const struct seal *seal;

	scoped_lock(&climb->seals->lock);
	seal = table_get(&climb->seals->by_folder, id);
	climb->passed = climb->passed || (name && strcmp(name, HISTORY_FOLDER) == 0);
	if (!seal)
		return 0;
	climb->in_history = climb->in_history || climb->passed;
	climb->any_local = climb->any_local || seal->local;
	climb->any_kept = climb->any_kept || seal->kept;
	if (!climb->seal.folder || seal->since_ns > climb->seal.since_ns)
		climb->seal = *seal;
	return 0;
}

/* The catalog knows all folders, not all of them the names of the moment. */
static int climb_catalog(struct climb *climb, uint64_t folder)
{
	struct catalog *catalog = climb->seals->volume->catalog;
	cleanup_free char *path = NULL;
	int r = catalog_barrier(catalog);

	if (r == 0)
		r = catalog_path_of(catalog, folder, &path);
	if (r <= 0)
		return r;
	for (size_t depth = 0; folder != CATALOG_ROOT && depth < DEPTH_MAX; depth++) {
		char *slash = strrchr(path, '/');

		(void)look_at(climb, folder, slash ? slash + 1 : path);
		if (slash)
			*slash = '\0';
		r = catalog_parents_of(catalog, folder, &folder, 1);
		if (r <= 0)
			return r;
	}
	return 0;
}

/* What seals hold in the folder @folder. */
static int climb_from(struct seals *seals, uint64_t folder, struct climb *climb)
{
	int r;

	*climb = (struct climb){ .seals = seals };
	r = nodes_climb(seals->volume->nodes, folder, look_at, climb);
	if (r != -ESTALE)
		return r;
	*climb = (struct climb){ .seals = seals };
	return climb_catalog(climb, folder);
}

/* Judging --------------------------------------------------------------------------------- */

static bool is_exempt(const struct seals *seals)
{
	return seals->count == 0 ||
	       (seals->exempt_tid && seals->exempt_tid == (pid_t)syscall(SYS_gettid));
}

/* Another site's, and came into what was sealed here (seals_placed()). */
static bool was_placed(int fd)
{
	char path[32];

	(void)snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	return getxattr(path, PLACED_XATTR, NULL, 0) >= 0;
}

static bool is_litter(struct volume *volume, const char *path)
{
	struct rules *rules;
	bool litter;

	mutex_lock(&volume->settings_lock);
	rules = rules_new(settings_rule(volume->settings, "ignore"), NULL);
	mutex_unlock(&volume->settings_lock);
	litter = rules && rules_ignores(rules, path);
	rules_free(rules);
	return litter;
}

static bool may_tell(struct seals *seals, uint64_t folder)
{
	struct seal *seal;
	int64_t now_ns = monotonic_ns();

	scoped_lock(&seals->lock);
	seal = table_get(&seals->by_folder, folder);
	if (!seal || now_ns - seal->told_ns < TELL_NS)
		return false;
	seal->told_ns = now_ns;
	return true;
}

/* -EPERM. */
static int refuse(const struct climb *climb, const char *path)
{
	struct volume *volume = climb->seals->volume;
	cleanup_free char *folder = NULL;
	char detail[512];

	if (!may_tell(climb->seals, climb->seal.folder))
		return -EPERM;
	folder = volume_path_of(volume, climb->seal.folder);
	(void)snprintf(detail, sizeof(detail),
		       "%s is sealed, its manifest is written; mediafs unseal opens it",
		       folder ? folder : "?");
	log_warning("%s stays as it is: %s", path, detail);
	volume_event(volume, "daemon", "refused", path, NULL, detail);
	return -EPERM;
}

/* What is sealed: for a person also what other sites placed later, which is theirs to change. */
enum judged { FOR_PERSONS, FOR_SITES };

static bool is_free(const struct climb *climb, int fd, enum judged whose)
{
	return is_younger(fd, climb->seal.since_ns) && (whose == FOR_SITES || !was_placed(fd));
}

/* @path of what is to change; NULL without memory. */
static int judge(const struct climb *climb, const char *path, int fd, enum judged whose)
{
	if (!path)
		return -ENOMEM;
	if (!climb->seal.folder)
		return 0;
	if (!climb->in_history &&
	    (is_free(climb, fd, whose) || is_litter(climb->seals->volume, path)))
		return 0;
	return refuse(climb, path);
}

static char *path_in(struct seals *seals, uint64_t parent, const char *name)
{
	cleanup_free char *folder =
		parent == CATALOG_ROOT ? strdup("") : volume_path_of(seals->volume, parent);

	return folder ? path_join(folder, name) : NULL;
}

int seals_check_new(struct seals *seals, uint64_t parent, const char *name)
{
	cleanup_free char *path = NULL;
	struct climb climb;
	int r;

	if (is_exempt(seals))
		return 0;
	r = climb_from(seals, parent, &climb);
	if (r < 0 || !climb.seal.folder)
		return r;
	if (!climb.in_history && strcmp(name, HISTORY_FOLDER) != 0)
		return 0;
	path = path_in(seals, parent, name);
	return path ? refuse(&climb, path) : -ENOMEM;
}

int seals_check_name(struct seals *seals, uint64_t parent, const char *name, int fd)
{
	cleanup_free char *path = NULL;
	struct climb climb;
	int r;

	if (is_exempt(seals))
		return 0;
	r = climb_from(seals, parent, &climb);
	if (r < 0 || !climb.seal.folder)
		return r;
	climb.in_history = climb.in_history || strcmp(name, HISTORY_FOLDER) == 0;
	path = path_in(seals, parent, name);
	return judge(&climb, path, fd, FOR_PERSONS);
}

/* Whatever it is called: each of its names counts. */
static int check_parents(struct seals *seals, uint64_t id, int fd)
{
	uint64_t parents[NAMES_MAX];
	int r = catalog_barrier(seals->volume->catalog), count;

	if (r < 0)
		return r;
	count = catalog_parents_of(seals->volume->catalog, id, parents, NAMES_MAX);
	if (count < 0)
		return count;
	for (int i = 0; i < count; i++) {
		cleanup_free char *path = volume_path_of(seals->volume, id);
		struct climb climb;

		r = climb_from(seals, parents[i], &climb);
		if (r == 0)
			r = judge(&climb, path, fd, FOR_PERSONS);
		if (r < 0)
			return r;
	}
	return 0;
}

struct first {
	struct climb *climb;
	bool seen;
};

/* Of a file its own number holds no seal. */
static int skip_first(void *arg, uint64_t id, const char *name)
{
	struct first *first = arg;

	if (!first->seen) {
		first->seen = true;
		return 0;
	}
	return look_at(first->climb, id, name);
}

int seals_check_change(struct seals *seals, uint64_t id, int fd)
{
	cleanup_free char *path = NULL;
	struct climb climb = { .seals = seals };
	struct first first = { .climb = &climb };
	struct stat st;
	int r;

	if (is_exempt(seals))
		return 0;
	if (fstat(fd, &st) < 0)
		return -errno;
	if (st.st_nlink == 0 || !S_ISREG(st.st_mode))
		return 0;
	if (st.st_nlink > 1)
		return check_parents(seals, id, fd);
	r = nodes_climb(seals->volume->nodes, id, skip_first, &first);
	if (r == -ESTALE)
		return check_parents(seals, id, fd);
	if (r < 0 || !climb.seal.folder)
		return r;
	path = volume_path_of(seals->volume, id);
	return judge(&climb, path, fd, FOR_PERSONS);
}

int seals_cover(struct seals *seals, uint64_t id)
{
	struct climb climb;
	int r = seals->count ? climb_from(seals, id, &climb) : 0;

	return r < 0 ? r : seals->count && climb.any_kept;
}

int seals_hold(struct seals *seals, uint64_t id, enum seal_part part)
{
	cleanup_free char *path = NULL;
	cleanup_close int fd = -1;
	struct climb climb;
	uint64_t parent;
	int r;

	if (!seals->count)
		return 0;
	r = catalog_parents_of(seals->volume->catalog, id, &parent, 1);
	if (r <= 0)
		return r;
	r = climb_from(seals, parent, &climb);
	if (r < 0 || !climb.any_local)
		return r;
	if (climb.in_history)
		return part == SEAL_ALL;
	fd = tree_open(seals->volume, id, O_PATH);
	if (fd < 0)
		return fd == -ESTALE ? 0 : fd;
	path = volume_path_of(seals->volume, id);
	return path ? judge(&climb, path, fd, FOR_SITES) == -EPERM : -ENOMEM;
}

int seals_placed(struct seals *seals, uint64_t parent, int fd)
{
	struct climb climb;
	char path[32];
	int r = seals->count ? climb_from(seals, parent, &climb) : 0;

	if (r < 0 || !seals->count || !climb.seal.folder || climb.in_history)
		return r;
	(void)snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	return setxattr(path, PLACED_XATTR, "1", 1, 0) < 0 ? -errno : 0;
}
