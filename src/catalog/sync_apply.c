/* SPDX-License-Identifier: Apache-2.0 */
/* Versions: a segment's records become versions, in the writer's thread (catalog/sync.h). */
#include <errno.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include "catalog/private.h"
#include "catalog/sync.h"

STATEMENT(sql_site, "SELECT id, segment, records FROM sites WHERE site = ?1");
STATEMENT(sql_new_site, "INSERT INTO sites(site, name, segment, records, lamport, chain)"
			" VALUES(?1, '', 0, 0, 0, zeroblob(32))");
STATEMENT(sql_move_site, "UPDATE sites SET name = ?2, segment = ?3, records = ?4, lamport = ?5,"
			 " chain = ?6 WHERE id = ?1");
STATEMENT(sql_put_version,
	  "INSERT INTO versions(site, seq, lamport, path, kind, mode, mtime_ns, size, digest, map,"
	  " tier, key, target, live, shown)"
	  " VALUES(?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, 1, ?14)");
STATEMENT(sql_version, "SELECT path, shown FROM versions WHERE site = ?1 AND seq = ?2");
STATEMENT(sql_kill, "UPDATE versions SET live = 0 WHERE site = ?1 AND seq = ?2");
STATEMENT(sql_drop, "DELETE FROM versions WHERE site = ?1 AND seq = ?2");
STATEMENT(sql_show, "UPDATE versions SET shown = ?3 WHERE site = ?1 AND seq = ?2");
STATEMENT(sql_drop_dead, "DELETE FROM versions WHERE site = ?1 AND seq = ?2 AND live = 0");
STATEMENT(sql_supersede, "INSERT INTO superseded(site, seq) VALUES(?1, ?2)"
			 " ON CONFLICT(site, seq) DO NOTHING");
STATEMENT(sql_forget_superseded, "DELETE FROM superseded WHERE site = ?1 AND seq = ?2");
STATEMENT(sql_is_superseded, "SELECT 1 FROM superseded WHERE site = ?1 AND seq = ?2");
STATEMENT(sql_note_unshown, "INSERT INTO unshown(path, noted_ns) VALUES(?1, 1)"
			    " ON CONFLICT(path) DO UPDATE SET noted_ns = noted_ns + 1");
STATEMENT(sql_is_not_folder, "SELECT 1 FROM versions WHERE path = ?1 AND kind <> 2 AND live = 1");
STATEMENT(sql_has_other, "SELECT 1 FROM versions WHERE path = ?1 AND NOT (site = ?2 AND seq = ?3)");
STATEMENT(sql_outbox, "INSERT INTO outbox(segment, bytes) VALUES(?1, ?2)");
STATEMENT(sql_remove_outbox, "DELETE FROM outbox WHERE segment = ?1");

struct site_state {
	int64_t id;
	uint64_t segment, records;
};

static int get_site(struct db *db, const char *site, struct site_state *ret_state)
{
	cleanup_query struct query query = query_start(db, &sql_site);
	int r;

	query_text(&query, site);
	r = query_row(&query);
	if (r <= 0)
		return r;
	ret_state->id = query_get_int(&query, 0);
	ret_state->segment = (uint64_t)query_get_int(&query, 1);
	ret_state->records = (uint64_t)query_get_int(&query, 2);
	return 1;
}

/* The site, made when new: a base may name one of which nothing was read. */
static int need_site(struct db *db, const char *site, struct site_state *ret_state)
{
	struct query query;
	int r = get_site(db, site, ret_state);

	if (r != 0)
		return r < 0 ? r : 0;
	query = query_start(db, &sql_new_site);
	query_text(&query, site);
	r = query_run(&query);
	if (r < 0)
		return r;
	*ret_state = (struct site_state){ .id = sqlite3_last_insert_rowid(db->sqlite) };
	return 0;
}

static struct query about_version(struct db *db, const struct statement *statement, int64_t site,
				  uint64_t seq)
{
	struct query query = query_start(db, statement);

	query_int(&query, site);
	query_int(&query, (int64_t)seq);
	return query;
}

static int run_version(struct db *db, const struct statement *statement, int64_t site, uint64_t seq)
{
	struct query query = about_version(db, statement, site, seq);

	return query_run(&query);
}

static int note_unshown(struct db *db, const char *path)
{
	struct query query = query_start(db, &sql_note_unshown);

	query_bytes(&query, path);
	return query_run(&query);
}

struct apply_step {
	struct step step;
	const struct sync_segment *segment; /* the caller's, who waits */
	int64_t site;
	char *folder; /* whose folders above were looked at last; owned while it runs */
};

/* What lies in a folder decides whether a file may have its name: look at those again. */
static int note_above(struct db *db, struct apply_step *apply, const char *path)
{
	cleanup_free char *above = strdup(path);
	char *slash;
	int r;

	if (!above)
		return db_fail(db, -ENOMEM);
	slash = strrchr(above, '/');
	if (slash)
		*slash = '\0';
	if (!slash || (apply->folder && strcmp(apply->folder, above) == 0))
		return 0;
	free(apply->folder);
	apply->folder = strdup(above);
	for (; slash; slash = strrchr(above, '/')) {
		struct query query = query_start(db, &sql_is_not_folder);

		*slash = '\0';
		query_bytes(&query, above);
		r = query_found(&query);
		if (r > 0)
			r = note_unshown(db, above);
		if (r < 0)
			return r;
	}
	return 0;
}

/* 1: found; the caller frees *ret_path. *ret_shown tells whether it is in our tree. */
static int find_version(struct db *db, int64_t site, uint64_t seq, char **ret_path, bool *ret_shown)
{
	cleanup_query struct query query = about_version(db, &sql_version, site, seq);
	size_t length;
	int r = query_row(&query);

	if (r <= 0)
		return r;
	r = query_copy_bytes(&query, 0, ret_path);
	if (r < 0)
		return db_fail(db, r);
	(void)query_get_blob(&query, 1, &length);
	*ret_shown = length > 0;
	return 1;
}

/* A version not read yet: remember that it will be dead. One read and dropped is dead already. */
static int supersede(struct db *db, const struct site_state *site, uint64_t seq)
{
	if (seq <= site->records)
		return 0;
	return run_version(db, &sql_supersede, site->id, seq);
}

/* @own: our tree has what replaces it already, so it is not shown any more. */
static int apply_base(struct db *db, struct apply_step *apply, const struct version_id *base,
		      bool own)
{
	cleanup_free char *path = NULL;
	struct site_state site;
	bool is_shown = false;
	int r;

	r = need_site(db, base->site, &site);
	if (r < 0)
		return r;
	r = find_version(db, site.id, base->seq, &path, &is_shown);
	if (r < 0)
		return r;
	if (r == 0)
		return supersede(db, &site, base->seq);
	r = run_version(db, own || !is_shown ? &sql_drop : &sql_kill, site.id, base->seq);
	if (r == 0)
		r = note_unshown(db, path);
	if (r == 0)
		r = note_above(db, apply, path);
	return r;
}

static void bind_file(struct query *query, const struct version_body *body, const void *map)
{
	query_int(query, (int64_t)body->size);
	query_blob(query, body->digest.bytes, sizeof(body->digest.bytes));
	query_blob(query, map, blockmap_packed_bytes(&body->map));
	query_text(query, body->tier);
	if (body->key)
		query_bytes(query, body->key);
	else
		query_text(query, NULL);
}

static int insert_version(struct db *db, const struct apply_step *apply, uint64_t seq,
			  const struct sync_record *record, const char *shown)
{
	const struct version_body *body = &record->body;
	cleanup_free uint8_t *map = malloc(blockmap_packed_bytes(&body->map) + 1);
	struct query query;

	if (!map)
		return db_fail(db, -ENOMEM);
	blockmap_pack(&body->map, map);
	query = about_version(db, &sql_put_version, apply->site, seq);
	query_int(&query, (int64_t)apply->segment->position.lamport);
	query_bytes(&query, record->path);
	query_int(&query, body->kind);
	query_int(&query, body->mode);
	query_int(&query, body->mtime_ns);
	bind_file(&query, body, map);
	if (body->target)
		query_bytes(&query, body->target);
	else
		query_text(&query, NULL);
	if (shown)
		query_bytes(&query, shown);
	else
		query_text(&query, NULL);
	return query_run(&query);
}

/* Our own tree shows it already: only others of that path may have to make room. */
static int note_others(struct db *db, const struct apply_step *apply, uint64_t seq,
		       const char *path)
{
	struct query query = query_start(db, &sql_has_other);
	int r;

	query_bytes(&query, path);
	query_int(&query, apply->site);
	query_int(&query, (int64_t)seq);
	r = query_found(&query);
	return r > 0 ? note_unshown(db, path) : r;
}

static int apply_put(struct db *db, struct apply_step *apply, uint64_t seq,
		     const struct sync_record *record, const char *shown)
{
	struct query query = about_version(db, &sql_is_superseded, apply->site, seq);
	int r = query_found(&query);

	if (r < 0)
		return r;
	if (r > 0)
		return run_version(db, &sql_forget_superseded, apply->site, seq);
	r = insert_version(db, apply, seq, record, shown);
	if (r < 0)
		return r;
	r = shown ? note_others(db, apply, seq, record->path) : note_unshown(db, record->path);
	return r < 0 ? r : note_above(db, apply, record->path);
}

/* Another site has this under the key of a copy that is something else? */
static int doubt_copies(struct db *db, const struct sync_segment *segment, size_t i)
{
	const struct version_body *body = &segment->records[i].body;

	if (!segment->tiers || !segment->tiers[i])
		return 0;
	return db_doubt_others(db, segment->tiers[i], body->key, &body->digest);
}

static int apply_records(struct db *db, struct apply_step *apply)
{
	const struct sync_segment *segment = apply->segment;

	for (size_t i = 0; i < segment->count; i++) {
		const struct sync_record *record = &segment->records[i];
		const char *shown = segment->shown ? segment->shown[i] : NULL;
		int r = 0;

		for (size_t j = 0; r == 0 && j < record->base_count; j++)
			r = apply_base(db, apply, &record->base[j], segment->shown != NULL);
		if (r == 0)
			r = doubt_copies(db, segment, i);
		if (r == 0 && record->verb == RECORD_PUT)
			r = apply_put(db, apply, segment->first + i, record, shown);
		if (r < 0)
			return r;
	}
	return 0;
}

static int move_site(struct db *db, const struct apply_step *apply)
{
	const struct sync_position *position = &apply->segment->position;
	struct query query = query_start(db, &sql_move_site);

	query_int(&query, apply->site);
	query_text(&query, position->name);
	query_int(&query, (int64_t)position->segment);
	query_int(&query, (int64_t)position->records);
	query_int(&query, (int64_t)position->lamport);
	query_blob(&query, position->chain, sizeof(position->chain));
	return query_run(&query);
}

static int put_outbox(struct db *db, const struct sync_segment *segment)
{
	struct query query = query_start(db, &sql_outbox);

	query_int(&query, (int64_t)segment->position.segment);
	query_blob(&query, segment->outbox, segment->outbox_bytes);
	return query_run(&query);
}

static int apply_segment(struct db *db, struct step *step)
{
	struct apply_step *apply = (struct apply_step *)step;
	const struct sync_segment *segment = apply->segment;
	struct site_state site = { 0 };
	int r;

	r = get_site(db, segment->position.site, &site);
	if (r < 0)
		return r;
	if (segment->position.segment != site.segment + 1 || segment->first != site.records + 1 ||
	    segment->position.records != site.records + segment->count)
		return -ESTALE;
	r = need_site(db, segment->position.site, &site);
	if (r < 0)
		return r;
	apply->site = site.id;
	r = apply_records(db, apply);
	free(apply->folder);
	if (r == 0)
		r = move_site(db, apply);
	if (r == 0 && segment->outbox)
		r = put_outbox(db, segment);
	if (r == 0 && !segment->shown)
		(void)atomic_fetch_add(&db->catalog->told, 1);
	return r;
}

int catalog_apply_segment(struct catalog *catalog, const struct sync_segment *segment)
{
	struct apply_step *apply = step_new(sizeof(*apply), apply_segment);

	if (!apply)
		return -ENOMEM;
	apply->segment = segment;
	return step_submit(catalog, &apply->step, segment->outbox ? STEP_DURABLE : STEP_WAIT);
}

struct outbox_step {
	struct step step;
	uint64_t segment;
};

static int apply_remove_outbox(struct db *db, struct step *step)
{
	struct query query = query_start(db, &sql_remove_outbox);

	query_int(&query, (int64_t)((struct outbox_step *)step)->segment);
	return query_run(&query);
}

int catalog_remove_outbox(struct catalog *catalog, uint64_t segment)
{
	struct outbox_step *outbox = step_new(sizeof(*outbox), apply_remove_outbox);

	if (!outbox)
		return -ENOMEM;
	outbox->segment = segment;
	return step_submit(catalog, &outbox->step, 0);
}

struct shown_step {
	struct step step;
	struct version_id id;
	bool is_shown;
	char path[];
};

static int apply_shown(struct db *db, struct step *step)
{
	struct shown_step *shown = (struct shown_step *)step;
	struct site_state site;
	struct query query;
	int r;

	r = get_site(db, shown->id.site, &site);
	if (r <= 0)
		return r < 0 ? r : -ESTALE;
	query = about_version(db, &sql_show, site.id, shown->id.seq);
	if (shown->is_shown)
		query_bytes(&query, shown->path);
	else
		query_text(&query, NULL);
	r = query_run(&query);
	if (r == 0 && !shown->is_shown)
		r = run_version(db, &sql_drop_dead, site.id, shown->id.seq);
	return r;
}

int catalog_set_shown(struct catalog *catalog, const struct version_id *id, const char *path)
{
	size_t length = path ? strlen(path) : 0;
	struct shown_step *shown = step_new(sizeof(*shown) + length + 1, apply_shown);

	if (!shown)
		return -ENOMEM;
	shown->id = *id;
	shown->is_shown = path != NULL;
	if (path)
		memcpy(shown->path, path, length + 1);
	return step_submit(catalog, &shown->step, 0);
}

static int apply_reset(struct db *db, struct step *step)
{
	int r;

	(void)step;
	r = db_exec(db, "DELETE FROM versions; DELETE FROM superseded; DELETE FROM sites;"
			"DELETE FROM outbox; DELETE FROM unshown;");
	return r < 0 ? db_fail(db, r) : note_path(db, "", NOTE_SUBTREE);
}

int catalog_reset_sync(struct catalog *catalog)
{
	struct step *step = step_new(sizeof(*step), apply_reset);

	return step ? step_submit(catalog, step, STEP_DURABLE) : -ENOMEM;
}
