/* SPDX-License-Identifier: Apache-2.0 */
/* Files that another site has: their content is known here, their bytes are not. */
#include <errno.h>
#include <sys/stat.h>

#include "catalog/contents.h"
#include "catalog/private.h"

STATEMENT(sql_placeholder, "UPDATE inodes SET state = ?2, state_ns = ?3, content = ?4"
			   " WHERE id = ?1");
STATEMENT(sql_content_size, "SELECT size FROM contents WHERE id = ?1");

struct placeholder_step {
	struct step step;
	uint64_t id, generation;
	uint64_t content;
	enum file_state state;
};

/* 1 when @content exists with @size bytes, 0 not. */
static int has_content(struct db *db, uint64_t content, uint64_t size)
{
	cleanup_query struct query query = query_start(db, &sql_content_size);
	int r;

	query_int(&query, (int64_t)content);
	r = query_row(&query);
	return r <= 0 ? r : (uint64_t)query_get_int(&query, 0) == size;
}

/* A row just made for it is RECEIVING without content. Bytes that exist only here are none. */
static bool may_be_placeholder(const struct node_row *row, enum file_state to)
{
	if (row->state == FILE_RECEIVING)
		return row->content == 0;
	return (row->state == FILE_ANNOUNCED || row->state == FILE_EVICTED) &&
	       (to == FILE_ANNOUNCED || to == FILE_EVICTED);
}

static int apply_placeholder(struct db *db, struct step *step)
{
	struct placeholder_step *place = (struct placeholder_step *)step;
	struct node_row row;
	struct query query;
	int r;

	r = db_get_node(db, place->id, &row);
	if (r < 0)
		return r;
	if (r == 0 || row.generation != place->generation || !S_ISREG(row.mode))
		return -ESTALE;
	if (!may_be_placeholder(&row, place->state))
		return -ESTALE;
	r = has_content(db, place->content, row.size);
	if (r <= 0)
		return r < 0 ? r : -ESTALE;
	query = query_start(db, &sql_placeholder);
	query_int(&query, (int64_t)place->id);
	query_int(&query, place->state);
	query_int(&query, step->time_ns);
	query_int(&query, (int64_t)place->content);
	r = query_run(&query);
	if (r < 0)
		return r;
	db_want_if_pinned(db, &row, place->state);
	return note_node(db, place->id);
}

int catalog_set_placeholder(struct catalog *catalog, uint64_t id, uint64_t generation,
			    uint64_t content, enum file_state state)
{
	struct placeholder_step *place;

	if (state != FILE_EVICTED && state != FILE_ANNOUNCED)
		return -EINVAL;
	place = step_new(sizeof(*place), apply_placeholder);
	if (!place)
		return -ENOMEM;
	place->id = id;
	place->generation = generation;
	place->content = content;
	place->state = state;
	return step_submit(catalog, &place->step, 0);
}
