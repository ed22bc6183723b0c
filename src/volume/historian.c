/* SPDX-License-Identifier: Apache-2.0 */
#include "volume/historian.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "catalog/offloads.h"
#include "hash/digest.h"
#include "util/cleanup.h"
#include "util/clock.h"
#include "util/error.h"
#include "util/io.h"
#include "util/log.h"
#include "util/table.h"
#include "volume/history.h"
#include "volume/incomplete.h"
#include "volume/media.h"
#include "volume/offloads.h"
#include "volume/seals.h"
#include "volume/settled.h"

#define FOLDERS_AT_ONCE 4096             /* in one look; the others in the next */
#define PAUSE_LEAST_NS (100 * NS_PER_MS) /* between two looks */
#define PAUSE_MOST_NS (300 * NS_PER_SEC) /* while something waits */
#define LOOKS_SHARE 10                   /* a look may take one part in so many of the time */
#define TOLD_MAX 1024                    /* offloads of which we know what was said last */
#define FINDINGS_TOLD 20                 /* by name, of one offload */
#define NICE 10

struct historian {
	/* Constant after historian_new(). */
	struct volume *volume; /* borrowed, outlives us */
	struct thread thread;

	struct mutex lock; /* rank 51; guards the next ones */
	struct cond changed;
	bool stopping;
	int64_t look_ns; /* monotonic: when to look next; INT64_MAX: when somebody says so */
	struct settled settled;

	/* Only the thread. */
	struct table told; /* folder of an offload -> hash of what was said of it, as a pointer */
	int64_t pause_ns;  /* before what waits is looked at again */
};

/* A folder in which files were verified. */
struct note {
	struct unsettled row;
	char *path; /* owned; relative to the root */
	bool due, done;
};

struct notes {
	struct note *list; /* owned, by path */
	size_t count;
	int64_t next_ns; /* realtime: when the first of those that are not due will be */
};

struct look {
	struct historian *historian;
	struct card_rules *rules; /* owned */
	struct notes notes;
	enum manifest_kind kind;
	unsigned formats;
	bool waits; /* for something else than time */
};

/* Time ---------------------------------------------------------------------------------- */

static bool is_stopping(struct historian *historian)
{
	scoped_lock(&historian->lock);
	return historian->stopping;
}

static int tick(void *arg, const struct tree_progress *progress)
{
	(void)progress;
	return is_stopping(arg);
}

static int64_t settle_ns(struct historian *historian)
{
	int64_t ns = volume_setting(historian->volume, SETTING_MANIFEST_SETTLE);

	return ns > PAUSE_LEAST_NS ? ns : PAUSE_LEAST_NS;
}

static void look_in(struct historian *historian, int64_t pause_ns)
{
	int64_t at_ns = monotonic_ns() + pause_ns;

	scoped_lock(&historian->lock);
	if (at_ns >= historian->look_ns)
		return;
	historian->look_ns = at_ns;
	cond_signal(&historian->changed);
}

void historian_wake(struct historian *historian)
{
	look_in(historian, settle_ns(historian));
}

/* False when it is time to stop. */
static bool wait_for_look(struct historian *historian)
{
	scoped_lock(&historian->lock);
	while (!historian->stopping && monotonic_ns() < historian->look_ns) {
		if (historian->look_ns == INT64_MAX)
			cond_wait(&historian->changed, &historian->lock);
		else
			(void)cond_wait_until(&historian->changed, &historian->lock,
					      historian->look_ns);
	}
	historian->look_ns = INT64_MAX;
	return !historian->stopping;
}

/* What is said --------------------------------------------------------------------------- */

/* False when the same was said of the offload before, since the start. */
static bool is_news(struct historian *historian, uint64_t folder, const char *text)
{
	uintptr_t hash = (uintptr_t)block_hash(text, strlen(text)) | 1;

	if ((uintptr_t)table_get(&historian->told, folder) == hash)
		return false;
	if (historian->told.used >= TOLD_MAX) {
		table_fini(&historian->told);
		table_init(&historian->told);
	}
	(void)table_put(&historian->told, folder, (void *)hash); /* else it is said again */
	return true;
}

static void tell_not_made(struct look *look, const struct offload *offload, const char *why)
{
	if (!is_news(look->historian, offload->id, why))
		return;
	log_warning("%s: no history is written: %s", offload->path, why);
	volume_event(look->historian->volume, "daemon", "no history", offload->path, NULL, why);
}

static void tell_written(struct look *look, const struct offload *offload,
			 const struct verdict *verdict)
{
	char detail[64];

	(void)snprintf(detail, sizeof(detail), "%llu files", (unsigned long long)offload->files);
	for (size_t i = 0; i < verdict->written_count; i++) {
		cleanup_free char *path = path_join(offload->path, verdict->written[i]);

		if (!path)
			continue;
		log_info("%s: written, %s", path, detail);
		volume_event(look->historian->volume, "daemon", "history written", path, NULL,
			     detail);
	}
}

/* A card that brought its own history, or files that were changed since it was written. */
static void tell_findings(struct look *look, const struct offload *offload,
			  const struct verdict *verdict)
{
	size_t told = 0;

	for (size_t i = 0; i < verdict->count && told < FINDINGS_TOLD; i++) {
		const struct finding *finding = &verdict->findings[i];
		cleanup_free char *path = path_join(offload->path, finding->path);
		char detail[256];

		if (!path || (finding->kind != FINDING_DAMAGED && finding->kind != FINDING_MISSING))
			continue;
		told++;
		if (finding->kind == FINDING_MISSING)
			(void)snprintf(detail, sizeof(detail),
				       "its manifest tells of it, and it "
				       "is not there");
		else
			(void)snprintf(detail, sizeof(detail),
				       "not as its manifest says: %s %s, "
				       "is %s",
				       finding->format, finding->recorded, finding->actual);
		log_error("%s: %s", path, detail);
		volume_event(look->historian->volume, "daemon", "manifest mismatch", path, NULL,
			     detail);
	}
}

/* The first finding that kept anything from being written; "" when there is none. */
static void find_obstacle(const struct verdict *verdict, enum finding_kind kind, char *text,
			  size_t size)
{
	*text = '\0';
	for (size_t i = 0; !*text && i < verdict->count; i++) {
		const struct finding *finding = &verdict->findings[i];

		if (finding->kind == kind)
			(void)snprintf(text, size, "%s: %s", finding->path,
				       finding->detail ? finding->detail : "cannot be read");
	}
}

/* True when the offload is done with until another file of it is verified. */
static bool judge(struct look *look, const struct offload *offload, const struct verdict *verdict)
{
	char text[512];

	if (verdict->written_count) {
		tell_written(look, offload, verdict);
		tell_findings(look, offload, verdict);
		return true;
	}
	find_obstacle(verdict, FINDING_NAME, text, sizeof(text));
	if (*text) {
		tell_not_made(look, offload, text);
		return false; /* renaming it verifies nothing */
	}
	find_obstacle(verdict, FINDING_UNREADABLE, text, sizeof(text));
	if (*text) {
		log_debug("%s: no history yet: %s", offload->path, text);
		return false;
	}
	if (verdict->class != CLASS_OK && verdict->why)
		tell_not_made(look, offload, verdict->why);
	return true;
}

/* Looking -------------------------------------------------------------------------------- */

static bool is_in(const char *folder, const char *path)
{
	size_t length = strlen(folder);

	return strncmp(path, folder, length) == 0 && (path[length] == '/' || !path[length]);
}

/* -1: a note in it is not due; 0: none in it; 1: at least one. */
static int notes_in(const struct notes *notes, const char *path)
{
	int any = 0;

	for (size_t i = 0; i < notes->count; i++) {
		if (!is_in(path, notes->list[i].path))
			continue;
		if (!notes->list[i].due)
			return -1;
		any = 1;
	}
	return any;
}

static void done_in(struct notes *notes, const char *path, bool done)
{
	for (size_t i = 0; i < notes->count; i++) {
		if (is_in(path, notes->list[i].path))
			notes->list[i].done = done;
	}
}

static bool is_history(const char *folder)
{
	const char *slash = strrchr(folder, '/');

	return strcmp(slash ? slash + 1 : folder, HISTORY_FOLDER) == 0;
}

/* When the last file of it was verified; 0: none but our own manifests. */
static int64_t newest_in(const struct notes *notes, const char *path)
{
	int64_t newest_ns = 0;

	for (size_t i = 0; i < notes->count; i++) {
		const struct note *note = &notes->list[i];

		if (is_in(path, note->path) && !is_history(note->path) &&
		    note->row.noted_ns > newest_ns)
			newest_ns = note->row.noted_ns;
	}
	return newest_ns;
}

static int tick_media(void *arg, size_t done, size_t count)
{
	(void)done, (void)count;
	return is_stopping(arg) ? -ECANCELED : 0;
}

/* While its bytes are here: who asks later may find them evicted. */
static int hear_clips(struct look *look, const struct offload *offload)
{
	struct volume *volume = look->historian->volume;
	cleanup_with(media_fini) struct media media = { 0 };
	const struct media_look how = {
		.catalog = volume->catalog,
		.store = volume->store,
		.tick = tick_media,
		.arg = look->historian,
	};
	int r = media_of(offload, &media);

	if (r == 0)
		r = media_look(&how, &media);
	if (media.error)
		log_debug("%s: nobody looks into its clips: %s", offload->path, media.error);
	return r;
}

/* True: told, and what it lacks is waited for. */
static bool lacks_something(struct look *look, const struct offload *offload)
{
	struct volume *volume = look->historian->volume;
	int64_t newest_ns = newest_in(&look->notes, offload->path);
	char why[512];
	int r = newest_ns ? offload_looks_incomplete(volume, offload, newest_ns, why, sizeof(why))
			  : 0;

	if (r != 0)
		tell_not_made(look, offload, r < 0 ? error_text(r) : why);
	return r != 0;
}

size_t historian_settled(struct historian *historian,
			 struct settled_offload ret_list[SETTLED_OFFLOADS_MAX])
{
	scoped_lock(&historian->lock);
	memcpy(ret_list, historian->settled.list, sizeof(historian->settled.list));
	return historian->settled.count;
}

static int look_at_offload(struct look *look, const struct offload *offload)
{
	struct historian *historian = look->historian;
	const struct history_task task = {
		.volume = historian->volume,
		.folder = offload->id,
		.path = offload->path,
		.kind = look->kind,
		.formats = look->formats,
		.seal = volume_setting(historian->volume, SETTING_MANIFEST_SEAL),
		.tick = tick,
		.arg = historian,
	};
	struct history_result result;
	bool done = false;
	int r, in = notes_in(&look->notes, offload->path);

	if (in <= 0) {
		if (in < 0)
			done_in(&look->notes, offload->path, false);
		return 0;
	}
	r = offload->unfinished ? 0 : hear_clips(look, offload);
	if (r < 0)
		return r;
	if (look->kind == MANIFEST_NONE)
		return 0;
	/* What `mediafs offload` has not brought yet, or a person, belongs to it. */
	if (offload->unfinished || lacks_something(look, offload)) {
		done_in(&look->notes, offload->path, false);
		look->waits = true;
		return 0;
	}
	r = history_make(&task, &result);
	if (r == 0 && *result.waits)
		log_debug("%s: no history yet: %s", offload->path, result.waits);
	else if (r == 0)
		done = judge(look, offload, &result.verdict);
	else if (r != -ECANCELED)
		tell_not_made(look, offload, error_text(r));
	verdict_fini(&result.verdict);
	done_in(&look->notes, offload->path, done);
	if (done) {
		scoped_lock(&historian->lock);
		settled_note(&historian->settled, offload->id);
	}
	look->waits = look->waits || !done;
	return r == -ECANCELED ? r : 0;
}

/* The folder @top at the root, which some note lies in. What is in no offload is done with. */
static int look_in_top(struct look *look, const char *top)
{
	struct catalog *catalog = look->historian->volume->catalog;
	cleanup_with(offloads_fini) struct offloads offloads = { 0 };
	struct node_row row;
	int r = catalog_lookup_path(catalog, top, &row);

	if (r <= 0)
		return r;
	r = offloads_find(catalog, look->rules, row.id, top, SIZE_MAX, &offloads);
	for (size_t i = 0; r == 0 && i < offloads.count; i++)
		r = look_at_offload(look, &offloads.list[i]);
	return r;
}

static int by_path(const void *a, const void *b)
{
	return strcmp(((const struct note *)a)->path, ((const struct note *)b)->path);
}

static int load_notes(struct historian *historian, struct notes *notes)
{
	struct catalog *catalog = historian->volume->catalog;
	cleanup_free struct unsettled *rows = calloc(FOLDERS_AT_ONCE, sizeof(*rows));
	int64_t settle = settle_ns(historian), now_ns = realtime_ns();
	int count;

	notes->next_ns = INT64_MAX;
	notes->list = calloc(FOLDERS_AT_ONCE, sizeof(*notes->list));
	if (!rows || !notes->list)
		return -ENOMEM;
	count = catalog_get_unsettled(catalog, 0, rows, FOLDERS_AT_ONCE);
	for (int i = 0; i < count; i++) {
		struct note *note = &notes->list[notes->count];
		int64_t due_ns = rows[i].noted_ns + settle;
		int r = catalog_path_of(catalog, rows[i].folder, &note->path);

		if (r < 0)
			return r;
		if (r == 0)
			continue; /* it goes with its folder */
		note->row = rows[i];
		/* A clock that was set back makes nobody wait for years. */
		note->due = due_ns <= now_ns || rows[i].noted_ns > now_ns;
		note->done = note->due;
		if (!note->due && due_ns < notes->next_ns)
			notes->next_ns = due_ns;
		notes->count++;
	}
	if (notes->count)
		qsort(notes->list, notes->count, sizeof(*notes->list), by_path);
	return count < 0 ? count : 0;
}

static void notes_fini(struct notes *notes)
{
	for (size_t i = 0; i < notes->count; i++)
		free(notes->list[i].path);
	free(notes->list);
}

static bool is_due_in(const struct notes *notes, const char *top)
{
	for (size_t i = 0; i < notes->count; i++) {
		if (notes->list[i].due && is_in(top, notes->list[i].path))
			return true;
	}
	return false;
}

/* Each folder at the root that holds a note that is due, once. The root itself is no offload. */
static int look_at_notes(struct look *look)
{
	const struct notes *notes = &look->notes;
	cleanup_free char *last = NULL;
	int r = 0;

	for (size_t i = 0; r == 0 && i < notes->count; i++) {
		const char *path = notes->list[i].path;
		char *top;

		if (last && is_in(last, path))
			continue;
		top = strndup(path, strcspn(path, "/"));
		if (!top)
			return -ENOMEM;
		free(last);
		last = top;
		if (*top && is_due_in(notes, top))
			r = look_in_top(look, top);
	}
	return r;
}

static int forget_done(const struct look *look)
{
	struct catalog *catalog = look->historian->volume->catalog;
	int r = 0;

	for (size_t i = 0; r == 0 && i < look->notes.count; i++) {
		const struct note *note = &look->notes.list[i];

		if (note->done)
			r = catalog_clear_unsettled(catalog, &note->row);
	}
	return r;
}

static int run_look(struct look *look)
{
	struct volume *volume = look->historian->volume;
	cleanup_free char *folder = store_file(volume->store, "cards.d");
	int r = catalog_barrier(volume->catalog);

	look->kind = (enum manifest_kind)volume_setting(volume, SETTING_MANIFEST_KIND);
	look->formats = (unsigned)volume_setting(volume, SETTING_MANIFEST_HASH);
	if (r == 0)
		r = load_notes(look->historian, &look->notes);
	if (r == 0 && look->notes.count) {
		r = folder ? card_rules_load(folder, &look->rules) : -ENOMEM;
		if (r == 0)
			r = look_at_notes(look);
	}
	return r < 0 ? r : forget_done(look);
}

/* One look, and when the next one is. */
static void look_around(struct historian *historian)
{
	struct look look = { .historian = historian };
	int64_t start_ns = monotonic_ns(), pause_ns, took_ns;
	int r = run_look(&look);

	if (r < 0 && r != -ECANCELED)
		log_warning_errno(r, "cannot look for offloads that want a history, trying again");
	took_ns = monotonic_ns() - start_ns;
	/* What waits for a person is asked for less and less often. */
	historian->pause_ns = look.waits || r < 0 ? historian->pause_ns * 2 : 0;
	if (historian->pause_ns > PAUSE_MOST_NS)
		historian->pause_ns = PAUSE_MOST_NS;
	if ((look.waits || r < 0) && historian->pause_ns < settle_ns(historian))
		historian->pause_ns = settle_ns(historian);
	pause_ns = historian->pause_ns ? historian->pause_ns : INT64_MAX / 2;
	if (look.notes.next_ns != INT64_MAX && look.notes.next_ns - realtime_ns() < pause_ns)
		pause_ns = look.notes.next_ns - realtime_ns();
	if (pause_ns < took_ns * LOOKS_SHARE)
		pause_ns = took_ns * LOOKS_SHARE;
	if (pause_ns < PAUSE_LEAST_NS)
		pause_ns = PAUSE_LEAST_NS;
	if (pause_ns < INT64_MAX / 2)
		look_in(historian, pause_ns);
	notes_fini(&look.notes);
	card_rules_free(look.rules);
}

static void *historian_body(void *arg)
{
	struct historian *historian = arg;

	(void)setpriority(PRIO_PROCESS, (id_t)syscall(SYS_gettid), NICE); /* of this thread only */
	seals_exempt_me(historian->volume->seals);
	while (wait_for_look(historian))
		look_around(historian);
	return NULL;
}

/* Life ---------------------------------------------------------------------------------- */

struct historian *historian_new(struct volume *volume)
{
	struct historian *historian = calloc(1, sizeof(*historian));

	if (!historian)
		return NULL;
	historian->volume = volume;
	historian->look_ns = 0; /* what an earlier run left */
	mutex_init(&historian->lock, 51);
	cond_init(&historian->changed);
	table_init(&historian->told);
	return historian;
}

int historian_start(struct historian *historian)
{
	if (historian->volume->flags & VOLUME_READ_ONLY)
		return 0;
	return thread_start(&historian->thread, "histories", historian_body, historian);
}

void historian_stop(struct historian *historian)
{
	mutex_lock(&historian->lock);
	historian->stopping = true;
	cond_broadcast(&historian->changed);
	mutex_unlock(&historian->lock);
	thread_join(&historian->thread);
}

void historian_free(struct historian *historian)
{
	if (!historian)
		return;
	table_fini(&historian->told);
	cond_fini(&historian->changed);
	mutex_fini(&historian->lock);
	free(historian);
}
