/* SPDX-License-Identifier: Apache-2.0 */
/* The event log. Numbers and chain are made in the writer, so they follow the order of steps. */
#include "catalog/events.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "catalog/private.h"

#define PAGE_ROWS 128
#define EVENT_COLUMNS "seq, time_ns, site, actor, path, event, digest, detail, chain"

STATEMENT(sql_head, "SELECT seq, chain FROM events WHERE seq > 0 ORDER BY seq DESC LIMIT 1");
STATEMENT(sql_add, "INSERT INTO events(" EVENT_COLUMNS ")"
		   " VALUES(?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)");
STATEMENT(sql_oldest, "SELECT " EVENT_COLUMNS " FROM events WHERE seq > ?1 AND seq < ?2"
		      " ORDER BY seq LIMIT ?3");
STATEMENT(sql_newest, "SELECT " EVENT_COLUMNS " FROM events WHERE seq > ?1 AND seq < ?2"
		      " ORDER BY seq DESC LIMIT ?3");

static void put_be64(uint8_t bytes[8], uint64_t value)
{
	for (int i = 0; i < 8; i++)
		bytes[i] = (uint8_t)(value >> (56 - 8 * i));
}

/* @chain: of the row before; becomes that of @event. */
static int extend_chain(uint8_t chain[CHAIN_BYTES], const struct event *event)
{
	uint8_t seq[8], time[8], next[CHAIN_BYTES];
	const struct chain_piece pieces[] = {
		{ chain, CHAIN_BYTES },
		{ seq, sizeof(seq) },
		{ time, sizeof(time) },
		{ event->site, strlen(event->site) + 1 },
		{ event->actor, strlen(event->actor) + 1 },
		{ event->path, strlen(event->path) + 1 },
		{ event->event, strlen(event->event) + 1 },
		{ event->digest, strlen(event->digest) + 1 },
		{ event->detail, strlen(event->detail) + 1 },
	};
	int r;

	put_be64(seq, event->seq);
	put_be64(time, (uint64_t)event->time_ns);
	r = chain_hash(pieces, ARRAY_SIZE(pieces), next);
	if (r == 0)
		memcpy(chain, next, CHAIN_BYTES);
	return r;
}

void events_begin(struct db *db)
{
	db->catalog->events_loaded = false;
	db->catalog->events_added = false;
}

/* How many there are is kept twice, so that a log cut at its end is noticed. */
int events_commit(struct db *db)
{
	char seq[24];

	if (!db->catalog->events_added)
		return 0;
	(void)snprintf(seq, sizeof(seq), "%llu", (unsigned long long)db->catalog->event_seq);
	return db_set_meta(db, "events", seq);
}

/* Read again in every transaction: fsck may have added some meanwhile. */
static int load_head(struct db *db)
{
	cleanup_query struct query query = { 0 };
	struct catalog *catalog = db->catalog;
	const void *chain;
	size_t length;
	int r;

	if (catalog->events_loaded)
		return 0;
	catalog->event_seq = 0;
	memset(catalog->event_chain, 0, CHAIN_BYTES);
	query = query_start(db, &sql_head);
	r = query_row(&query);
	if (r < 0)
		return r;
	if (r > 0) {
		catalog->event_seq = (uint64_t)query_get_int(&query, 0);
		chain = query_get_blob(&query, 1, &length);
		/* A broken row stays broken: the next is chained to what can be read of it. */
		if (length == CHAIN_BYTES)
			memcpy(catalog->event_chain, chain, CHAIN_BYTES);
	}
	catalog->events_loaded = true;
	return 0;
}

struct event_step {
	struct step step;
	struct event event; /* strings point into text */
	char text[];
};

static int insert(struct db *db, const struct event *event)
{
	struct query query = query_start(db, &sql_add);

	query_int(&query, (int64_t)event->seq);
	query_int(&query, event->time_ns);
	query_text(&query, event->site);
	query_text(&query, event->actor);
	query_bytes(&query, event->path);
	query_text(&query, event->event);
	query_text(&query, event->digest);
	query_text(&query, event->detail);
	query_blob(&query, db->catalog->event_chain, CHAIN_BYTES);
	return query_run(&query);
}

static int apply_event(struct db *db, struct step *step)
{
	struct event *event = &((struct event_step *)step)->event;
	struct catalog *catalog = db->catalog;
	int r;

	r = load_head(db);
	if (r < 0)
		return r;
	event->seq = catalog->event_seq + 1;
	event->time_ns = step->time_ns;
	event->site = catalog->site;
	r = extend_chain(catalog->event_chain, event);
	if (r < 0)
		return db_fail(db, r);
	r = insert(db, event);
	if (r < 0)
		return r;
	catalog->event_seq = event->seq;
	catalog->events_added = true;
	return 0;
}

static const char *copy_text(char **to, const char *text)
{
	char *start = *to;

	*to = stpcpy(start, text ? text : "") + 1;
	return start;
}

static size_t text_bytes(const char *text)
{
	return text ? strlen(text) + 1 : 1;
}

int catalog_add_event(struct catalog *catalog, const struct event *event)
{
	size_t bytes = text_bytes(event->actor) + text_bytes(event->path) +
		       text_bytes(event->event) + text_bytes(event->digest) +
		       text_bytes(event->detail);
	struct event_step *add = step_new(sizeof(*add) + bytes, apply_event);
	char *to;

	if (!add)
		return -ENOMEM;
	to = add->text;
	add->event.actor = copy_text(&to, event->actor);
	add->event.path = copy_text(&to, event->path);
	add->event.event = copy_text(&to, event->event);
	add->event.digest = copy_text(&to, event->digest);
	add->event.detail = copy_text(&to, event->detail);
	return step_submit(catalog, &add->step, 0);
}

struct row {
	struct event event; /* strings owned, below */
	char *texts[6];
	uint8_t chain[CHAIN_BYTES];
	bool has_chain;
};

struct page {
	struct row rows[PAGE_ROWS];
	size_t count;
};

static void page_clear(struct page *page)
{
	for (size_t i = 0; i < page->count; i++) {
		for (size_t j = 0; j < ARRAY_SIZE(page->rows[i].texts); j++)
			free(page->rows[i].texts[j]);
	}
	page->count = 0;
}

static void page_free(struct page *page)
{
	if (!page)
		return;
	page_clear(page);
	free(page);
}
DEFINE_CLEANUP(struct page *, page_free)

static int read_row(struct query *query, struct row *row)
{
	const void *chain;
	size_t length;
	int r = 0;

	memset(row, 0, sizeof(*row));
	for (int i = 0; r == 0 && i < (int)ARRAY_SIZE(row->texts); i++)
		r = query_copy_bytes(query, i + 2, &row->texts[i]);
	row->event = (struct event){
		.seq = (uint64_t)query_get_int(query, 0),
		.time_ns = query_get_int(query, 1),
		.site = row->texts[0],
		.actor = row->texts[1],
		.path = row->texts[2],
		.event = row->texts[3],
		.digest = row->texts[4],
		.detail = row->texts[5],
	};
	chain = query_get_blob(query, 8, &length);
	row->has_chain = length == CHAIN_BYTES;
	if (row->has_chain)
		memcpy(row->chain, chain, CHAIN_BYTES);
	return r;
}

/* Rows with @low < seq < @high. On failure what was read before it is there. */
static int read_page(struct catalog *catalog, const struct statement *statement, int64_t low,
		     int64_t high, uint64_t max, struct page *page)
{
	cleanup_reader struct db *db = NULL;
	cleanup_query struct query query = { 0 };
	int r;

	page_clear(page);
	r = reader_take(catalog, &db);
	if (r < 0)
		return r;
	query = query_start(db, statement);
	query_int(&query, low);
	query_int(&query, high);
	query_int(&query, max < PAGE_ROWS ? (int64_t)max : PAGE_ROWS);
	while (page->count < PAGE_ROWS && (r = query_row(&query)) > 0) {
		r = read_row(&query, &page->rows[page->count++]);
		if (r < 0)
			return r;
	}
	return r < 0 ? r : 0;
}

int catalog_each_event(struct catalog *catalog, enum event_order order, uint64_t after_seq,
		       uint64_t max, int (*fn)(void *arg, const struct event *event), void *arg)
{
	cleanup_with(page_free_slot) struct page *page = calloc(1, sizeof(*page));
	const struct statement *statement =
		order == EVENTS_NEWEST_FIRST ? &sql_newest : &sql_oldest;
	int64_t low = (int64_t)after_seq, high = INT64_MAX;
	int r;

	if (!page)
		return -ENOMEM;
	if (max == 0)
		max = UINT64_MAX;
	do {
		r = read_page(catalog, statement, low, high, max, page);
		if (r < 0)
			return r;
		for (size_t i = 0; i < page->count; i++) {
			const struct event *event = &page->rows[i].event;

			r = fn(arg, event);
			if (r != 0)
				return r;
			*(order == EVENTS_NEWEST_FIRST ? &high : &low) = (int64_t)event->seq;
		}
		max -= page->count;
	} while (page->count == PAGE_ROWS && max > 0);
	return 0;
}

/* The number that the log must have reached, as kept in meta. */
static int read_last_seq(struct catalog *catalog, uint64_t *ret_seq)
{
	cleanup_free char *value = NULL;
	int r;

	r = catalog_get_meta(catalog, "events", &value);
	if (r < 0)
		return r;
	*ret_seq = r > 0 ? strtoull(value, NULL, 10) : 0;
	return 0;
}

static int check_row(const struct row *row, uint64_t seq, uint8_t chain[CHAIN_BYTES])
{
	int r;

	if (row->event.seq != seq || !row->has_chain)
		return -EUCLEAN;
	r = extend_chain(chain, &row->event);
	if (r < 0)
		return r;
	return memcmp(chain, row->chain, CHAIN_BYTES) == 0 ? 0 : -EUCLEAN;
}

int catalog_check_events(struct catalog *catalog, uint64_t *ret_seq)
{
	cleanup_with(page_free_slot) struct page *page = calloc(1, sizeof(*page));
	uint8_t chain[CHAIN_BYTES] = { 0 };
	uint64_t seq = 0, last;
	int read, r;

	if (!page)
		return -ENOMEM;
	r = read_last_seq(catalog, &last);
	if (r < 0)
		return r;
	do {
		read = read_page(catalog, &sql_oldest, (int64_t)seq, INT64_MAX, UINT64_MAX, page);
		/* A row that cannot be read is the last of the page. */
		for (size_t i = 0; i < page->count; i++) {
			r = read < 0 && i + 1 == page->count
				    ? read
				    : check_row(&page->rows[i], seq + 1, chain);
			if (r < 0) {
				*ret_seq = seq + 1;
				return r;
			}
			seq++;
		}
		if (read < 0)
			return read;
	} while (page->count == PAGE_ROWS);
	if (seq >= last)
		return 0;
	*ret_seq = seq + 1;
	return -EUCLEAN;
}
