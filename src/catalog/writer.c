/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The writer: one thread, one connection, many steps in one transaction.
 *
 * Durability: the database is in WAL mode. A batch in which nobody asked for more is committed
 * with synchronous=NORMAL: its frames are in the page cache, so they outlive us but not a
 * power cut. A batch with a durable step is committed with synchronous=FULL: SQLite then
 * fsyncs the WAL, and as it is one append-only file, all earlier commits with it. A commit
 * without a change writes no frame and syncs nothing, so a durable batch writes one if an
 * earlier one is unsynced. SQLite replays the WAL up to the last whole commit: what is lost in a
 * power cut is always a tail, in order.
 *
 * Failure: a batch is applied wholly or rolled back. Who waits for a step of it is told and the
 * step is dropped; what nobody waits for goes back to the head of the queue, in its order, and is
 * tried again until it goes in (see heal.c). Meanwhile steps that somebody would wait for are
 * refused and the others are kept. What cannot pass, or more than can be kept, makes the catalog
 * fail for good (`lost`): all is dropped, and the next start finds it unclean and levels it.
 */
#include <assert.h>
#include <errno.h>
#include <stdlib.h>

#include "catalog/private.h"
#include "util/clock.h"

/* Pauses between attempts of a batch that failed. */
#define RETRY_FIRST_NS (250 * 1000000ll)
#define RETRY_MAX_NS (5 * 1000000000ll)

/* Checkpoint when the WAL has that many pages (16 MiB), and force it when readers never let
 * go of it (512 MiB). */
#define CHECKPOINT_PAGES 4096
#define CHECKPOINT_FORCED_PAGES 131072
#define CHECKPOINT_WAIT_MS 1000

struct step_wait {
	bool done;
	int result;
};

STATEMENT(sql_touch, "INSERT INTO meta(key, value) VALUES('syncs', '1') "
		     "ON CONFLICT(key) DO UPDATE SET value = value + 1");

/* A node and its name. */
#define RESERVED 2
static _Thread_local void *reserved[RESERVED]; /* owned; zeroed */

int catalog_reserve(void)
{
	for (size_t i = 0; i < RESERVED; i++) {
		if (!reserved[i])
			reserved[i] = calloc(1, RESERVED_BYTES);
		if (!reserved[i]) {
			catalog_unreserve();
			return -ENOMEM;
		}
	}
	return 0;
}

void catalog_unreserve(void)
{
	for (size_t i = 0; i < RESERVED; i++)
		free(take_ptr(reserved[i]));
}

static void *step_init(struct step *step, size_t bytes, step_fn apply)
{
	if (!step)
		return NULL;
	step->apply = apply;
	step->bytes = bytes + 32; /* what malloc adds, about */
	return step;
}

void *step_new(size_t bytes, step_fn apply)
{
	return step_init(calloc(1, bytes), bytes, apply);
}

void *step_new_reserved(size_t bytes, step_fn apply)
{
	struct step *step = calloc(1, bytes);

	assert(bytes <= RESERVED_BYTES);
	for (size_t i = 0; !step && i < RESERVED; i++)
		step = take_ptr(reserved[i]);
	return step_init(step, bytes, apply);
}

static bool has_room(const struct writer *writer, const struct step *step)
{
	if (writer->steps == 0)
		return true; /* however large it is */
	return writer->steps < QUEUE_MAX_STEPS && writer->bytes + step->bytes <= QUEUE_MAX_BYTES;
}

/* It is of no use any more to keep what is queued; those who wait were told. */
static void lose_locked(struct writer *writer)
{
	struct step *step;

	mutex_assert_held(&writer->lock);
	writer->lost = true;
	while ((step = writer->first)) {
		writer->first = step->next;
		free(step);
	}
	writer->last = &writer->first;
	writer->steps = writer->bytes = writer->hurried = 0;
}

/* While it fails nobody waits, for room neither. */
static int enqueue_failing_locked(struct writer *writer, const struct step *step)
{
	if (!writer->lost && !step->wait && writer->steps < KEPT_MAX_STEPS &&
	    writer->bytes + step->bytes <= KEPT_MAX_BYTES)
		return 0;
	if (!step->wait)
		lose_locked(writer);
	return writer->error;
}

static int enqueue_locked(struct writer *writer, struct step *step)
{
	int r = 0;

	mutex_assert_held(&writer->lock);
	while (!writer->error && !writer->stop && !has_room(writer, step)) {
		writer->squeezed++;
		cond_signal(&writer->work);
		cond_wait(&writer->space, &writer->lock);
		writer->squeezed--;
	}
	if (writer->error)
		r = enqueue_failing_locked(writer, step);
	if (r < 0)
		return r;
	if (writer->stop)
		return -ESHUTDOWN;
	if (writer->steps == 0)
		writer->since_ns = monotonic_ns();
	*writer->last = step;
	writer->last = &step->next;
	writer->steps++;
	writer->bytes += step->bytes;
	writer->hurried += step->wait != NULL;
	if (writer->steps == 1 || writer->steps == BATCH_MAX_STEPS || step->wait)
		cond_signal(&writer->work);
	return 0;
}

int step_submit(struct catalog *catalog, struct step *step, enum step_flags flags)
{
	struct writer *writer = &catalog->writer;
	bool waits = (flags & (STEP_WAIT | STEP_DURABLE)) && !(flags & STEP_LATER);
	struct step_wait wait = { 0 };
	int r;

	if (catalog->flags & CATALOG_READ_ONLY) {
		free(step);
		return -EROFS;
	}
	step->time_ns = realtime_ns();
	step->durable = flags & STEP_DURABLE;
	if (waits)
		step->wait = &wait;
	mutex_lock(&writer->lock);
	r = enqueue_locked(writer, step);
	while (r == 0 && waits && !wait.done)
		cond_wait(&writer->done, &writer->lock);
	mutex_unlock(&writer->lock);
	if (r < 0)
		free(step);
	return r < 0 ? r : wait.result;
}

struct batch {
	struct step *first; /* owned */
	size_t steps;
	bool durable;
	int error; /* what had failed before: heal first */
};

static bool is_due_locked(const struct writer *writer)
{
	return writer->stop || writer->hurried > 0 || writer->squeezed > 0 ||
	       writer->steps >= BATCH_MAX_STEPS || writer->bytes >= QUEUE_MAX_BYTES / 2;
}

/* Cut the first steps off the queue. */
static void take_locked(struct writer *writer, struct batch *batch)
{
	struct step **end = &writer->first;

	batch->first = writer->first;
	while (*end && batch->steps < BATCH_MAX_STEPS) {
		batch->durable |= (*end)->durable;
		batch->steps++;
		writer->bytes -= (*end)->bytes;
		writer->hurried -= (*end)->wait != NULL;
		end = &(*end)->next;
	}
	writer->first = *end;
	*end = NULL;
	if (!writer->first)
		writer->last = &writer->first;
	writer->steps -= batch->steps;
	writer->since_ns = monotonic_ns();
	batch->error = writer->error;
	/* It works again when a sync does. */
	batch->durable |= batch->error != 0;
	writer->taken = batch->steps;
	cond_broadcast(&writer->space);
}

static bool is_failing_locked(const struct writer *writer)
{
	return writer->error && !writer->lost;
}

/* False when there is nothing left and nothing will come. */
static bool next_batch(struct writer *writer, struct batch *batch)
{
	scoped_lock(&writer->lock);
	while (writer->steps == 0 && !writer->stop && !is_failing_locked(writer))
		cond_wait(&writer->work, &writer->lock);
	if (writer->steps == 0 && writer->stop)
		return false;
	while (is_failing_locked(writer) && !writer->stop &&
	       cond_wait_until(&writer->work, &writer->lock, writer->retry_ns))
		;
	while (!writer->error && !is_due_locked(writer)) {
		if (!cond_wait_until(&writer->work, &writer->lock,
				     writer->since_ns + BATCH_DELAY_NS))
			break;
	}
	take_locked(writer, batch);
	return true;
}

static int set_sync(struct db *db, bool full)
{
	struct catalog *catalog = db->catalog;
	int r;

	if (catalog->full_sync == full)
		return 0;
	r = db_exec(db, full ? "PRAGMA synchronous = FULL" : "PRAGMA synchronous = NORMAL");
	if (r == 0)
		catalog->full_sync = full;
	return r;
}

static int apply_all(struct db *db, struct batch *batch)
{
	struct query query;
	int r;

	for (struct step *step = batch->first; step; step = step->next) {
		step->result = step->apply(db, step);
		if (db->error)
			return db->error;
	}
	r = events_commit(db);
	if (r < 0 || (!batch->error && (!batch->durable || !db->catalog->unsynced)))
		return r;
	query = query_start(db, &sql_touch);
	return query_run(&query);
}

static int commit_batch(struct db *db, struct batch *batch)
{
	struct catalog *catalog = db->catalog;
	int changes = sqlite3_total_changes(db->sqlite);
	int r;

	r = set_sync(db, batch->durable);
	if (r < 0)
		return r;
	r = db_exec(db, "BEGIN IMMEDIATE");
	if (r < 0)
		return r;
	events_begin(db);
	r = apply_all(db, batch);
	if (r == 0)
		r = db_exec(db, "COMMIT");
	if (r < 0) {
		/* SQLite may have rolled back by itself: then this fails, harmlessly. */
		(void)sqlite3_exec(db->sqlite, "ROLLBACK", NULL, NULL, NULL);
		return r;
	}
	if (batch->durable)
		catalog->unsynced = false;
	else if (sqlite3_total_changes(db->sqlite) != changes)
		catalog->unsynced = true;
	return 0;
}

/* Tell who waits for @step, if anybody does. */
static void tell_locked(struct step *step, int error)
{
	if (!step->wait)
		return;
	step->wait->result = error ? error : step->result;
	step->wait->done = true;
}

/* Put what nobody waits for back before what was queued since; tell the others. */
static void keep_locked(struct writer *writer, struct batch *batch, int error)
{
	struct step *rest = writer->first, *step, **end = &writer->first;

	writer->last = &writer->first;
	writer->steps = writer->bytes = writer->hurried = 0;
	for (int part = 0; part < 2; part++) {
		for (step = part == 0 ? batch->first : rest; step;) {
			struct step *next = step->next;

			if (step->wait) {
				tell_locked(step, error);
				free(step);
			} else {
				*end = step;
				end = &step->next;
				writer->steps++;
				writer->bytes += step->bytes;
			}
			step = next;
		}
	}
	*end = NULL;
	writer->last = end;
	batch->first = NULL;
}

static void failed_locked(struct writer *writer, struct batch *batch, int error)
{
	/* SQLite says so, too, of a read that failed: heal() finds out which it is. */
	bool may_pass = heal_can(error) || (error == -EUCLEAN && !writer->error);

	if (!writer->error || error != -EBUSY) /* a reader in the way of healing is no news */
		writer->error = error;
	keep_locked(writer, batch, error);
	if (writer->stop || !may_pass)
		lose_locked(writer);
	writer->pause_ns = writer->pause_ns ? writer->pause_ns * 2 : RETRY_FIRST_NS;
	if (writer->pause_ns > RETRY_MAX_NS)
		writer->pause_ns = RETRY_MAX_NS;
	writer->retry_ns = monotonic_ns() + writer->pause_ns;
	cond_broadcast(&writer->space);
}

/* Tell those who wait; remember a failure, or its end. */
static void finish_batch(struct writer *writer, struct batch *batch, int error)
{
	struct step *step;

	mutex_lock(&writer->lock);
	if (!error)
		writer->applied += writer->taken;
	writer->taken = 0;
	if (error) {
		failed_locked(writer, batch, error);
	} else if (!writer->lost) {
		writer->error = 0;
		writer->pause_ns = 0;
	}
	for (step = batch->first; step; step = step->next)
		tell_locked(step, error);
	cond_broadcast(&writer->done);
	mutex_unlock(&writer->lock);
	while ((step = batch->first)) {
		batch->first = step->next;
		free(step);
	}
}

/* After those who wait have gone on: it reads and writes a lot. */
static int checkpoint(struct db *db)
{
	struct catalog *catalog = db->catalog;
	int mode = SQLITE_CHECKPOINT_PASSIVE;
	int r;

	if (catalog->wal_pages < CHECKPOINT_PAGES)
		return 0;
	if (catalog->wal_pages >= CHECKPOINT_FORCED_PAGES)
		mode = SQLITE_CHECKPOINT_RESTART;
	catalog->wal_pages = 0; /* until the next commit tells */
	(void)sqlite3_busy_timeout(db->sqlite, CHECKPOINT_WAIT_MS);
	r = sqlite3_wal_checkpoint_v2(db->sqlite, NULL, mode, NULL, NULL);
	(void)sqlite3_busy_timeout(db->sqlite, WRITE_TIMEOUT_MS);
	/* A reader in the way: next time. */
	if ((r & 0xff) == SQLITE_BUSY || (r & 0xff) == SQLITE_LOCKED || r == SQLITE_OK)
		return 0;
	return db_fail(db, db_errno(r));
}

static int note_wal(void *arg, sqlite3 *sqlite, const char *schema, int pages)
{
	struct catalog *catalog = arg;

	(void)sqlite;
	(void)schema;
	catalog->wal_pages = pages;
	return SQLITE_OK;
}

static void *writer_run(void *arg)
{
	struct catalog *catalog = arg;
	struct writer *writer = &catalog->writer;

	for (;;) {
		struct batch batch = { 0 };
		int r;

		if (!next_batch(writer, &batch))
			return NULL;
		r = batch.error ? heal(writer->db, batch.error) : 0;
		if (r == 0)
			r = commit_batch(writer->db, &batch);
		finish_batch(writer, &batch, r);
		if (r < 0)
			continue;
		r = checkpoint(writer->db);
		if (r < 0)
			finish_batch(writer, &batch, r);
	}
}

int writer_start(struct catalog *catalog)
{
	struct writer *writer = &catalog->writer;

	/* Opened with synchronous=FULL. */
	catalog->full_sync = true;
	(void)sqlite3_wal_hook(writer->db->sqlite, note_wal, catalog);
	return thread_start(&writer->thread, "catalog", writer_run, catalog);
}

void writer_stop(struct catalog *catalog)
{
	struct writer *writer = &catalog->writer;

	mutex_lock(&writer->lock);
	writer->stop = true;
	cond_signal(&writer->work);
	cond_broadcast(&writer->space);
	mutex_unlock(&writer->lock);
	thread_join(&writer->thread);
}
