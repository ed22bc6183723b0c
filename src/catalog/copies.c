/* SPDX-License-Identifier: Apache-2.0 */
/* Tiers, and the copies of contents in them. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "catalog/contents.h"
#include "catalog/private.h"

#define PAGE_ROWS 256
#define PAGE_LIMIT " LIMIT 256"
#define COPY_COLUMNS "content, tier, key, digest, confirmed_ns, checked_ns, bad"
/* NULL: not archived. */
#define ASKED                                                                                      \
	", (SELECT a.asked_ns FROM archived AS a WHERE a.content = copies.content"                 \
	" AND a.tier = copies.tier)"

STATEMENT(sql_find_tier, "SELECT id FROM tiers WHERE name = ?1 AND url = ?2");
STATEMENT(sql_add_tier, "INSERT INTO tiers(name, url) VALUES(?1, ?2)");
STATEMENT(sql_same_digest, "SELECT digest = ?2 FROM contents WHERE id = ?1");
STATEMENT(sql_put, "INSERT INTO copies(" COPY_COLUMNS ") VALUES(?1, ?2, ?3, ?4, ?5, ?6, ?7)"
		   " ON CONFLICT(tier, content) DO UPDATE SET key = excluded.key,"
		   " digest = excluded.digest, confirmed_ns = excluded.confirmed_ns,"
		   " checked_ns = excluded.checked_ns, bad = excluded.bad");
STATEMENT(sql_mark, "UPDATE copies SET checked_ns = ?3, bad = ?4"
		    " WHERE content = ?1 AND tier = ?2");
/* From STORED to VERIFIED. "> 0": the index has only those. */
STATEMENT(sql_not_stored, "UPDATE inodes SET state = 3, state_ns = ?2 WHERE content = ?1"
			  " AND content > 0 AND state = 6 AND NOT EXISTS("
			  "SELECT 1 FROM copies WHERE copies.content = ?1 AND copies.bad = 0)");
STATEMENT(sql_good, "SELECT 1 FROM copies WHERE content = ?1 AND bad = 0 LIMIT 1");
STATEMENT(sql_of_content,
	  "SELECT " COPY_COLUMNS ASKED " FROM copies WHERE content = ?1 ORDER BY tier");
STATEMENT(sql_of_tier, "SELECT " COPY_COLUMNS ASKED " FROM copies WHERE tier = ?1 AND content > ?2"
		       " ORDER BY content" PAGE_LIMIT);
STATEMENT(sql_find_key, "SELECT content FROM copies WHERE tier = ?1 AND key = ?2"
			" ORDER BY content LIMIT 1");
STATEMENT(sql_keep_key, "INSERT OR IGNORE INTO other_keys SELECT tier, key FROM copies"
			" WHERE tier = ?1 AND content = ?2 AND key <> ?3");
STATEMENT(sql_note_key, "INSERT OR IGNORE INTO other_keys(tier, key) VALUES(?1, ?2)");
STATEMENT(sql_find_other_key, "SELECT 1 FROM other_keys WHERE tier = ?1 AND key = ?2");

void copy_row_fini(struct copy_row *row)
{
	free(row->key);
	row->key = NULL;
}

struct tier_step {
	struct step step;
	int64_t *ret_tier; /* borrowed from the caller, who waits */
	size_t url;        /* offset in text */
	char text[];       /* name NUL url NUL */
};

static int apply_put_tier(struct db *db, struct step *step)
{
	struct tier_step *tier = (struct tier_step *)step;
	struct query query = query_start(db, &sql_find_tier);
	int r;

	query_text(&query, tier->text);
	query_text(&query, tier->text + tier->url);
	r = query_row(&query);
	if (r > 0)
		*tier->ret_tier = query_get_int(&query, 0);
	query_end(&query);
	if (r != 0)
		return r < 0 ? r : 0;
	query = query_start(db, &sql_add_tier);
	query_text(&query, tier->text);
	query_text(&query, tier->text + tier->url);
	r = query_run(&query);
	if (r == 0)
		*tier->ret_tier = sqlite3_last_insert_rowid(db->sqlite);
	return r;
}

int catalog_find_tier(struct catalog *catalog, const char *name, const char *url,
		      uint32_t *ret_tier)
{
	cleanup_reader struct db *db = NULL;
	cleanup_query struct query query = { 0 };
	int r = reader_take(catalog, &db);

	if (r < 0)
		return r;
	query = query_start(db, &sql_find_tier);
	query_text(&query, name);
	query_text(&query, url);
	r = query_row(&query);
	if (r > 0)
		*ret_tier = (uint32_t)query_get_int(&query, 0);
	return r;
}

int catalog_put_tier(struct catalog *catalog, const char *name, const char *url, uint32_t *ret_tier)
{
	size_t name_bytes = strlen(name) + 1, url_bytes = strlen(url) + 1;
	struct tier_step *tier = step_new(sizeof(*tier) + name_bytes + url_bytes, apply_put_tier);
	int64_t id = 0;
	int r;

	if (!tier)
		return -ENOMEM;
	tier->ret_tier = &id;
	tier->url = name_bytes;
	memcpy(tier->text, name, name_bytes);
	memcpy(tier->text + name_bytes, url, url_bytes);
	r = step_submit(catalog, &tier->step, STEP_WAIT);
	if (r < 0)
		return r;
	if (id <= 0 || id > UINT32_MAX)
		return -EUCLEAN;
	*ret_tier = (uint32_t)id;
	return 0;
}

/* -EBADMSG when a copy that is called good has another digest than its content. */
static int check_copy(struct db *db, const struct copy_row *row)
{
	cleanup_query struct query query = query_start(db, &sql_same_digest);
	int r;

	query_int(&query, (int64_t)row->content);
	query_blob(&query, row->digest.bytes, sizeof(row->digest.bytes));
	r = query_row(&query);
	if (r <= 0)
		return r < 0 ? r : -ENOENT;
	return query_get_int(&query, 0) || row->bad ? 0 : -EBADMSG;
}

int db_put_copy(struct db *db, const struct copy_row *row, const char *key)
{
	struct query query;
	int r;

	r = check_copy(db, row);
	if (r < 0)
		return r;
	/* The object that is recorded no longer is still one of the volume's. */
	query = query_start(db, &sql_keep_key);
	query_int(&query, row->tier);
	query_int(&query, (int64_t)row->content);
	query_bytes(&query, key);
	r = query_run(&query);
	if (r < 0)
		return r;
	query = query_start(db, &sql_put);
	query_int(&query, (int64_t)row->content);
	query_int(&query, row->tier);
	query_bytes(&query, key);
	query_blob(&query, row->digest.bytes, sizeof(row->digest.bytes));
	query_int(&query, row->confirmed_ns);
	query_int(&query, row->checked_ns);
	query_int(&query, row->bad);
	r = query_run(&query);
	return r < 0 || row->bad ? r : db_believe_copy(db, row, key);
}

int db_has_good_copy(struct db *db, uint64_t content)
{
	struct query query = query_start(db, &sql_good);

	query_int(&query, (int64_t)content);
	return query_found(&query);
}

struct copy_step {
	struct step step;
	struct copy_row row; /* without key */
	char key[];
};

static int apply_put_copy(struct db *db, struct step *step)
{
	struct copy_step *copy = (struct copy_step *)step;

	return db_put_copy(db, &copy->row, copy->key);
}

int catalog_put_copy(struct catalog *catalog, const struct copy_row *row, enum step_flags flags)
{
	size_t key_bytes = strlen(row->key) + 1;
	struct copy_step *copy = step_new(sizeof(*copy) + key_bytes, apply_put_copy);

	if (!copy)
		return -ENOMEM;
	copy->row = *row;
	copy->row.key = NULL;
	memcpy(copy->key, row->key, key_bytes);
	return step_submit(catalog, &copy->step, flags);
}

static int apply_mark_copy(struct db *db, struct step *step)
{
	const struct copy_row *row = &((struct copy_step *)step)->row;
	struct query query = query_start(db, &sql_mark);
	int r;

	query_int(&query, (int64_t)row->content);
	query_int(&query, row->tier);
	query_int(&query, row->checked_ns);
	query_int(&query, row->bad);
	r = query_run(&query);
	return r == 0 && row->bad ? db_prove_bad(db, row->content, row->tier) : r;
}

static struct copy_step *new_mark(step_fn apply, uint64_t content, uint32_t tier,
				  int64_t checked_ns, bool bad)
{
	struct copy_step *copy = step_new(sizeof(*copy), apply);

	if (copy)
		copy->row = (struct copy_row){
			.content = content, .tier = tier, .checked_ns = checked_ns, .bad = bad
		};
	return copy;
}

int catalog_mark_copy(struct catalog *catalog, uint64_t content, uint32_t tier, int64_t checked_ns,
		      bool bad)
{
	struct copy_step *copy = new_mark(apply_mark_copy, content, tier, checked_ns, bad);

	return copy ? step_submit(catalog, &copy->step, 0) : -ENOMEM;
}

static int apply_lose_copy(struct db *db, struct step *step)
{
	const struct copy_row *row = &((struct copy_step *)step)->row;
	int r = apply_mark_copy(db, step);
	struct query query;

	if (r < 0)
		return r;
	query = query_start(db, &sql_not_stored);
	query_int(&query, (int64_t)row->content);
	query_int(&query, step->time_ns);
	return query_run(&query);
}

int catalog_lose_copy(struct catalog *catalog, uint64_t content, uint32_t tier, int64_t checked_ns)
{
	struct copy_step *copy = new_mark(apply_lose_copy, content, tier, checked_ns, true);

	return copy ? step_submit(catalog, &copy->step, 0) : -ENOMEM;
}

static int read_copy(struct query *query, struct copy_row *ret_row)
{
	int64_t tier = query_get_int(query, 1);
	struct copy_row row = {
		.content = (uint64_t)query_get_int(query, 0),
		.tier = (uint32_t)tier,
		.confirmed_ns = query_get_int(query, 4),
		.checked_ns = query_get_int(query, 5),
		.bad = query_get_int(query, 6) != 0,
		.archived = !query_is_null(query, 7),
		.asked_ns = query_get_int(query, 7),
	};
	int r;

	if (tier <= 0 || tier > UINT32_MAX)
		return -EUCLEAN;
	r = query_get_digest(query, 3, &row.digest);
	if (r == 0)
		r = query_copy_bytes(query, 2, &row.key);
	if (r == 0)
		*ret_row = row;
	return r;
}

static void free_rows(struct copy_row *rows, size_t count)
{
	for (size_t i = 0; i < count; i++)
		copy_row_fini(&rows[i]);
	free(rows);
}

/* All rows that @query gives (at most @max). */
static int read_copies(struct query *query, size_t max, struct copy_row **ret_rows,
		       size_t *ret_count)
{
	struct copy_row *rows = NULL;
	size_t count = 0, room = 0;
	int r = 0;

	while (count < max && (r = query_row(query)) > 0) {
		if (count == room) {
			struct copy_row *more;

			room = room ? room * 2 : 4;
			more = reallocarray(rows, room, sizeof(*rows));
			r = more ? 0 : -ENOMEM;
			rows = more ? more : rows;
		}
		if (r >= 0)
			r = read_copy(query, &rows[count]);
		if (r < 0)
			break;
		count++;
	}
	if (r < 0) {
		free_rows(rows, count);
		return r;
	}
	*ret_rows = rows;
	*ret_count = count;
	return 0;
}

int catalog_get_copies(struct catalog *catalog, uint64_t content, struct copy_row **ret_rows,
		       size_t *ret_count)
{
	cleanup_reader struct db *db = NULL;
	cleanup_query struct query query = { 0 };
	int r;

	r = reader_take(catalog, &db);
	if (r < 0)
		return r;
	query = query_start(db, &sql_of_content);
	query_int(&query, (int64_t)content);
	return read_copies(&query, SIZE_MAX, ret_rows, ret_count);
}

static int read_page(struct catalog *catalog, uint32_t tier, uint64_t after,
		     struct copy_row **ret_rows, size_t *ret_count)
{
	cleanup_reader struct db *db = NULL;
	cleanup_query struct query query = { 0 };
	int r;

	r = reader_take(catalog, &db);
	if (r < 0)
		return r;
	query = query_start(db, &sql_of_tier);
	query_int(&query, tier);
	query_int(&query, (int64_t)after);
	return read_copies(&query, PAGE_ROWS, ret_rows, ret_count);
}

int catalog_each_copy(struct catalog *catalog, uint32_t tier, uint64_t after,
		      int (*fn)(void *arg, const struct copy_row *row), void *arg)
{
	struct copy_row *rows = NULL;
	size_t count;
	int r;

	do {
		r = read_page(catalog, tier, after, &rows, &count);
		if (r < 0)
			return r;
		for (size_t i = 0; r == 0 && i < count; i++) {
			after = rows[i].content;
			r = fn(arg, &rows[i]);
		}
		free_rows(rows, count);
	} while (r == 0 && count == PAGE_ROWS);
	return r;
}

struct query query_about_key(struct db *db, const struct statement *statement, uint32_t tier,
			     const char *key)
{
	struct query query = query_start(db, statement);

	query_int(&query, tier);
	query_bytes(&query, key);
	return query;
}

int catalog_find_key(struct catalog *catalog, uint32_t tier, const char *key, uint64_t *ret_content)
{
	cleanup_reader struct db *db = NULL;
	cleanup_query struct query query = { 0 };
	int r;

	r = reader_take(catalog, &db);
	if (r < 0)
		return r;
	query = query_about_key(db, &sql_find_key, tier, key);
	r = query_row(&query);
	if (r > 0)
		*ret_content = (uint64_t)query_get_int(&query, 0);
	if (r != 0)
		return r;
	query_end(&query);
	query = query_about_key(db, &sql_find_other_key, tier, key);
	*ret_content = 0;
	return query_found(&query);
}

struct key_step {
	struct step step;
	uint32_t tier;
	char key[];
};

static int apply_note_key(struct db *db, struct step *step)
{
	struct key_step *noted = (struct key_step *)step;
	struct query query = query_about_key(db, &sql_note_key, noted->tier, noted->key);

	return query_run(&query);
}

int catalog_note_key(struct catalog *catalog, uint32_t tier, const char *key)
{
	size_t bytes = strlen(key) + 1;
	struct key_step *noted = step_new(sizeof(*noted) + bytes, apply_note_key);

	if (!noted)
		return -ENOMEM;
	noted->tier = tier;
	memcpy(noted->key, key, bytes);
	return step_submit(catalog, &noted->step, 0);
}
