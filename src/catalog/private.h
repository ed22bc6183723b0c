/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * Inside the catalog: connections, statements, steps of the writer, notes for the syncer.
 * Only src/catalog/ (and its tests) may include this.
 *
 * How to read: a statement is STATEMENT(sql_x, "SELECT ...") beside the function that runs it.
 *
 *	cleanup_reader struct db *db = NULL;
 *	cleanup_query struct query query = { 0 };
 *
 *	r = reader_take(catalog, &db);
 *	if (r < 0)
 *		return r;
 *	query = query_start(db, &sql_x);
 *	query_int(&query, id);            parameters, in the order of their numbers
 *	r = query_row(&query);            1 a row, 0 the end, negative errno
 *	value = query_get_int(&query, 0); columns count from 0
 *
 * The query must be declared after the reader: it ends first. Never call out (a callback,
 * other catalog_*() calls) while a reader is held: read a page, give the reader back, then call.
 * Several statements that must see one state go between db_begin_read() and db_end_read().
 *
 * How to write: a step is a heap object that starts with struct step and carries copies of all it
 * needs; the writer thread calls its apply function inside a transaction.
 *
 *	struct x_step { struct step step; uint64_t id; };
 *	static int apply_x(struct db *db, struct step *step)
 *	{
 *		struct x_step *x = (struct x_step *)step;
 *		struct query query = query_start(db, &sql_x);
 *
 *		query_int(&query, x->id);
 *		return query_run(&query);
 *	}
 *	int catalog_x(struct catalog *catalog, uint64_t id)
 *	{
 *		struct x_step *x = step_new(sizeof(*x), apply_x);
 *
 *		if (!x)
 *			return -ENOMEM;
 *		x->id = id;
 *		return step_submit(catalog, &x->step, 0);
 *	}
 *
 * What apply returns: 0, or a refusal (-ESTALE, -ENOENT, ...) given before anything was changed;
 * a waiting caller is told, otherwise the step is dropped. A failure of the database or of memory
 * in the middle is another thing: query functions note it in db->error by themselves, others call
 * db_fail(); then the whole transaction is rolled back, and (but for the steps that somebody
 * waits for) tried again later: apply must not change the step, or bear to be called again.
 * A step that returns values writes them through pointers into its waiting caller (STEP_WAIT).
 */
#include <sqlite3.h>

#include "catalog/contents.h"
#include "util/cleanup.h"
#include "util/thread.h"

/* Statements -------------------------------------------------------------------------- */

enum statement_flags {
	STATEMENT_SCANS = 1 << 0, /* may walk a whole table: not for hot paths */
};

/* All of them lie in one section, so that every connection can cache them by index and a test
 * can ask for the plan of each. Two words, so that the section is an array. */
struct statement {
	const char *sql;
	uintptr_t flags; /* enum statement_flags */
};

#define DEFINE_STATEMENT(name, how, text)                                                          \
	static const struct statement name                                                         \
		__attribute__((used, section("catalog_sql"), aligned(sizeof(void *)))) = { text,   \
											   how }
#define STATEMENT(name, text) DEFINE_STATEMENT(name, 0, text)
#define SCAN_STATEMENT(name, text) DEFINE_STATEMENT(name, STATEMENT_SCANS, text)

/* Every statement of the program. */
const struct statement *statement_list(size_t *ret_count);

/* Connections ------------------------------------------------------------------------- */

struct db {
	struct catalog *catalog; /* borrowed */
	sqlite3 *sqlite;         /* owned */
	sqlite3_stmt **cache;    /* owned, by index of the statement */
	int error;               /* first failure: what the writer rolls back for */
};

enum db_flags {
	DB_WRITE = 1 << 0,
	DB_CREATE = 1 << 1,
	DB_STILL = 1 << 2, /* on a read-only file system: nobody changes it, no locks */
};
int db_open(const char *path, enum db_flags flags, struct db **ret_db);
void db_close(struct db *db);
DEFINE_CLEANUP(struct db *, db_close)

/* Note @error as the connection's failure; returns it. */
int db_fail(struct db *db, int error);

/* After a failure: no statement is in the middle of something, no error is noted. */
void db_reset(struct db *db);

/* The negative errno for a result code of SQLite. */
int db_errno(int code);

/* Run @sql (one or more statements, no parameters, not cached). */
int db_exec(struct db *db, const char *sql);
int db_begin_read(struct db *db);
void db_end_read(struct db *db);

struct query {
	struct db *db;
	sqlite3_stmt *stmt; /* borrowed from the cache; NULL when it failed or ended */
	int parameters;
	int error;
};

struct query query_start(struct db *db, const struct statement *statement);
/* With the tier as ?1 and the key as ?2. */
struct query query_about_key(struct db *db, const struct statement *statement, uint32_t tier,
			     const char *key);
void query_int(struct query *query, int64_t value);
void query_text(struct query *query, const char *text);                 /* NULL binds NULL */
void query_blob(struct query *query, const void *bytes, size_t length); /* not copied */
void query_bytes(struct query *query, const char *text);                /* a string as BLOB */
int query_row(struct query *query);                                     /* 1, 0, -errno */
int query_run(struct query *query);                                     /* to its end */
int query_found(struct query *query); /* 1 when there is a row, 0 not; ends */
void query_end(struct query *query);
int64_t query_get_int(struct query *query, int column); /* 0 for NULL */
bool query_is_null(struct query *query, int column);
/* Borrowed until the next row. "" for NULL. */
const char *query_get_text(struct query *query, int column);
const void *query_get_blob(struct query *query, int column, size_t *ret_length);
/* A copy as a string; -EUCLEAN when it holds NUL; caller frees. */
int query_copy_bytes(struct query *query, int column, char **ret_text);
int query_get_digest(struct query *query, int column, struct digest *ret_digest);
/* -EUCLEAN unless a packed map of @size bytes. */
int query_get_map(struct query *query, int column, uint64_t size, struct blockmap *ret_map);

static inline void query_end_slot(struct query *query)
{
	query_end(query);
}
#define cleanup_query cleanup_with(query_end_slot)

/* A reading connection for this thread; waits while all are in use. */
int reader_take(struct catalog *catalog, struct db **ret_db);
void reader_give(struct db *db);
DEFINE_CLEANUP(struct db *, reader_give)
#define cleanup_reader cleanup_with(reader_give_slot)

/* Steps ------------------------------------------------------------------------------- */

struct step;
typedef int (*step_fn)(struct db *db, struct step *step);

struct step_wait;
struct step {
	struct step *next;
	step_fn apply;
	size_t bytes;
	int64_t time_ns; /* realtime_ns() when it was queued */
	bool durable;
	int result;
	struct step_wait *wait; /* borrowed from the caller who waits, or NULL */
};

/* Zeroed, @bytes in all. NULL without memory. One free() must free it. */
void *step_new(size_t bytes, step_fn apply);

/* The same, of at most RESERVED_BYTES, with what catalog_reserve() holds when there is no memory.
 */
#define RESERVED_BYTES 1024
void *step_new_reserved(size_t bytes, step_fn apply);

/* Queue it; the step belongs to the writer from now on, whatever is returned. */
int step_submit(struct catalog *catalog, struct step *step, enum step_flags flags);

/* The catalog ------------------------------------------------------------------------- */

#define QUEUE_MAX_STEPS 65536u
#define QUEUE_MAX_BYTES (64u << 20)
#define BATCH_MAX_STEPS 4096u
/* What is kept while nothing can be written: some hundred thousand changes. */
#define KEPT_MAX_STEPS (16 * QUEUE_MAX_STEPS)
#define KEPT_MAX_BYTES (4 * (size_t)QUEUE_MAX_BYTES)
#define BATCH_DELAY_NS (150 * 1000000ll) /* leaves 50 ms of the promised 200 to apply them */
#define READERS_MAX 8
#define WANTED_MAX 4096u
#define WRITE_TIMEOUT_MS 60000 /* for the lock of another process that writes */

struct writer {
	struct db *db; /* owned; the writer thread's, once that runs */
	struct thread thread;

	struct mutex lock;  /* rank 60; guards the rest */
	struct cond work;   /* for the writer: steps, somebody waits, stop */
	struct cond space;  /* for callers: the queue has room */
	struct cond done;   /* for those who wait for their step */
	struct step *first; /* owned */
	struct step **last;
	size_t steps, bytes;
	size_t taken;     /* from the queue, and not readable yet */
	uint64_t applied; /* steps that are readable, since the start */
	size_t hurried;   /* steps queued that somebody waits for */
	size_t squeezed;  /* callers that wait, for room or for what is queued */
	int64_t since_ns; /* monotonic, of the oldest step queued */
	bool stop;
	int error;        /* nothing can be written, 0: all is well */
	bool lost;        /* with an error: for good, what was queued is gone */
	int64_t pause_ns; /* between attempts, while there is an error */
	int64_t retry_ns; /* monotonic: the next one */
};

struct catalog {
	/* Constant after catalog_open(). */
	char *path;
	char *site;
	enum catalog_flags flags;
	enum db_flags reader_flags;
	bool unclean; /* also by catalog_renumber(), before others use it */

	_Atomic bool keep_unclean; /* when it closes */
	_Atomic uint64_t told;     /* segments of other sites; the writer thread counts */

	struct writer writer;

	/* Only the writer thread, once it runs. */
	bool publishing;    /* meta "sync" is "on": note what changes in `unpublished` */
	int64_t noted_ns;   /* last given; rises strictly */
	bool unsynced;      /* something was committed that no fsync followed */
	int wal_pages;      /* at the last commit */
	bool full_sync;     /* what the connection is set to */
	uint64_t event_seq; /* last one, valid while @events_loaded */
	uint8_t event_chain[CHAIN_BYTES];
	bool events_loaded; /* in this transaction */
	bool events_added;

	struct mutex readers_lock; /* rank 61; guards these */
	struct cond readers_free;
	struct db *readers[READERS_MAX]; /* idle ones, owned */
	unsigned idle_readers, open_readers;

	struct mutex wanted_lock; /* rank 62; guards the rest, see catalog_take_wanted() */
	uint64_t wanted[WANTED_MAX];
	size_t wanted_count;
	bool wants_more;
};

/* heal.c: true for failures that may pass (no room, the disk, memory, another process). */
bool heal_can(int error);

/*
 * Before what failed with @error is tried again: make the connection fit for use, and be sure of
 * what was committed before. 0, or why not yet; -EUCLEAN: never.
 */
int heal(struct db *db, int error);

/* Whether changes are noted for the syncer, as the database has it. */
int load_publishing(struct catalog *catalog, struct db *db);

int writer_start(struct catalog *catalog);
void writer_stop(struct catalog *catalog); /* applies what is queued; joins */

void readers_init(struct catalog *catalog);
void readers_fini(struct catalog *catalog);

/* schema.c: create or migrate inside one transaction of @db; -EPROTONOSUPPORT, -EUCLEAN. */
extern const char schema_sync[];     /* schema_sync.c */
extern const char schema_offloads[]; /* offloads.c */
extern const char schema_seals[];    /* offloads.c */
extern const char schema_doubts[];   /* doubts.c */
int schema_prepare(struct db *db, enum catalog_flags flags);

/* A connection that only reads gets, for itself and empty, what an older catalog does not have. */
int schema_lend(struct db *db);

/* events.c, around each transaction of the writer. */
void events_begin(struct db *db);
int events_commit(struct db *db);

/* The boot_id of the machine when the catalog was level last: catalog_was_rebooted(). */
#define META_BOOT "sync.boot"

/* meta.c: inside a transaction of the writer (or before it runs). */
int db_set_meta(struct db *db, const char *key, const char *value);
int db_get_meta(struct db *db, const char *key, char **ret_value);

/* offloads.c: in the folders of @id a file was verified. Inside a transaction of the writer. */
int db_note_unsettled(struct db *db, uint64_t id, int64_t noted_ns);

/* Nodes ------------------------------------------------------------------------------- */

/* Paths may be longer than PATH_MAX (folders made and entered one by one). Beyond this it is a
 * loop in a broken catalog. */
#define PATH_LOOP_BYTES (256u << 10)

/* For SELECTs over inodes as i; read with query_get_node(). */
#define NODE_COLUMNS                                                                               \
	"i.id, i.mode, i.size, i.mtime_ns, i.ctime_ns, i.generation, i.state, i.state_ns, "        \
	"i.content, i.flags, i.resident, i.error"
#define NODE_COLUMN_COUNT 12

/* -EUCLEAN when it cannot be. */
int query_get_node(struct query *query, int first_column, struct node_row *ret_row);

/* A name column (BLOB) into 256 bytes; -EUCLEAN when it is none. */
int query_get_name(struct query *query, int column, char ret_name[NAME_MAX_BYTES + 1]);

/* 1 found, 0 not. */
int db_get_node(struct db *db, uint64_t id, struct node_row *ret_row);

/*
 * A path of @id: 1 found (caller frees), 0 when it (or a folder above) has no name,
 * -EUCLEAN when it cannot be one (a loop).
 */
int db_path_of(struct db *db, uint64_t id, char **ret_path);

/* Notes for the syncer (only while catalog->publishing; otherwise nothing happens) ------ */

/*
 * `unpublished` holds the paths whose name, attributes or state changed since the syncer looked.
 * noted_ns rises strictly with every note, so the syncer removes a row it has dealt with only
 * if noted_ns is still what it read. subtree: everything below is to be looked at, too.
 * Meta "sync" = "on" (catalog_set_meta()) starts it and notes the root with its subtree.
 */
enum note_flags { NOTE_SUBTREE = 1 << 0 };
int note_path(struct db *db, const char *path, enum note_flags flags);
int note_name(struct db *db, uint64_t parent, const char *name, enum note_flags flags);
int note_node(struct db *db, uint64_t id); /* every name of it */

/*
 * Everything below @path is the range [ret_low, ret_high) of a BLOB column: "path/" and "path0".
 * For "" it is all: ret_low "", ret_high 0xff... Both at least strlen(@path) + 2 bytes.
 */
void path_range(const char *path, char *ret_low, char *ret_high);

/* Pins (pins.c), in the writer ---------------------------------------------------------- */

/* @id, with all below, is pinned if @from is. */
int db_take_pin(struct db *db, uint64_t from, uint64_t id);
/* The same of the folder @parent, in which @id is about to get a name: unless it has one there. */
int db_enter_folder(struct db *db, uint64_t parent, uint64_t id);
/* For catalog_take_wanted(): @row is about to be @state. */
void db_want_if_pinned(struct db *db, const struct node_row *row, enum file_state state);

/* Contents ---------------------------------------------------------------------------- */

/* Find or make, in the writer. -EUCLEAN (refused) when it exists with another map. */
int db_put_content(struct db *db, uint64_t size, const struct digest *digest, const void *map,
		   size_t map_bytes, uint64_t *ret_content);
int db_put_copy(struct db *db, const struct copy_row *row, const char *key);
int db_has_good_copy(struct db *db, uint64_t content); /* 1, 0, negative errno */

/*
 * doubts.c, inside a transaction of the writer: @row's copy was recorded as a good one; something
 * of another digest than @digest is said to lie under @key; the copy is to be looked at when it is
 * @due_ns (realtime); it was found bad.
 */
int db_believe_copy(struct db *db, const struct copy_row *row, const char *key);
int db_doubt_others(struct db *db, uint32_t tier, const char *key, const struct digest *digest);
int db_doubt_copy(struct db *db, uint64_t content, uint32_t tier, int64_t due_ns);
int db_prove_bad(struct db *db, uint64_t content, uint32_t tier);

/* The guarded step of a file's life: what state.c and the row allow. @ret_row: as it was before. */
int db_may_step(struct db *db, uint64_t id, uint64_t generation, enum file_state to,
		struct node_row *ret_row);
