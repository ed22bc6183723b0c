/* SPDX-License-Identifier: Apache-2.0 */
/* The transfer queue, and the step to STORED, which ends a row of it. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "catalog/contents.h"
#include "catalog/private.h"

#define PAGE_ROWS 256
#define PAGE_LIMIT " LIMIT 256"
/* class * QUEUE_AGEING_NS + queued_ns must fit. */
#define CLASS_MAX 1000000u
#define QUEUE_COLUMNS                                                                              \
	"id, generation, tier, class, size, queued_ns, due_ns, attempts, error, poison"

STATEMENT(sql_put, "INSERT INTO queue(" QUEUE_COLUMNS ", rank)"
		   " VALUES(?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11)"
		   " ON CONFLICT(id, tier) DO UPDATE SET generation = excluded.generation,"
		   " class = excluded.class, size = excluded.size,"
		   " queued_ns = excluded.queued_ns, due_ns = excluded.due_ns,"
		   " attempts = excluded.attempts, error = excluded.error,"
		   " poison = excluded.poison, rank = excluded.rank");
STATEMENT(sql_state, "UPDATE inodes SET state = ?2, state_ns = ?3 WHERE id = ?1");
STATEMENT(sql_retry, "UPDATE queue SET attempts = attempts + 1, due_ns = ?3, error = ?4,"
		     " poison = ?5 WHERE id = ?1 AND tier = ?2 AND generation = ?6");
STATEMENT(sql_refused, "INSERT INTO refusals(id, tier, text) SELECT id, tier, ?4 FROM queue"
		       " WHERE id = ?1 AND tier = ?2 AND generation = ?3"
		       " ON CONFLICT(id, tier) DO UPDATE SET text = excluded.text");
STATEMENT(sql_why, "SELECT text FROM refusals WHERE id = ?1 AND tier = ?2 AND text != ''");
STATEMENT(sql_remove, "DELETE FROM queue WHERE id = ?1 AND tier = ?2 AND generation = ?3");
STATEMENT(sql_any, "SELECT 1 FROM queue WHERE id = ?1 LIMIT 1");
/* In the order of rank: most rows are due, so few are passed over. */
STATEMENT(sql_next, "SELECT " QUEUE_COLUMNS
		    " FROM queue INDEXED BY queue_rank WHERE tier = ?1 AND poison = ?4"
		    " AND due_ns <= ?2 AND class < ?5 ORDER BY rank, id LIMIT ?3");
STATEMENT(sql_due, "SELECT due_ns FROM queue WHERE tier = ?1 AND poison = ?2"
		   " ORDER BY due_ns LIMIT 1");
SCAN_STATEMENT(sql_hasten, "UPDATE queue SET due_ns = iif(attempts > 0, ?1, ?2)"
			   " WHERE due_ns > iif(attempts > 0, ?1, ?2)");
SCAN_STATEMENT(sql_hasten_rank, "UPDATE queue SET rank = rank - queued_ns + ?1, queued_ns = ?1"
				" WHERE queued_ns > ?1");
SCAN_STATEMENT(sql_afresh, "UPDATE queue SET attempts = 0, poison = 0 WHERE attempts > 0");
STATEMENT(sql_page, "SELECT " QUEUE_COLUMNS " FROM queue WHERE (id, tier) > (?1, ?2)"
		    " ORDER BY id, tier" PAGE_LIMIT);
STATEMENT(sql_totals, "SELECT files, bytes, poison FROM queue_totals WHERE tier = ?1");
SCAN_STATEMENT(sql_all_totals, "SELECT sum(files), sum(bytes), sum(poison) FROM queue_totals");

STATEMENT(sql_is_recorded, "SELECT 1 FROM copies WHERE tier = ?1 AND key = ?2 AND content = ?3"
			   " AND bad = 0");
STATEMENT(sql_leftover, "SELECT CAST(substr(key, ?4) AS INTEGER), value FROM meta"
			" WHERE key > ?1 AND key < ?2 AND NOT EXISTS (SELECT 1 FROM inodes, queue"
			" WHERE inodes.content > 0"
			" AND inodes.content = CAST(substr(meta.key, ?4) AS INTEGER)"
			" AND queue.id = inodes.id AND queue.tier = ?3) LIMIT 1");

struct queue_step {
	struct step step;
	struct queue_row row;
};

static int set_state(struct db *db, uint64_t id, enum file_state state, int64_t now_ns)
{
	struct query query = query_start(db, &sql_state);

	query_int(&query, (int64_t)id);
	query_int(&query, state);
	query_int(&query, now_ns);
	return query_run(&query);
}

static int put_row(struct db *db, const struct queue_row *row)
{
	struct query query = query_start(db, &sql_put);

	query_int(&query, (int64_t)row->id);
	query_int(&query, (int64_t)row->generation);
	query_int(&query, row->tier);
	query_int(&query, row->class);
	query_int(&query, (int64_t)row->size);
	query_int(&query, row->queued_ns);
	query_int(&query, row->due_ns);
	query_int(&query, row->attempts);
	query_int(&query, row->error);
	query_int(&query, row->poison);
	query_int(&query, row->class * QUEUE_AGEING_NS + row->queued_ns);
	return query_run(&query);
}

static int apply_enqueue(struct db *db, struct step *step)
{
	const struct queue_row *row = &((struct queue_step *)step)->row;
	struct node_row node;
	int r;

	r = db_get_node(db, row->id, &node);
	if (r < 0)
		return r;
	/* Only what is verified is ever sent. */
	if (r == 0 || node.generation != row->generation || node.error ||
	    !file_state_is_verified(node.state))
		return -ESTALE;
	r = put_row(db, row);
	if (r < 0 || node.state != FILE_VERIFIED)
		return r;
	return set_state(db, row->id, FILE_QUEUED, step->time_ns);
}

int catalog_enqueue(struct catalog *catalog, const struct queue_row *row, enum step_flags flags)
{
	struct queue_step *queue;

	if (row->class > CLASS_MAX || row->size > INT64_MAX || row->tier == 0 || row->error > 0)
		return -EINVAL;
	queue = step_new(sizeof(*queue), apply_enqueue);
	if (!queue)
		return -ENOMEM;
	queue->row = *row;
	return step_submit(catalog, &queue->step, flags);
}

struct retry_step {
	struct step step;
	struct queue_row row;
	char why[];
};

static int keep_why(struct db *db, const struct retry_step *retry)
{
	struct query query = query_start(db, &sql_refused);

	query_int(&query, (int64_t)retry->row.id);
	query_int(&query, retry->row.tier);
	query_int(&query, (int64_t)retry->row.generation);
	query_text(&query, retry->why);
	return query_run(&query);
}

static int apply_retry(struct db *db, struct step *step)
{
	const struct retry_step *retry = (const struct retry_step *)step;
	const struct queue_row *row = &retry->row;
	struct query query = query_start(db, &sql_retry);
	int r;

	query_int(&query, (int64_t)row->id);
	query_int(&query, row->tier);
	query_int(&query, row->due_ns);
	query_int(&query, row->error);
	query_int(&query, row->poison);
	query_int(&query, (int64_t)row->generation);
	r = query_run(&query);
	return r < 0 ? r : keep_why(db, retry);
}

int catalog_queue_retry(struct catalog *catalog, uint64_t id, uint64_t generation, uint32_t tier,
			int64_t due_ns, int error, bool poison, const char *why)
{
	size_t bytes = strlen(why) + 1;
	struct retry_step *retry = step_new(sizeof(*retry) + bytes, apply_retry);

	if (!retry)
		return -ENOMEM;
	retry->row = (struct queue_row){
		.id = id,
		.generation = generation,
		.tier = tier,
		.due_ns = due_ns,
		.error = error,
		.poison = poison,
	};
	memcpy(retry->why, why, bytes);
	return step_submit(catalog, &retry->step, 0);
}

int catalog_queue_why(struct catalog *catalog, uint64_t id, uint32_t tier, char **ret_why)
{
	cleanup_reader struct db *db = NULL;
	cleanup_query struct query query = { 0 };
	int r = reader_take(catalog, &db);

	if (r < 0)
		return r;
	query = query_start(db, &sql_why);
	query_int(&query, (int64_t)id);
	query_int(&query, tier);
	r = query_row(&query);
	if (r <= 0)
		return r;
	*ret_why = strdup(query_get_text(&query, 0));
	return *ret_why ? 1 : -ENOMEM;
}

struct hasten_step {
	struct step step;
	int64_t now_ns, settled_ns;
	enum hasten_flags flags;
};

static int apply_hasten(struct db *db, struct step *step)
{
	const struct hasten_step *hasten = (const struct hasten_step *)step;
	struct query query = query_start(db, &sql_hasten);
	int r;

	query_int(&query, hasten->now_ns);
	query_int(&query, hasten->settled_ns);
	r = query_run(&query);
	if (r < 0)
		return r;
	query = query_start(db, &sql_hasten_rank);
	query_int(&query, hasten->now_ns);
	r = query_run(&query);
	if (r < 0 || !(hasten->flags & HASTEN_AFRESH))
		return r;
	query = query_start(db, &sql_afresh);
	return query_run(&query);
}

int catalog_queue_hasten(struct catalog *catalog, int64_t now_ns, int64_t settled_ns,
			 enum hasten_flags flags)
{
	struct hasten_step *hasten = step_new(sizeof(*hasten), apply_hasten);

	if (!hasten)
		return -ENOMEM;
	hasten->now_ns = now_ns;
	hasten->settled_ns = settled_ns;
	hasten->flags = flags;
	return step_submit(catalog, &hasten->step, 0);
}

/* 1 when any tier still waits for @id. */
static int is_queued(struct db *db, uint64_t id)
{
	struct query query = query_start(db, &sql_any);

	query_int(&query, (int64_t)id);
	return query_found(&query);
}

static int remove_row(struct db *db, uint64_t id, uint64_t generation, uint32_t tier)
{
	struct query query = query_start(db, &sql_remove);

	query_int(&query, (int64_t)id);
	query_int(&query, tier);
	query_int(&query, (int64_t)generation);
	return query_run(&query);
}

static int apply_dequeue(struct db *db, struct step *step)
{
	const struct queue_row *row = &((struct queue_step *)step)->row;

	return remove_row(db, row->id, row->generation, row->tier);
}

int catalog_dequeue(struct catalog *catalog, uint64_t id, uint64_t generation, uint32_t tier)
{
	struct queue_step *queue = step_new(sizeof(*queue), apply_dequeue);

	if (!queue)
		return -ENOMEM;
	queue->row.id = id;
	queue->row.generation = generation;
	queue->row.tier = tier;
	return step_submit(catalog, &queue->step, 0);
}

static int read_row(struct query *query, struct queue_row *ret_row)
{
	int64_t tier = query_get_int(query, 2);

	if (tier <= 0 || tier > UINT32_MAX || query_get_int(query, 8) > 0)
		return -EUCLEAN;
	*ret_row = (struct queue_row){
		.id = (uint64_t)query_get_int(query, 0),
		.generation = (uint64_t)query_get_int(query, 1),
		.tier = (uint32_t)tier,
		.class = (unsigned)query_get_int(query, 3),
		.size = (uint64_t)query_get_int(query, 4),
		.queued_ns = query_get_int(query, 5),
		.due_ns = query_get_int(query, 6),
		.attempts = (uint32_t)query_get_int(query, 7),
		.error = (int)query_get_int(query, 8),
		.poison = query_get_int(query, 9) != 0,
	};
	return 0;
}

static int read_rows(struct query *query, struct queue_row *rows, size_t max)
{
	size_t count = 0;
	int r = 0;

	while (count < max && (r = query_row(query)) > 0) {
		r = read_row(query, &rows[count]);
		if (r < 0)
			return r;
		count++;
	}
	return r < 0 ? r : (int)count;
}

static int read_next(struct db *db, uint32_t tier, unsigned class_end, int64_t now_ns, bool poison,
		     struct queue_row *rows, size_t max)
{
	cleanup_query struct query query = query_start(db, &sql_next);

	query_int(&query, tier);
	query_int(&query, now_ns);
	query_int(&query, (int64_t)max);
	query_int(&query, poison);
	query_int(&query, class_end);
	return read_rows(&query, rows, max);
}

int catalog_queue_next(struct catalog *catalog, uint32_t tier, unsigned class_end, int64_t now_ns,
		       struct queue_row *ret_rows, size_t max)
{
	cleanup_reader struct db *db = NULL;
	int r;

	if (max > INT32_MAX)
		max = INT32_MAX;
	r = reader_take(catalog, &db);
	if (r == 0)
		r = read_next(db, tier, class_end, now_ns, false, ret_rows, max);
	return r == 0 ? read_next(db, tier, class_end, now_ns, true, ret_rows, max) : r;
}

/* INT64_MAX: none. */
static int read_due(struct db *db, uint32_t tier, bool poison, int64_t *ret_due_ns)
{
	cleanup_query struct query query = query_start(db, &sql_due);
	int r;

	query_int(&query, tier);
	query_int(&query, poison);
	r = query_row(&query);
	if (r < 0)
		return r;
	*ret_due_ns = r > 0 ? query_get_int(&query, 0) : INT64_MAX;
	return 0;
}

int catalog_queue_due(struct catalog *catalog, uint32_t tier, int64_t *ret_due_ns)
{
	cleanup_reader struct db *db = NULL;
	int64_t due_ns = 0, poison_ns = 0;
	int r;

	r = reader_take(catalog, &db);
	if (r == 0)
		r = read_due(db, tier, false, &due_ns);
	if (r == 0)
		r = read_due(db, tier, true, &poison_ns);
	if (r == 0)
		*ret_due_ns = due_ns < poison_ns ? due_ns : poison_ns;
	return r;
}

/* Rows after (@id, @tier). */
static int read_page(struct catalog *catalog, int64_t id, int64_t tier, struct queue_row *rows)
{
	cleanup_reader struct db *db = NULL;
	cleanup_query struct query query = { 0 };
	int r;

	r = reader_take(catalog, &db);
	if (r < 0)
		return r;
	query = query_start(db, &sql_page);
	query_int(&query, id);
	query_int(&query, tier);
	return read_rows(&query, rows, PAGE_ROWS);
}

int catalog_each_queued(struct catalog *catalog, int (*fn)(void *arg, const struct queue_row *row),
			void *arg)
{
	cleanup_free struct queue_row *rows = malloc(PAGE_ROWS * sizeof(*rows));
	int64_t id = INT64_MIN, tier = 0;
	int count, r;

	if (!rows)
		return -ENOMEM;
	do {
		count = read_page(catalog, id, tier, rows);
		for (int i = 0; i < count; i++) {
			r = fn(arg, &rows[i]);
			if (r != 0)
				return r;
			id = (int64_t)rows[i].id;
			tier = rows[i].tier;
		}
	} while (count == PAGE_ROWS);
	return count < 0 ? count : 0;
}

int catalog_queue_totals(struct catalog *catalog, uint32_t tier, struct queue_totals *ret_totals)
{
	cleanup_reader struct db *db = NULL;
	cleanup_query struct query query = { 0 };
	struct queue_totals totals = { 0 };
	int r;

	r = reader_take(catalog, &db);
	if (r < 0)
		return r;
	query = query_start(db, tier ? &sql_totals : &sql_all_totals);
	if (tier)
		query_int(&query, tier);
	r = query_row(&query);
	if (r < 0)
		return r;
	if (r > 0) {
		totals.files = (uint64_t)query_get_int(&query, 0);
		totals.bytes = (uint64_t)query_get_int(&query, 1);
		totals.poison = (uint64_t)query_get_int(&query, 2);
	}
	*ret_totals = totals;
	return 0;
}

struct stored_step {
	struct step step;
	uint64_t id, generation, told;
	int64_t again_ns;
	struct copy_row copy; /* without key */
	char key[];
};

static bool is_on_its_way(enum file_state state)
{
	return state == FILE_VERIFIED || state == FILE_QUEUED || state == FILE_UPLOADING;
}

/* -EAGAIN: what the caller knows of the object may be true no more. */
static int check_told(struct db *db, const struct stored_step *stored)
{
	struct query query;
	int r;

	if (stored->told)
		return stored->told == catalog_told(db->catalog) ? 0 : -EAGAIN;
	query = query_start(db, &sql_is_recorded);
	query_int(&query, stored->copy.tier);
	query_bytes(&query, stored->key);
	query_int(&query, (int64_t)stored->copy.content);
	r = query_found(&query);
	return r < 0 ? r : r > 0 ? 0 : -EAGAIN;
}

static int apply_stored(struct db *db, struct step *step)
{
	struct stored_step *stored = (struct stored_step *)step;
	enum file_state state = FILE_STORED;
	struct node_row node;
	int found, r;

	r = check_told(db, stored);
	/* The object is there, whatever became of the file meanwhile: never forget it. */
	if (r == 0)
		r = db_put_copy(db, &stored->copy, stored->key);
	if (r == 0 && stored->again_ns)
		r = db_doubt_copy(db, stored->copy.content, stored->copy.tier, stored->again_ns);
	if (r < 0)
		return r;
	found = db_get_node(db, stored->id, &node);
	if (found <= 0)
		return found < 0 ? found : -ESTALE;
	if (node.generation != stored->generation || node.content != stored->copy.content ||
	    node.error || !file_state_is_verified(node.state) || stored->copy.bad)
		return -ESTALE;
	r = remove_row(db, stored->id, stored->generation, stored->copy.tier);
	if (r < 0)
		return r;
	if (!is_on_its_way(node.state)) /* other sites may know it under a name that was lost */
		return stored->again_ns ? note_node(db, stored->id) : 0;
	r = is_queued(db, stored->id);
	if (r < 0)
		return r;
	if (r > 0) /* another tier still waits */
		state = FILE_QUEUED;
	if (state != node.state)
		r = set_state(db, stored->id, state, step->time_ns);
	return r < 0 ? r : note_node(db, stored->id);
}

int catalog_set_stored(struct catalog *catalog, uint64_t id, uint64_t generation,
		       const struct copy_row *copy, uint64_t told, int64_t again_ns)
{
	size_t key_bytes = strlen(copy->key) + 1;
	struct stored_step *stored = step_new(sizeof(*stored) + key_bytes, apply_stored);

	if (!stored)
		return -ENOMEM;
	stored->id = id;
	stored->generation = generation;
	stored->told = told;
	stored->again_ns = again_ns;
	stored->copy = *copy;
	stored->copy.key = NULL;
	memcpy(stored->key, copy->key, key_bytes);
	return step_submit(catalog, &stored->step, STEP_DURABLE);
}

int catalog_find_leftover(struct catalog *catalog, uint32_t tier, uint64_t *ret_content,
			  char **ret_note)
{
	cleanup_reader struct db *db = NULL;
	cleanup_query struct query query = { 0 };
	char first[32], after[32];
	size_t length;
	int r = reader_take(catalog, &db);

	if (r < 0)
		return r;
	(void)snprintf(first, sizeof(first), UPLOAD_NOTE_PREFIX, tier);
	length = strlen(first);
	memcpy(after, first, length + 1);
	after[length - 1]++; /* behind all that begin so */
	query = query_start(db, &sql_leftover);
	query_text(&query, first);
	query_text(&query, after);
	query_int(&query, tier);
	query_int(&query, (int64_t)length + 1);
	r = query_row(&query);
	if (r <= 0)
		return r;
	r = query_copy_bytes(&query, 1, ret_note);
	if (r < 0)
		return r;
	*ret_content = (uint64_t)query_get_int(&query, 0);
	return 1;
}
