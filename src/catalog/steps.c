/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The steps of a file's life. Each looks at the row first: another generation, or a step
 * that state.c or the row itself forbids, gives -ESTALE and changes nothing.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "catalog/contents.h"
#include "catalog/private.h"

STATEMENT(sql_begin, "UPDATE inodes SET generation = ?2, state = 1, state_ns = ?3,"
		     " content = 0, error = 0 WHERE id = ?1");
STATEMENT(sql_unqueue, "DELETE FROM queue WHERE id = ?1");
STATEMENT(sql_forget_received, "DELETE FROM received WHERE id = ?1");
STATEMENT(sql_received, "UPDATE inodes SET state = 2, state_ns = ?2, mtime_ns = ?3,"
			" ctime_ns = ?4, size = ?5, resident = ?5 WHERE id = ?1");
STATEMENT(sql_keep_received, "INSERT INTO received(id, generation, size, digest, map)"
			     " VALUES(?1, ?2, ?3, ?4, ?5) ON CONFLICT(id) DO UPDATE SET"
			     " generation = excluded.generation, size = excluded.size,"
			     " digest = excluded.digest, map = excluded.map");
STATEMENT(sql_get_received, "SELECT size, digest, map FROM received"
			    " WHERE id = ?1 AND generation = ?2");
STATEMENT(sql_verified, "UPDATE inodes SET state = 3, state_ns = ?2, content = ?3, error = 0,"
			" resident = size, checked_ns = ?4 WHERE id = ?1");
STATEMENT(sql_damaged, "UPDATE inodes SET state = 9, state_ns = ?2, error = ?3 WHERE id = ?1");
STATEMENT(sql_state, "UPDATE inodes SET state = ?2, state_ns = ?3, error = ?4 WHERE id = ?1");
STATEMENT(sql_resident, "UPDATE inodes SET resident = ?3 WHERE id = ?1 AND generation = ?2");

struct life_step {
	struct step step;
	uint64_t id, generation;
	enum file_state state;
	uint64_t resident_bytes;
	int error;
	int64_t mtime_ns, ctime_ns;
	bool has_digest;
	struct digest digest;
	uint64_t size;
	size_t map_bytes;
	uint8_t map[];
};

/* A step about bytes: with @map packed behind it. */
static struct life_step *new_step(step_fn apply, uint64_t id, uint64_t generation,
				  const struct blockmap *map)
{
	size_t bytes = map ? blockmap_packed_bytes(map) : 0;
	struct life_step *life = step_new(sizeof(*life) + bytes, apply);

	if (!life)
		return NULL;
	life->id = id;
	life->generation = generation;
	life->map_bytes = bytes;
	if (map) {
		life->size = map->size;
		blockmap_pack(map, life->map);
	}
	return life;
}

static int run_with_id(struct db *db, const struct statement *statement, uint64_t id)
{
	struct query query = query_start(db, statement);

	query_int(&query, (int64_t)id);
	return query_run(&query);
}

int db_may_step(struct db *db, uint64_t id, uint64_t generation, enum file_state to,
		struct node_row *ret_row)
{
	struct node_row row;
	int r;

	r = db_get_node(db, id, &row);
	if (r < 0)
		return r;
	if (r == 0 || !S_ISREG(row.mode) || row.generation != generation)
		return -ESTALE;
	if (!file_state_may(row.state, to))
		return -ESTALE;
	/* An error sticks to its generation. Only a repair, out of DAMAGED, ends it. */
	if (row.error && row.state != FILE_DAMAGED && file_state_is_verified(to))
		return -ESTALE;
	*ret_row = row;
	return 0;
}

static int apply_begin(struct db *db, struct step *step)
{
	struct life_step *life = (struct life_step *)step;
	struct node_row row;
	struct query query;
	int r;

	r = db_get_node(db, life->id, &row);
	if (r < 0)
		return r;
	if (r == 0 || !S_ISREG(row.mode) || life->generation < row.generation)
		return -ESTALE;
	query = query_start(db, &sql_begin);
	query_int(&query, (int64_t)life->id);
	query_int(&query, (int64_t)life->generation);
	query_int(&query, step->time_ns);
	r = query_run(&query);
	if (r == 0)
		r = run_with_id(db, &sql_forget_received, life->id);
	/* What was queued is another version of the bytes. */
	return r < 0 ? r : run_with_id(db, &sql_unqueue, life->id);
}

int catalog_begin_generation(struct catalog *catalog, uint64_t id, uint64_t generation)
{
	struct life_step *life = step_new_reserved(sizeof(*life), apply_begin);

	if (!life)
		return -ENOMEM;
	life->id = id;
	life->generation = generation;
	return step_submit(catalog, &life->step, 0);
}

static int apply_received(struct db *db, struct step *step)
{
	struct life_step *life = (struct life_step *)step;
	struct node_row row;
	struct query query;
	int r;

	r = db_may_step(db, life->id, life->generation, FILE_RECEIVED, &row);
	if (r < 0)
		return r;
	query = query_start(db, &sql_received);
	query_int(&query, (int64_t)life->id);
	query_int(&query, step->time_ns);
	query_int(&query, life->mtime_ns);
	query_int(&query, life->ctime_ns);
	query_int(&query, (int64_t)life->size);
	r = query_run(&query);
	if (r < 0)
		return r;
	query = query_start(db, &sql_keep_received);
	query_int(&query, (int64_t)life->id);
	query_int(&query, (int64_t)life->generation);
	query_int(&query, (int64_t)life->size);
	if (life->has_digest)
		query_blob(&query, life->digest.bytes, sizeof(life->digest.bytes));
	else
		query_text(&query, NULL);
	query_blob(&query, life->map, life->map_bytes);
	return query_run(&query);
}

int catalog_set_received(struct catalog *catalog, uint64_t id, uint64_t generation,
			 int64_t mtime_ns, int64_t ctime_ns, const struct blockmap *map,
			 const struct digest *digest, enum step_flags flags)
{
	struct life_step *life;

	if (map->size > INT64_MAX)
		return -EINVAL;
	life = new_step(apply_received, id, generation, map);
	if (!life)
		return -ENOMEM;
	life->mtime_ns = mtime_ns;
	life->ctime_ns = ctime_ns;
	life->has_digest = digest != NULL;
	if (digest)
		life->digest = *digest;
	return step_submit(catalog, &life->step, flags);
}

int catalog_get_received(struct catalog *catalog, uint64_t id, uint64_t generation,
			 struct blockmap *ret_map, struct digest *ret_digest, bool *ret_has_digest)
{
	cleanup_reader struct db *db = NULL;
	cleanup_query struct query query = { 0 };
	struct digest digest = { 0 };
	size_t length;
	int64_t size;
	int r;

	r = reader_take(catalog, &db);
	if (r < 0)
		return r;
	query = query_start(db, &sql_get_received);
	query_int(&query, (int64_t)id);
	query_int(&query, (int64_t)generation);
	r = query_row(&query);
	if (r <= 0)
		return r;
	size = query_get_int(&query, 0);
	(void)query_get_blob(&query, 1, &length);
	r = length > 0 ? query_get_digest(&query, 1, &digest) : 0;
	if (r < 0 || size < 0)
		return -EUCLEAN;
	r = query_get_map(&query, 2, (uint64_t)size, ret_map);
	if (r < 0)
		return r;
	*ret_digest = digest;
	*ret_has_digest = length > 0;
	return 1;
}

static int apply_verified(struct db *db, struct step *step)
{
	struct life_step *life = (struct life_step *)step;
	struct node_row row;
	struct query query;
	uint64_t content;
	int r;

	r = db_may_step(db, life->id, life->generation, FILE_VERIFIED, &row);
	if (r < 0)
		return r;
	if (row.size != life->size)
		return -ESTALE;
	r = db_put_content(db, life->size, &life->digest, life->map, life->map_bytes, &content);
	if (r < 0)
		return r;
	/* One generation is one version of the bytes: other bytes now are not those verified
	 * before. (A content row made here for them stays and harms nobody.) */
	if (row.content && row.content != content)
		return -EBADMSG;
	query = query_start(db, &sql_verified);
	query_int(&query, (int64_t)life->id);
	query_int(&query, row.state == FILE_VERIFIED ? row.state_ns : step->time_ns);
	query_int(&query, (int64_t)content);
	query_int(&query, step->time_ns);
	r = query_run(&query);
	if (r == 0)
		r = run_with_id(db, &sql_forget_received, life->id);
	if (r == 0)
		r = db_note_unsettled(db, life->id, step->time_ns);
	return r < 0 ? r : note_node(db, life->id);
}

int catalog_set_verified(struct catalog *catalog, uint64_t id, uint64_t generation,
			 const struct digest *digest, const struct blockmap *map,
			 enum step_flags flags)
{
	struct life_step *life;

	if (map->size > INT64_MAX)
		return -EINVAL;
	life = new_step(apply_verified, id, generation, map);
	if (!life)
		return -ENOMEM;
	life->digest = *digest;
	return step_submit(catalog, &life->step, flags);
}

static int apply_damaged(struct db *db, struct step *step)
{
	struct life_step *life = (struct life_step *)step;
	struct node_row row;
	struct query query;
	int r;

	r = db_may_step(db, life->id, life->generation, FILE_DAMAGED, &row);
	if (r < 0)
		return r;
	query = query_start(db, &sql_damaged);
	query_int(&query, (int64_t)life->id);
	query_int(&query, row.state == FILE_DAMAGED ? row.state_ns : step->time_ns);
	query_int(&query, row.error ? row.error : life->error); /* the first tells the cause */
	r = query_run(&query);
	/* Never sent. */
	return r < 0 ? r : run_with_id(db, &sql_unqueue, life->id);
}

int catalog_set_damaged(struct catalog *catalog, uint64_t id, uint64_t generation, int error,
			enum step_flags flags)
{
	struct life_step *life = new_step(apply_damaged, id, generation, NULL);

	if (!life)
		return -ENOMEM;
	life->error = error < 0 ? error : -EIO;
	return step_submit(catalog, &life->step, flags);
}

/* What a state claims must be so: verified has a content, stored has a good copy. */
static int check_claim(struct db *db, const struct node_row *row, enum file_state to)
{
	int r;

	if (!file_state_is_verified(to))
		return 0;
	if (row->content == 0)
		return -ESTALE;
	if (!file_state_is_stored(to) || to == FILE_HYDRATING)
		return 0;
	/* Out of EVICTED and HYDRATING nothing is claimed that was not before. */
	if (row->state == FILE_EVICTED || row->state == FILE_HYDRATING || row->state == to)
		return 0;
	r = db_has_good_copy(db, row->content);
	return r == 0 ? -ESTALE : (r < 0 ? r : 0);
}

static int apply_state(struct db *db, struct step *step)
{
	struct life_step *life = (struct life_step *)step;
	struct node_row row;
	struct query query;
	int r;

	r = db_may_step(db, life->id, life->generation, life->state, &row);
	if (r == 0)
		r = check_claim(db, &row, life->state);
	if (r < 0 || row.state == life->state)
		return r;
	query = query_start(db, &sql_state);
	query_int(&query, (int64_t)life->id);
	query_int(&query, life->state);
	query_int(&query, step->time_ns);
	query_int(&query, file_state_is_verified(life->state) ? 0 : row.error);
	r = query_run(&query);
	if (r < 0 || file_state_is_stored(row.state))
		return r;
	/* Others are told of what is verified and of what is stored, not of the way there. */
	if (life->state == FILE_VERIFIED || file_state_is_stored(life->state))
		return note_node(db, life->id);
	return 0;
}

int catalog_set_state(struct catalog *catalog, uint64_t id, uint64_t generation,
		      enum file_state state, enum step_flags flags)
{
	struct life_step *life;

	if (state == FILE_DAMAGED)
		return catalog_set_damaged(catalog, id, generation, -EBADMSG, flags);
	life = new_step(apply_state, id, generation, NULL);
	if (!life)
		return -ENOMEM;
	life->state = state;
	return step_submit(catalog, &life->step, flags);
}

static int apply_resident(struct db *db, struct step *step)
{
	struct life_step *life = (struct life_step *)step;
	struct query query = query_start(db, &sql_resident);

	query_int(&query, (int64_t)life->id);
	query_int(&query, (int64_t)life->generation);
	query_int(&query, (int64_t)life->resident_bytes);
	return query_run(&query);
}

int catalog_set_resident(struct catalog *catalog, uint64_t id, uint64_t generation,
			 uint64_t resident_bytes)
{
	struct life_step *life;

	if (resident_bytes > INT64_MAX)
		return -EINVAL;
	life = new_step(apply_resident, id, generation, NULL);
	if (!life)
		return -ENOMEM;
	life->resident_bytes = resident_bytes;
	return step_submit(catalog, &life->step, 0);
}
