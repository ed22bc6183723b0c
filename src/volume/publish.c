/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Publishing: for every path that was noted, the records that make what other sites know of it
 * equal to what our tree has. Depends on states only, never on what happened when: a crash or a
 * look too many costs nothing. Records wait in the catalog's outbox until the tier has them.
 * A path that cannot be looked at now stays noted, the others are told.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "sync/merge.h"
#include "sync/record.h"
#include "util/clock.h"
#include "util/error.h"
#include "util/log.h"
#include "volume/place.h"
#include "volume/sync_parts.h"

#define NOTES_AT_ONCE 4096
/* A segment is closed above these; one large file's map may go beyond. */
#define SEGMENT_RECORDS 10000
#define SEGMENT_BYTES (8u << 20)

struct paths {
	char **list; /* owned */
	size_t count, room;
};

struct publisher {
	struct syncer *syncer;
	struct rules *rules;         /* owned */
	struct paths paths;          /* to look at, each once */
	struct sync_record *records; /* owned, SEGMENT_RECORDS of them */
	char **shown;                /* owned: where our tree has each; NULL for a del */
	size_t count, bytes;
	size_t published;
};

/* Building segments -------------------------------------------------------------------- */

static void drop_records(struct publisher *publisher)
{
	for (size_t i = 0; i < publisher->count; i++) {
		sync_record_fini(&publisher->records[i]);
		free(publisher->shown[i]);
		publisher->shown[i] = NULL;
	}
	publisher->count = 0;
	publisher->bytes = 0;
}

static bool is_full(const struct publisher *publisher)
{
	return publisher->count >= SEGMENT_RECORDS || publisher->bytes >= SEGMENT_BYTES;
}

static int next_position(struct syncer *syncer, size_t count, struct segment *segment,
			 struct sync_position *position)
{
	struct catalog *catalog = syncer->volume->catalog;
	uint64_t lamport = 0;
	int r;

	r = catalog_get_position(catalog, syncer->writer, position);
	if (r >= 0)
		r = catalog_max_lamport(catalog, &lamport);
	if (r < 0)
		return r;
	memcpy(segment->site, syncer->writer, sizeof(segment->site));
	memcpy(segment->name, syncer->name, sizeof(segment->name));
	memcpy(segment->prev, position->chain, sizeof(segment->prev));
	segment->segment = ++position->segment;
	segment->first = position->records + 1;
	segment->lamport = position->lamport = lamport + 1;
	position->records += count;
	memcpy(position->name, syncer->name, sizeof(position->name));
	return 0;
}

static int close_segment(struct publisher *publisher)
{
	struct syncer *syncer = publisher->syncer;
	struct segment segment = { .records = publisher->records, .count = publisher->count };
	struct sync_segment applied = { .records = publisher->records, .count = publisher->count };
	cleanup_free void *packed = NULL;
	size_t length = 0;
	int r;

	if (publisher->count == 0)
		return 0;
	r = next_position(syncer, publisher->count, &segment, &applied.position);
	if (r == 0)
		r = segment_pack(&segment, &packed, &length, applied.position.chain);
	if (r < 0)
		return r;
	applied.first = segment.first;
	applied.shown = (const char *const *)publisher->shown;
	applied.outbox = packed;
	applied.outbox_bytes = length;
	r = catalog_apply_segment(syncer->volume->catalog, &applied);
	if (r < 0)
		return r;
	publisher->published += publisher->count;
	drop_records(publisher);
	return 0;
}

/* All that was shown there: what is dead already is then known to be gone from our tree. */
static int copy_base(const struct version_row *rows, size_t count, struct sync_record *record)
{
	record->base = calloc(count + 1, sizeof(*record->base));
	if (!record->base)
		return -ENOMEM;
	for (size_t i = 0; i < count && record->base_count < RECORD_BASE_MAX; i++)
		record->base[record->base_count++] = rows[i].id;
	return 0;
}

/* Consumes @record. @shown NULL: a del. */
static int add_record(struct publisher *publisher, struct sync_record *record, const char *shown)
{
	char *copy = shown ? strdup(shown) : NULL;

	if (shown && !copy) {
		sync_record_fini(record);
		return -ENOMEM;
	}
	publisher->records[publisher->count] = *record;
	publisher->shown[publisher->count++] = copy;
	publisher->bytes += 512 + strlen(record->path) + 48 * record->base_count +
			    2 * blockmap_packed_bytes(&record->body.map);
	return is_full(publisher) ? close_segment(publisher) : 0;
}

static int put_del(struct publisher *publisher, const struct version_row *rows, size_t count)
{
	struct sync_record record = { .verb = RECORD_DEL, .path = strdup(rows[0].path) };
	int r = record.path ? copy_base(rows, count, &record) : -ENOMEM;

	if (r < 0) {
		sync_record_fini(&record);
		return r;
	}
	return add_record(publisher, &record, NULL);
}

/*
 * A version shown under a conflict name stays one of its own path as long as its bytes do; what
 * a person changed is a version of the name it has.
 */
static const char *record_path(const char *path, const struct local *local,
			       const struct version_row *rows, size_t count)
{
	for (size_t i = 0; i < count; i++)
		if (rows[i].live && version_same_content(&rows[i].body, &local->body))
			return rows[i].path;
	return path;
}

/* Takes the body of @local. */
static int put_put(struct publisher *publisher, const char *path, struct local *local,
		   const struct version_row *rows, size_t count)
{
	struct sync_record record = { .verb = RECORD_PUT,
				      .path = strdup(record_path(path, local, rows, count)) };
	int r = record.path ? copy_base(rows, count, &record) : -ENOMEM;

	record.body = local->body;
	local->body = (struct version_body){ 0 };
	if (r == 0 && (!record_path_ok(record.path) || !record_body_ok(&record.body))) {
		log_warning("%s cannot be told to other sites: its name, size or times are beyond "
			    "what the journal takes",
			    path);
		sync_record_fini(&record);
		return 0;
	}
	if (r < 0) {
		sync_record_fini(&record);
		return r;
	}
	return add_record(publisher, &record, path);
}

/* One path ----------------------------------------------------------------------------- */

static size_t count_live(const struct version_row *rows, size_t count)
{
	size_t live = 0;

	for (size_t i = 0; i < count; i++)
		live += rows[i].live;
	return live;
}

/* Nothing of ours is there any more, or nothing that sites tell each other. */
static int publish_gone(struct publisher *publisher, const char *path,
			const struct version_row *rows, size_t count)
{
	struct volume *volume = publisher->syncer->volume;
	int r;

	if (count_live(rows, count) > 0) {
		/* A catalog that lags behind the tree must not look like a deletion. */
		r = place_exists(volume, path);
		if (r != 0)
			return r < 0 ? r : 0;
		return put_del(publisher, rows, count);
	}
	for (size_t i = 0; i < count; i++) {
		r = catalog_set_shown(volume->catalog, &rows[i].id, NULL);
		if (r < 0)
			return r;
	}
	return 0;
}

/* 1: other sites told of the very same here, and it is theirs as much as ours. */
static int adopt(struct publisher *publisher, const char *path, const struct local *local)
{
	struct catalog *catalog = publisher->syncer->volume->catalog;
	struct version_row *rows = NULL;
	size_t count = 0;
	bool stored = false;
	int adopted = 0, r;

	r = catalog_get_versions(catalog, path, &rows, &count);
	for (size_t i = 0; r == 0 && i < count; i++) {
		if (!rows[i].live || rows[i].shown || !local_same_content(local, &rows[i].body))
			continue;
		r = catalog_set_shown(catalog, &rows[i].id, path);
		stored |= !version_is_announced(&rows[i].body);
		adopted = 1;
	}
	/* Only announced there, stored here: that is news. */
	if (r == 0 && adopted && local->stored && !stored)
		r = catalog_add_unpublished(catalog, path, false);
	version_rows_free(rows, count);
	return r < 0 ? r : adopted;
}

/* 1: everything that is known of the path is what is there, and what is stored is where it says. */
static int is_told(struct syncer *syncer, const struct local *local, const struct version_row *rows,
		   size_t count)
{
	bool same = false, announced = false;

	for (size_t i = 0; i < count; i++) {
		const struct version_row *row = &rows[i];
		bool equal = local_same_content(local, &row->body) &&
			     local_same_attributes(local, &row->body);
		int lost = 0;

		if (!row->live)
			continue;
		if (equal && local->stored)
			lost = syncer_is_lost(syncer, &row->body, local->row.content);
		if (lost < 0)
			return lost;
		announced |= version_is_announced(&row->body);
		same |= equal && !lost && (!local->stored || !version_is_announced(&row->body));
	}
	return same && !(local->stored && announced);
}

/* What was removed or replaced elsewhere and is about to go here must not come back. */
static bool is_going(const struct local *local, const struct version_row *rows, size_t count)
{
	if (count == 0 || count_live(rows, count) > 0)
		return false;
	for (size_t i = 0; i < count; i++)
		if (local_same_content(local, &rows[i].body))
			return true;
	return false;
}

static int publish_there(struct publisher *publisher, const char *path, struct local *local,
			 const struct version_row *rows, size_t count)
{
	int r;

	if (!local->settled || rules_ignores(publisher->rules, path) ||
	    is_going(local, rows, count))
		return 0;
	r = is_told(publisher->syncer, local, rows, count);
	if (r != 0)
		return r < 0 ? r : 0;
	if (count == 0) {
		r = adopt(publisher, path, local);
		if (r != 0)
			return r < 0 ? r : 0;
	}
	if (local->stored) {
		r = syncer_find_copy(publisher->syncer, local->row.content, &local->body);
		if (r <= 0)
			return r; /* its copies went bad: told again when there is a good one */
	}
	return put_put(publisher, path, local, rows, count);
}

static int publish_path(struct publisher *publisher, const char *path)
{
	struct syncer *syncer = publisher->syncer;
	struct version_row *rows = NULL;
	struct local local = { 0 };
	size_t count = 0;
	bool is_ours;
	int r;

	r = catalog_get_shown(syncer->volume->catalog, path, &rows, &count);
	if (r == 0)
		r = local_get(syncer, path, &local);
	if (r == 0) {
		is_ours = local.found && (local.body.kind || S_ISREG(local.row.mode));
		r = is_ours ? publish_there(publisher, path, &local, rows, count)
			    : publish_gone(publisher, path, rows, count);
	}
	local_fini(&local);
	version_rows_free(rows, count);
	return r;
}

static int publish_or_keep_note(struct publisher *publisher, const char *path)
{
	struct syncer *syncer = publisher->syncer;
	int r = publish_path(publisher, path);

	/* Still full: the segment cannot be closed, and has no room for another path. */
	if (r == 0 || syncer_is_fatal(syncer, r) || is_full(publisher))
		return r;
	syncer_warn(&syncer->publish_warnings, r, "tell other sites of", path);
	return catalog_add_unpublished(syncer->volume->catalog, path, false);
}

/* Which paths -------------------------------------------------------------------------- */

static int add_path(void *arg, const char *path)
{
	struct paths *paths = arg;

	if (*path == '\0')
		return 0;
	if (paths->count == paths->room) {
		size_t room = paths->room ? 2 * paths->room : 1024;
		char **more = realloc(paths->list, room * sizeof(*more));

		if (!more)
			return -ENOMEM;
		paths->list = more;
		paths->room = room;
	}
	paths->list[paths->count] = strdup(path);
	if (!paths->list[paths->count])
		return -ENOMEM;
	paths->count++;
	return 0;
}

static int add_node(void *arg, const char *name, const struct node_row *row)
{
	(void)row;
	return add_path(arg, name);
}

static int add_note(struct publisher *publisher, const struct sync_note *note)
{
	struct catalog *catalog = publisher->syncer->volume->catalog;
	struct node_row row = { .id = CATALOG_ROOT, .mode = S_IFDIR };
	int r = add_path(&publisher->paths, note->path);

	if (r < 0 || !note->subtree)
		return r;
	if (*note->path) {
		r = catalog_lookup_path(catalog, note->path, &row);
		if (r < 0)
			return r;
		if (r == 0)
			row.mode = 0;
	}
	r = S_ISDIR(row.mode) ? catalog_each_under(catalog, row.id, add_node, &publisher->paths)
			      : 0;
	if (r == 0)
		r = catalog_each_shown_below(catalog, note->path, add_path, &publisher->paths);
	return r;
}

static int by_text(const void *a, const void *b)
{
	return strcmp(*(char *const *)a, *(char *const *)b);
}

static void sort_paths(struct paths *paths)
{
	size_t kept = 0;

	if (paths->count)
		qsort(paths->list, paths->count, sizeof(*paths->list), by_text);
	for (size_t i = 0; i < paths->count; i++) {
		if (kept && strcmp(paths->list[kept - 1], paths->list[i]) == 0)
			free(paths->list[i]);
		else
			paths->list[kept++] = paths->list[i];
	}
	paths->count = kept;
}

static void clear_paths(struct paths *paths)
{
	for (size_t i = 0; i < paths->count; i++)
		free(paths->list[i]);
	paths->count = 0;
}

/* All of @notes; they are cleared when their records are in the outbox. */
static int publish_notes(struct publisher *publisher, const struct sync_note *notes, size_t count)
{
	struct syncer *syncer = publisher->syncer;
	int r = 0;

	for (size_t i = 0; r == 0 && i < count; i++)
		r = add_note(publisher, &notes[i]);
	sort_paths(&publisher->paths);
	for (size_t i = 0; r == 0 && i < publisher->paths.count; i++)
		r = syncer_stops(syncer)
			    ? -ECANCELED
			    : publish_or_keep_note(publisher, publisher->paths.list[i]);
	clear_paths(&publisher->paths);
	if (r == 0)
		r = close_segment(publisher);
	for (size_t i = 0; r == 0 && i < count; i++)
		r = catalog_clear_unpublished(syncer->volume->catalog, &notes[i]);
	drop_records(publisher);
	return r;
}

struct rules *volume_rules(struct volume *volume)
{
	scoped_lock(&volume->settings_lock);
	return rules_new(settings_rule(volume->settings, "ignore"),
			 (const char *const[PRIORITY_COUNT]){ NULL });
}

static int publish_all(struct publisher *publisher)
{
	struct catalog *catalog = publisher->syncer->volume->catalog;
	cleanup_free char *after = NULL;
	size_t count = NOTES_AT_ONCE;
	int r;

	publisher->syncer->publish_warnings.count = 0;
	r = catalog_barrier(catalog);
	while (r == 0 && count == NOTES_AT_ONCE) {
		struct sync_note *notes = NULL;

		r = catalog_get_unpublished(catalog, after, NOTES_AT_ONCE, &notes, &count);
		if (r < 0)
			break;
		r = publish_notes(publisher, notes, count);
		free(after);
		after = count ? take_ptr(notes[count - 1].path) : NULL;
		if (count)
			notes[count - 1].path = NULL;
		sync_notes_free(notes, count);
	}
	return r;
}

int publish_run(struct syncer *syncer)
{
	struct publisher publisher = {
		.syncer = syncer,
		.rules = volume_rules(syncer->volume),
		.records = calloc(SEGMENT_RECORDS, sizeof(struct sync_record)),
		.shown = calloc(SEGMENT_RECORDS, sizeof(char *)),
	};
	int r = -ENOMEM;

	if (publisher.rules && publisher.records && publisher.shown)
		r = publish_all(&publisher);
	rules_free(publisher.rules);
	free(publisher.records);
	free(publisher.shown);
	free(publisher.paths.list);
	if (publisher.published)
		log_debug("told other sites %zu changes", publisher.published);
	return r < 0 ? r : (int)publisher.published;
}
