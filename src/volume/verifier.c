/* SPDX-License-Identifier: Apache-2.0 */
#include "volume/verifier.h"

#include <stdio.h>
#include <stdlib.h>

#include "util/clock.h"
#include "util/error.h"
#include "util/log.h"
#include "util/rate.h"
#include "util/table.h"
#include "volume/aside.h"
#include "volume/live.h"
#include "volume/node.h"
#include "volume/verify.h"

#define THREADS 2
#define PAUSE_NS (100 * NS_PER_MS) /* after the last close: utimens, rename come first */
#define ASIDE_NS (10 * NS_PER_SEC) /* longest wait for a copy to end, where the disk is slow */
#define BUSY_NS (50 * NS_PER_MS)
#define RETRY_NS (30 * NS_PER_SEC)
#define CATALOG_NS (1 * NS_PER_SEC)
#define RETRY_DOUBLINGS 5          /* 16 minutes */
#define TRIES_MAX 15               /* more are not counted */
#define KEEP_NS (20 * NS_PER_SEC)  /* for settling at the end */
#define HELD_ENTRIES 4096          /* that keep their live object in memory */
#define GROUP_FILES 64             /* small ones that share one durable step, */
#define GROUP_NS (200 * NS_PER_MS) /* when they take no longer than that */
#define SMALL_BYTES (1u << 20)
/*
 * While it steps aside so many bytes arrive for each that is read (of a file that was begun, or has
 * waited long); who never ends does not stop it for good.
 */
#define ARRIVE_FIRST 10
#define ARRIVE_NS (2 * NS_PER_SEC)
#define LOOK_NS (20 * NS_PER_MS)

struct entry {
	struct entry *next, *previous;
	struct live *live; /* owned, one ref; NULL: found again through the catalog */
	uint64_t id;
	/* In one word, as a million of these may wait. 2^59 ns are 18 years since the boot. */
	int64_t due_ns : 60;
	uint64_t tries : 4; /* that failed, without a word about the file's bytes */
};

struct worker {
	struct verifier *verifier;
	unsigned index;
};

struct verifier {
	/* Constant after verifier_new(). */
	struct volume *volume; /* borrowed, outlives us */
	struct bucket bucket;
	struct meter meter;
	struct worker workers[THREADS];
	struct thread threads[THREADS];

	struct mutex lock;          /* rank 40; guards the rest */
	struct cond wake;           /* entries, stopping */
	struct cond stop;           /* stopping */
	struct entry *first, *last; /* by due time */
	struct table by_id;
	size_t held;      /* entries with a live object */
	uint64_t working; /* files being read */
	bool stopping;
	struct aside aside;
	int64_t keep_until_ns; /* of the last thread */
	bool told_unprovable;  /* logged once */
};

/* The queue ----------------------------------------------------------------------------- */

/* Nearly always at the end. */
static void insert_locked(struct verifier *verifier, struct entry *entry)
{
	struct entry *after = verifier->last;

	while (after && after->due_ns > entry->due_ns)
		after = after->previous;
	entry->previous = after;
	entry->next = after ? after->next : verifier->first;
	if (entry->next)
		entry->next->previous = entry;
	else
		verifier->last = entry;
	if (after)
		after->next = entry;
	else
		verifier->first = entry;
}

static void remove_locked(struct verifier *verifier, struct entry *entry)
{
	if (entry->previous)
		entry->previous->next = entry->next;
	else
		verifier->first = entry->next;
	if (entry->next)
		entry->next->previous = entry->previous;
	else
		verifier->last = entry->previous;
}

/*
 * The live object holds what was received, unless the catalog has it as well: only then
 * may it go from memory.
 */
static bool must_hold(struct live *live)
{
	scoped_lock(&live->lock);
	return live->state == FILE_RECEIVING && live->receipt;
}

/* What @entry held, to be put without the lock. */
static struct live *drop_live_locked(struct verifier *verifier, struct entry *entry)
{
	struct live *live = take_ptr(entry->live);

	if (live)
		verifier->held--;
	return live;
}

static int queue(struct verifier *verifier, uint64_t id, int64_t due_ns, unsigned tries)
{
	struct live *live = live_peek(verifier->volume, id), *surplus = NULL;
	bool must = live && must_hold(live);
	struct entry *entry;
	int r = 0;

	mutex_lock(&verifier->lock);
	entry = table_get(&verifier->by_id, id);
	if (entry) {
		remove_locked(verifier, entry);
		surplus = drop_live_locked(verifier, entry);
	} else {
		entry = calloc(1, sizeof(*entry));
		r = entry ? table_put(&verifier->by_id, id, entry) : -ENOMEM;
	}
	if (r == 0) {
		entry->id = id;
		entry->due_ns = due_ns;
		entry->tries = tries < TRIES_MAX ? tries : TRIES_MAX;
		if (live && (must || verifier->held < HELD_ENTRIES)) {
			entry->live = take_ptr(live);
			verifier->held++;
		}
		insert_locked(verifier, entry);
		cond_signal(&verifier->wake);
	} else {
		free(entry);
	}
	mutex_unlock(&verifier->lock);
	live_put(live);
	live_put(surplus);
	return r;
}

static int add(struct verifier *verifier, uint64_t id)
{
	return queue(verifier, id, monotonic_ns() + PAUSE_NS, 0);
}

void verifier_add(struct verifier *verifier, uint64_t id)
{
	if (add(verifier, id) < 0)
		log_warning("no memory to queue a file for verification; it is found at the next "
			    "start");
}

/* Pace ---------------------------------------------------------------------------------- */

static bool is_stopping(void *arg)
{
	struct verifier *verifier = arg;

	scoped_lock(&verifier->lock);
	return verifier->stopping;
}

static bool steps_aside_locked(const struct verifier *verifier)
{
	return verifier->aside.steps && volume_is_receiving(verifier->volume);
}

/* Look at what the disk has to do, now and then. Not with a lock held: it reads a file. */
static void look_aside(struct verifier *verifier)
{
	struct volume *volume = verifier->volume;
	struct writeback writeback;
	int64_t now_ns = monotonic_ns();
	int r;

	if (!volume_is_receiving(volume))
		return;
	{
		scoped_lock(&verifier->lock);
		if (!aside_is_due(&verifier->aside, now_ns))
			return;
	}
	r = writeback_get(&writeback);
	scoped_lock(&verifier->lock);
	aside_judge(&verifier->aside, now_ns, volume->received_bytes, r < 0 ? NULL : &writeback);
}

/* Before @bytes are read, while the disk is behind: those that arrive first. */
static void let_arrive(struct verifier *verifier, uint64_t bytes)
{
	struct volume *volume = verifier->volume;
	uint64_t until_bytes = volume->received_bytes + bytes * ARRIVE_FIRST;
	int64_t until_ns = monotonic_ns() + ARRIVE_NS;

	for (;;) {
		look_aside(verifier);
		scoped_lock(&verifier->lock);
		if (verifier->stopping || !steps_aside_locked(verifier) ||
		    volume->received_bytes >= until_bytes || monotonic_ns() >= until_ns)
			return;
		(void)cond_wait_until(&verifier->stop, &verifier->lock, monotonic_ns() + LOOK_NS);
	}
}

static int pace(struct verifier *verifier, uint64_t bytes, bool is_gentle)
{
	struct volume *volume = verifier->volume;

	if (is_gentle)
		let_arrive(verifier, bytes);
	if (is_stopping(verifier))
		return 1;
	bucket_set(&verifier->bucket, (uint64_t)volume_setting(volume, SETTING_VERIFY_RATE));
	if (bucket_take(&verifier->bucket, bytes) < 0)
		return 1;
	meter_add(&verifier->meter, bytes);
	return 0;
}

static int pace_gently(void *arg, uint64_t bytes)
{
	return pace(arg, bytes, true);
}

static int pace_at_once(void *arg, uint64_t bytes)
{
	return pace(arg, bytes, false);
}

/* Whoever unmounts waits for it. */
static bool is_late(void *arg)
{
	struct verifier *verifier = arg;

	return monotonic_ns() > verifier->keep_until_ns;
}

/* The threads --------------------------------------------------------------------------- */

/* When @worker may take the first entry: at once, or to look again. INT64_MAX: never so far. */
static int64_t ready_ns_locked(struct verifier *verifier, unsigned index, int64_t now_ns)
{
	const struct entry *entry = verifier->first;

	if (!entry)
		return INT64_MAX;
	if (entry->due_ns > now_ns || !volume_is_receiving(verifier->volume))
		return entry->due_ns;
	/* Bytes arrive: one thread goes on, on a slow disk only with what has waited long. */
	if (index == 0 && (!verifier->aside.steps || now_ns >= entry->due_ns + ASIDE_NS))
		return now_ns;
	return now_ns + PAUSE_NS;
}

enum take { TAKE_WAITING, TAKE_READY };

/* The next entry, owned by the caller; NULL when it is time to stop, or when none is ready. */
static struct entry *take_due(struct verifier *verifier, unsigned index, enum take how)
{
	for (;;) {
		struct entry *entry;
		int64_t now_ns, ready_ns;

		look_aside(verifier);
		scoped_lock(&verifier->lock);
		if (verifier->stopping)
			return NULL;
		entry = verifier->first;
		now_ns = monotonic_ns();
		ready_ns = ready_ns_locked(verifier, index, now_ns);
		if (ready_ns <= now_ns) {
			remove_locked(verifier, entry);
			(void)table_remove(&verifier->by_id, entry->id);
			verifier->working++;
			return entry;
		}
		if (how == TAKE_READY)
			return NULL;
		if (ready_ns == INT64_MAX)
			cond_wait(&verifier->wake, &verifier->lock);
		else
			(void)cond_wait_until(&verifier->wake, &verifier->lock, ready_ns);
	}
}

static void entry_done(struct verifier *verifier, struct entry *entry)
{
	struct live *live;

	mutex_lock(&verifier->lock);
	verifier->working--;
	live = drop_live_locked(verifier, entry);
	mutex_unlock(&verifier->lock);
	live_put(live);
	free(entry);
}

static void tell_unprovable(struct verifier *verifier)
{
	bool told;

	mutex_lock(&verifier->lock);
	told = verifier->told_unprovable;
	verifier->told_unprovable = true;
	mutex_unlock(&verifier->lock);
	if (!told)
		log_error("nothing can be verified: the file system of the store keeps its pages "
			  "in memory, so the medium cannot be read back");
}

/* How long until it is tried again; 0: not. */
static int64_t retry_after_ns(struct verifier *verifier, const struct entry *entry, int result)
{
	if (result >= 0 || result == -EBADMSG || result == -ESTALE || result == -ENOENT)
		return 0;
	/* Told to stop: keep_rest() finds it in the queue, with what was received. */
	if (result == -EBUSY || result == -ECANCELED)
		return BUSY_NS;
	/* Not the file's fault: it says itself when it works again. */
	if (catalog_error(verifier->volume->catalog) < 0)
		return CATALOG_NS;
	if (result == -ENOTSUP)
		tell_unprovable(verifier);
	else if (entry->tries == 0)
		log_warning_errno(result, "inode %llu is not verified yet, trying again",
				  (unsigned long long)entry->id);
	return entry->tries < RETRY_DOUBLINGS ? RETRY_NS << entry->tries
					      : RETRY_NS << RETRY_DOUBLINGS;
}

/* A file taken from the queue. */
struct item {
	struct entry *entry;   /* owned */
	struct verify *verify; /* owned; NULL when it could not be opened */
	int result;            /* as of verify_file() */
};

static void item_done(struct verifier *verifier, struct item *item)
{
	struct entry *entry = item->entry;
	int64_t again_ns = retry_after_ns(verifier, entry, item->result);
	bool failed = again_ns >= RETRY_NS;

	verify_free(item->verify);
	if (again_ns > 0 &&
	    queue(verifier, entry->id, monotonic_ns() + again_ns, entry->tries + failed) < 0)
		log_warning("no memory to verify a file again; it is found at the next start");
	entry_done(verifier, entry);
}

/*
 * Small files that are ready, or one large file; the last may be large behind small ones. All
 * objects are made first: once one has queued its step the others would wait for the disk.
 * Their number; 0: stop.
 */
static unsigned take_group(struct worker *worker, struct item items[GROUP_FILES])
{
	struct verifier *verifier = worker->verifier;
	struct live_look look = { 0 };
	unsigned count = 0;

	while (count < GROUP_FILES) {
		struct item *item = &items[count];
		struct entry *entry =
			take_due(verifier, worker->index, count ? TAKE_READY : TAKE_WAITING);

		if (!entry)
			break;
		*item = (struct item){ .entry = entry };
		item->result = verify_open(verifier->volume, entry->id, &look, &item->verify);
		count++;
		if (item->result != 0)
			continue;
		if (verify_size(item->verify) > SMALL_BYTES)
			break;
		verify_prepare(item->verify);
	}
	return count;
}

/* Read back as many as share one step; their number. */
static unsigned run_group(struct worker *worker, struct item *items, unsigned count)
{
	struct verifier *verifier = worker->verifier;
	const struct verify_host host = { .pace = pace_gently,
					  .is_stopping = is_stopping,
					  .arg = verifier };
	int64_t end_ns = monotonic_ns() + GROUP_NS;
	unsigned run = 0;

	do {
		struct item *item = &items[run];

		if (run && item->result == 0 && verify_size(item->verify) > SMALL_BYTES)
			break; /* nobody waits for it */
		if (item->result == 0)
			item->result = verify_run(item->verify, &host);
		run++;
	} while (run < count && monotonic_ns() < end_ns);

	/* An error of the catalog is found by each step that was not taken. */
	(void)catalog_barrier(verifier->volume->catalog);
	for (unsigned i = 0; i < run; i++) {
		/* Without one it was 1: gone. */
		if (items[i].result == 0)
			items[i].result = verify_end(items[i].verify);
		item_done(verifier, &items[i]);
	}
	return run;
}

static void *worker_main(void *arg)
{
	struct worker *worker = arg;
	struct item items[GROUP_FILES];
	unsigned count;

	while ((count = take_group(worker, items)) > 0)
		for (unsigned done = 0; done < count;)
			done += run_group(worker, items + done, count - done);
	return NULL;
}

/* Life ---------------------------------------------------------------------------------- */

struct verifier *verifier_new(struct volume *volume)
{
	struct verifier *verifier = calloc(1, sizeof(*verifier));

	if (!verifier)
		return NULL;
	verifier->volume = volume;
	bucket_init(&verifier->bucket, 0);
	meter_init(&verifier->meter);
	mutex_init(&verifier->lock, 40);
	cond_init(&verifier->wake);
	cond_init(&verifier->stop);
	table_init(&verifier->by_id);
	for (unsigned i = 0; i < THREADS; i++)
		verifier->workers[i] = (struct worker){ .verifier = verifier, .index = i };
	return verifier;
}

static int add_found(void *arg, const char *name, const struct node_row *row)
{
	(void)name;
	return add(arg, row->id);
}

int verifier_start(struct verifier *verifier)
{
	unsigned unverified = 1u << FILE_RECEIVING | 1u << FILE_RECEIVED;
	int r;

	r = catalog_each_file(verifier->volume->catalog, unverified, 0, add_found, verifier);
	if (r < 0)
		return r;
	if (verifier->volume->flags & VOLUME_NO_THREADS)
		return 0;
	for (unsigned i = 0; i < THREADS; i++) {
		char name[16];

		(void)snprintf(name, sizeof(name), "verify-%u", i);
		r = thread_start(&verifier->threads[i], name, worker_main, &verifier->workers[i]);
		if (r < 0)
			return r;
	}
	return 0;
}

static void stop(struct verifier *verifier)
{
	mutex_lock(&verifier->lock);
	verifier->stopping = true;
	cond_broadcast(&verifier->wake);
	cond_broadcast(&verifier->stop);
	mutex_unlock(&verifier->lock);
	bucket_stop(&verifier->bucket);
	for (unsigned i = 0; i < THREADS; i++)
		thread_join(&verifier->threads[i]);
}

/* What is only in memory goes into the catalog, for the next start to verify against. */
static void keep_rest(struct verifier *verifier)
{
	const struct verify_host host = { .pace = pace_at_once,
					  .is_stopping = is_late,
					  .arg = verifier };
	struct entry *entry;

	verifier->keep_until_ns = monotonic_ns() + KEEP_NS;
	while ((entry = verifier->first)) {
		if (entry->live && must_hold(entry->live))
			(void)verify_file(verifier->volume, entry->id, VERIFY_KEEP_ONLY, &host);
		remove_locked(verifier, entry);
		live_put(entry->live);
		free(entry);
	}
}

void verifier_free(struct verifier *verifier)
{
	if (!verifier)
		return;
	stop(verifier);
	keep_rest(verifier);
	table_fini(&verifier->by_id);
	cond_fini(&verifier->stop);
	cond_fini(&verifier->wake);
	mutex_fini(&verifier->lock);
	meter_fini(&verifier->meter);
	bucket_fini(&verifier->bucket);
	free(verifier);
}

/* Others -------------------------------------------------------------------------------- */

/* Wait until nobody else verifies or moves it. */
static void wait_free(struct live *live)
{
	scoped_lock(&live->lock);
	while (live->verifying || live->moving)
		cond_wait(&live->changed, &live->lock);
}

int verifier_run(struct verifier *verifier, uint64_t id)
{
	const struct verify_host host = { .pace = pace_at_once,
					  .is_stopping = is_stopping,
					  .arg = verifier };
	cleanup_with(live_put_slot) struct live *live = NULL;
	int r;

	r = live_get(verifier->volume, id, -1, &live);
	if (r < 0)
		return r;
	while ((r = verify_file(verifier->volume, id, VERIFY_WHILE_OPEN, &host)) == -EBUSY)
		wait_free(live);
	if (r != 1)
		return r;
	scoped_lock(&live->lock);
	return live->state == FILE_DAMAGED ? -EBADMSG : 0;
}

void verifier_get(struct verifier *verifier, uint64_t *ret_backlog, uint64_t *ret_rate)
{
	mutex_lock(&verifier->lock);
	*ret_backlog = verifier->by_id.used + verifier->working;
	mutex_unlock(&verifier->lock);
	*ret_rate = meter_rate(&verifier->meter);
}

bool verifier_steps_aside(struct verifier *verifier)
{
	look_aside(verifier); /* the threads may be waiting for the disk */
	scoped_lock(&verifier->lock);
	return (verifier->first || verifier->working) && steps_aside_locked(verifier);
}
