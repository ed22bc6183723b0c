/* SPDX-License-Identifier: Apache-2.0 */
#include "volume/history.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "catalog/offloads.h"
#include "hash/readback.h"
#include "transfer/rules.h"
#include "util/cleanup.h"
#include "util/clock.h"
#include "util/error.h"
#include "util/io.h"
#include "util/log.h"
#include "volume/history_files.h"
#include "volume/hydrate.h"
#include "volume/live.h"
#include "volume/seals.h"
#include "volume/tree.h"

/*
 * What programs call a file that they have not finished: `mediafs offload`, rsync, desktops,
 * browsers, Samba.
 */
static const char partial_names[] = UNFINISHED_GLOB
	" .*.*.?????? .goutputstream-* .smbdelete* .fuse_hidden* *.tmp *.part *.partial *.filepart "
	"*.crdownload *.download *.sb-????????"
	"-??????"; /* in one piece it holds a trigraph */

/* A file of the offload, as the catalog has it. */
struct row {
	char *path; /* owned; relative to the volume's root */
	uint64_t id, size, content, resident;
	int64_t mtime_ns;
	enum file_state state;
};

struct making {
	const struct history_task *task;
	struct row *rows; /* owned, by path */
	size_t count, room;
	size_t strip;    /* bytes of the offload's own path */
	char **patterns; /* owned: what is left out */
	size_t pattern_count;
};

static void making_fini(struct making *making)
{
	for (size_t i = 0; i < making->count; i++)
		free(making->rows[i].path);
	for (size_t i = 0; i < making->pattern_count; i++)
		free(making->patterns[i]);
	free(making->rows);
	free(making->patterns);
}

static int add_row(void *arg, const char *path, const struct node_row *row)
{
	struct making *making = arg;
	struct row *new;

	if (!S_ISREG(row->mode))
		return 0;
	if (making->count == making->room) {
		size_t room = making->room ? making->room * 2 : 256;
		struct row *grown = reallocarray(making->rows, room, sizeof(*grown));

		if (!grown)
			return -ENOMEM;
		making->rows = grown;
		making->room = room;
	}
	new = &making->rows[making->count];
	*new = (struct row){ strdup(path),        row->id,       row->size, row->content,
			     row->resident_bytes, row->mtime_ns, row->state };
	if (!new->path)
		return -ENOMEM;
	making->count++;
	return 0;
}

static int by_path(const void *a, const void *b)
{
	return strcmp(((const struct row *)a)->path, ((const struct row *)b)->path);
}

static const struct row *find_row(const struct making *making, const char *path)
{
	cleanup_free char *whole = path_join(making->task->path, path);
	struct row key = { .path = whole };

	if (!whole || !making->count)
		return NULL;
	return bsearch(&key, making->rows, making->count, sizeof(key), by_path);
}

/* Settled? ------------------------------------------------------------------------------ */

/* In the folder of a history: our own temporary names do not count there. */
static bool is_in_history(const char *path)
{
	return strstr(path, "/" HISTORY_FOLDER "/") || strstr(path, "/" HALF_MADE);
}

static bool is_written(struct volume *volume, uint64_t id)
{
	cleanup_with(live_put_slot) struct live *live = live_peek(volume, id);

	if (!live)
		return false;
	scoped_lock(&live->lock);
	return live->writers > 0;
}

static const char *waits_for(struct volume *volume, const struct rules *partial,
			     const struct row *row)
{
	if (row->state == FILE_DAMAGED)
		return "is damaged: copy it again";
	if (!file_state_is_verified(row->state))
		return "is not verified yet";
	if (is_in_history(row->path))
		return NULL;
	if (rules_ignores(partial, row->path))
		return "has the name of an unfinished file";
	return is_written(volume, row->id) ? "is open for writing" : NULL;
}

static int is_settled(const struct making *making, char *waits, size_t size)
{
	struct rules *partial = rules_new(partial_names, NULL);

	if (!partial)
		return -ENOMEM;
	for (size_t i = 0; !*waits && i < making->count; i++) {
		const struct row *row = &making->rows[i];
		const char *why = waits_for(making->task->volume, partial, row);

		if (why)
			(void)snprintf(waits, size, "%s %s", row->path, why);
	}
	rules_free(partial);
	return 0;
}

/* Manifests are read from the disk: what another site wrote has to be here first. */
static int fetch_manifests(const struct making *making, char *waits, size_t size)
{
	struct volume *volume = making->task->volume;

	for (size_t i = 0; i < making->count; i++) {
		const struct row *row = &making->rows[i];
		cleanup_with(live_put_slot) struct live *live = NULL;
		int r;

		if (row->resident == row->size ||
		    (!is_in_history(row->path) && !history_is_manifest(row->path)))
			continue;
		r = live_get(volume, row->id, -1, &live);
		if (r == 0)
			r = hydrate_all(live);
		if (r == -ENOMEM || r == -ECANCELED)
			return r;
		if (r < 0) {
			(void)snprintf(waits, size, "%s is not here: %s", row->path, error_text(r));
			return 0;
		}
	}
	return 0;
}

/* Left out ------------------------------------------------------------------------------ */

static int add_pattern(struct making *making, const char *pattern)
{
	char **grown;

	for (size_t i = 0; i < making->pattern_count; i++) {
		if (strcmp(making->patterns[i], pattern) == 0)
			return 0;
	}
	grown = reallocarray(making->patterns, making->pattern_count + 1, sizeof(*grown));
	if (!grown)
		return -ENOMEM;
	making->patterns = grown;
	grown[making->pattern_count] = strdup(pattern);
	return grown[making->pattern_count++] ? 0 : -ENOMEM;
}

/* @length bytes of @name as they are, in the language of .gitignore. */
static int add_name(struct making *making, const char *name, size_t length, const char *end)
{
	cleanup_free char *pattern = calloc(1, 2 * length + strlen(end) + 1);
	char *to = pattern;

	if (!pattern)
		return -ENOMEM;
	for (size_t i = 0; i < length; i++) {
		if (strchr("*?[]\\#! ", name[i]))
			*to++ = '\\';
		*to++ = name[i];
	}
	(void)strcpy(to, end);
	return add_pattern(making, pattern);
}

/*
 * A file that never leaves this machine must not be missing everywhere else. The rules' globs and
 * the patterns of manifests are not one language: a glob of a name goes as it is where it has only
 * stars, a folder's by the folder's name, and what is left by the file's own.
 */
static int leave_out(struct making *making, const char *path, const char *glob)
{
	const char *name = strrchr(path, '/') + 1;
	size_t length = strlen(glob);

	if (!strpbrk(glob, "/?[\\#! ") && *glob != '*')
		return add_pattern(making, glob);
	if (length > 4 && strncmp(glob, "*/", 2) == 0 && strcmp(glob + length - 2, "/*") == 0) {
		cleanup_free char *folder = strndup(glob + 1, length - 2);
		const char *found = folder ? strstr(path, folder) : NULL;

		if (!folder)
			return -ENOMEM;
		if (found)
			return add_name(making, found + 1, length - 4, "/");
	}
	return add_name(making, name, strlen(name), "");
}

static struct rules *load_rules(struct volume *volume)
{
	scoped_lock(&volume->settings_lock);
	return rules_new(settings_rule(volume->settings, "ignore"), NULL);
}

static int find_left_out(struct making *making)
{
	struct rules *rules = load_rules(making->task->volume);
	int r = rules ? 0 : -ENOMEM;

	/* What Finder leaves beside files, whenever it comes. */
	if (r == 0)
		r = add_pattern(making, "._*");
	for (size_t i = 0; r == 0 && i < making->count; i++) {
		const char *path = making->rows[i].path;
		const char *glob = is_in_history(path) ? NULL : rules_ignores(rules, path);

		if (glob)
			r = leave_out(making, path, glob);
	}
	rules_free(rules);
	return r;
}

/* Digests ------------------------------------------------------------------------------- */

struct reading {
	const struct history_task *task;
	struct hashes *hashes;
};

static int keep_on(void *arg, uint64_t bytes)
{
	const struct reading *reading = arg;
	const struct tree_progress progress = { 0 };

	(void)bytes;
	return reading->task->tick(reading->task->arg, &progress);
}

static int take_bytes(void *arg, const void *bytes, size_t length)
{
	struct reading *reading = arg;

	return hashes_update(reading->hashes, bytes, length);
}

/* Another format than was computed when the file was verified: read, and kept for the next time. */
static int read_hashes(const struct making *making, const struct row *row,
		       const struct digest *digest, unsigned formats, struct content_hash *hashes,
		       size_t *count)
{
	struct volume *volume = making->task->volume;
	cleanup_with(hashes_free_slot) struct hashes *stream = hashes_new(formats);
	struct reading reading = { making->task, stream };
	struct readback readback = { .pace = keep_on, .tap = take_bytes, .arg = &reading };
	cleanup_close int fd = -1;
	size_t first = *count;
	int r;

	if (!stream)
		return -ENOMEM;
	if (row->resident != row->size)
		return -ENODATA; /* holes are no zeros */
	fd = tree_open(volume, row->id, O_RDONLY);
	r = fd < 0 ? fd : readback_file(fd, &readback);
	if (r < 0)
		return r;
	blockmap_fini(&readback.map);
	if (!digest_equal(&readback.digest, digest))
		return -ESTALE; /* evicted or written meanwhile; damage is the scrub's to tell */
	for (size_t format = 0; r == 0 && format < HASH_FORMATS; format++) {
		if (!(formats & HASH_BIT(format)))
			continue;
		hashes[*count].format = (enum hash_format)format;
		r = hashes_final(stream, (enum hash_format)format, hashes[(*count)++].bytes);
	}
	return r < 0 ? r
		     : catalog_put_hashes(volume->catalog, row->size, digest, hashes + first,
					  *count - first);
}

/* All that is wanted, in the order of the formats. */
static int take_hashes(struct node *node, const struct content_hash *hashes, size_t count)
{
	int r = 0;

	for (size_t format = 0; r == 0 && format < HASH_FORMATS; format++) {
		for (size_t i = 0; r == 0 && i < count; i++) {
			struct list_hash hash = { .format = (enum hash_format)format,
						  .date_ns = NO_TIME };

			if (hashes[i].format != hash.format || !(node->wanted & HASH_BIT(format)))
				continue;
			memcpy(hash.bytes, hashes[i].bytes, sizeof(hash.bytes));
			r = list_add_hash(&node->hashes, &node->hash_count, &hash);
		}
	}
	return r;
}

static int know(void *arg, struct node *node)
{
	const struct making *making = arg;
	struct catalog *catalog = making->task->volume->catalog;
	const struct row *row = find_row(making, node->path);
	struct content_hash hashes[HASH_FORMATS];
	struct content_row content;
	unsigned missing = node->wanted;
	size_t count;
	int r;

	if (!row || row->size != (uint64_t)node->size || row->mtime_ns != node->mtime_ns)
		return -ESTALE;
	r = catalog_get_content(catalog, row->content, &content);
	if (r <= 0)
		return r < 0 ? r : -ESTALE;
	blockmap_fini(&content.map);
	r = catalog_get_hashes(catalog, row->content, hashes, &count);
	if (r < 0)
		return r;
	/* The content's own is no other format's row. */
	for (size_t i = 0; i < count; i++)
		missing &= ~HASH_BIT(hashes[i].format);
	if (missing & HASH_BIT(HASH_XXH128)) {
		hashes[count].format = HASH_XXH128;
		memcpy(hashes[count++].bytes, content.digest.bytes, sizeof(content.digest.bytes));
		missing &= ~HASH_BIT(HASH_XXH128);
	}
	if (missing)
		r = read_hashes(making, row, &content.digest, missing, hashes, &count);
	return r < 0 ? r : take_hashes(node, hashes, count);
}

/* The whole ----------------------------------------------------------------------------- */

static int create(struct making *making, struct verdict *ret_verdict)
{
	const struct history_task *task = making->task;
	const struct store *store = task->volume->store;
	struct history_files files = { .volume = task->volume, .top = task->path };
	cleanup_free char *tree = store_file(store, "tree");
	cleanup_free char *path = tree ? path_join(tree, task->path) : NULL;
	cleanup_free char *comment = NULL;
	const struct manifest_watch watch = { task->tick, task->arg };
	struct manifest_create create = {
		.path = path,
		.formats = task->formats,
		.asc = task->kind == MANIFEST_ASC || task->kind == MANIFEST_BOTH,
		.legacy = task->kind == MANIFEST_LEGACY || task->kind == MANIFEST_BOTH,
		.process = PROCESS_TRANSFER,
		.ignore = making->patterns,
		.ignore_count = making->pattern_count,
		.known = know,
		.arg = making,
		.files = history_files_of(&files),
	};
	struct stat st;

	if (!path || asprintf(&comment, "verified in the volume of site %s (%s)", store->site_name,
			      store->site_uuid) < 0) {
		comment = NULL;
		return -ENOMEM;
	}
	create.unasked = comment;
	if (stat(path, &st) < 0)
		return -errno;
	/* As if whoever copied the card had written it. */
	files.caller = (struct caller){ st.st_uid, st.st_gid, getpid(), 022 };
	return manifest_create(&create, &watch, ret_verdict);
}

/* 0 with @waits when a file is open for writing. */
static int try_seal(const struct history_task *task, struct seal_try *try, char *waits, size_t size)
{
	cleanup_free char *path = NULL;
	int r = seals_try(task->volume->seals, task->folder, try, &path);

	if (r != -EBUSY)
		return r;
	(void)snprintf(waits, size, "%s is open for writing", path);
	return 0;
}

/*
 * Sealed before it is hashed and judged, so that the manifest tells of what is sealed; but a folder
 * that a person opened stays as it is unless there is something new to tell.
 */
static int create_sealed(struct making *making, struct history_result *result)
{
	const struct history_task *task = making->task;
	struct seals *seals = task->volume->seals;
	int opened = task->seal ? seals_was_opened(seals, task->folder) : 1;
	struct seal_try try = { 0 };
	bool right;
	int r = opened < 0 ? opened : 0;

	if (r == 0 && !opened)
		r = try_seal(task, &try, result->waits, sizeof(result->waits));
	if (r < 0 || *result->waits)
		return r;
	/* Who opens it marks it first: from here on seals_keep() sees that it was opened. */
	if (!opened && seals_was_opened(seals, task->folder) != 0) {
		seals_undo(seals, &try);
		try.folder = 0;
		opened = 1;
	}
	r = create(making, &result->verdict);
	right = r == 0 && result->verdict.class == CLASS_OK;
	if (right && opened && task->seal && result->verdict.written_count) {
		char unused[512]; /* it is written all the same; the next generation seals */

		r = try_seal(task, &try, unused, sizeof(unused));
	}
	/* A list lies beside the files, and is younger than the seal. */
	if (right && task->kind != MANIFEST_ASC && result->verdict.written_count && try.folder) {
		struct seal_try again = { 0 };
		char waits[512] = ""; /* who adds a file now: it is sealed with that one */

		r = try_seal(task, &again, waits, sizeof(waits));
		if (again.folder)
			try.since_ns = again.since_ns;
	}
	if (!try.folder)
		return r;
	if (r < 0 || !right || (try.before_ns && !result->verdict.written_count)) {
		seals_undo(seals, &try);
		return r;
	}
	r = seals_keep(seals, &try, "daemon");
	if (r < 0)
		seals_undo(seals, &try);
	if (r == -ESTALE)
		return 0; /* a person opened it just now */
	if (r == -EOPNOTSUPP) {
		log_warning("%s: cannot be sealed: the store's file system takes no attributes",
			    task->path);
		return 0;
	}
	return r;
}

int history_make(const struct history_task *task, struct history_result *ret_result)
{
	cleanup_with(making_fini) struct making making = { .task = task };
	int r;

	*ret_result = (struct history_result){ 0 };
	r = catalog_barrier(task->volume->catalog);
	if (r == 0)
		r = catalog_each_under(task->volume->catalog, task->folder, add_row, &making);
	if (r < 0)
		return r;
	if (making.count)
		qsort(making.rows, making.count, sizeof(*making.rows), by_path);
	r = is_settled(&making, ret_result->waits, sizeof(ret_result->waits));
	if (r == 0 && !*ret_result->waits)
		r = fetch_manifests(&making, ret_result->waits, sizeof(ret_result->waits));
	if (r == 0 && !*ret_result->waits)
		r = find_left_out(&making);
	if (r < 0 || *ret_result->waits)
		return r;
	r = seals_enter(task->volume->seals, task->folder);
	if (r < 0)
		return r;
	r = create_sealed(&making, ret_result);
	seals_leave(task->volume->seals, task->folder);
	return r;
}

unsigned history_formats(struct volume *volume)
{
	enum manifest_kind kind = (enum manifest_kind)volume_setting(volume, SETTING_MANIFEST_KIND);
	unsigned formats = (unsigned)volume_setting(volume, SETTING_MANIFEST_HASH);

	if (kind == MANIFEST_NONE)
		return 0;
	if (kind != MANIFEST_ASC && !(formats & MANIFEST_LEGACY_FORMATS))
		formats |= HASH_BIT(HASH_XXH64);
	return formats & ~(unsigned)HASH_BIT(HASH_XXH128);
}
