/* SPDX-License-Identifier: Apache-2.0 */
/* The lists that drive the syncer: unpublished and unshown (catalog/sync.h). */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "catalog/private.h"
#include "catalog/sync.h"

STATEMENT(sql_unpublished, "SELECT path, noted_ns, subtree FROM unpublished WHERE path > ?1"
			   " ORDER BY path LIMIT ?2");
STATEMENT(sql_unpublished_first, "SELECT path, noted_ns, subtree FROM unpublished"
				 " WHERE path >= x'' ORDER BY path LIMIT ?1");
STATEMENT(sql_unshown, "SELECT path, noted_ns, 0 FROM unshown WHERE path > ?1"
		       " ORDER BY path LIMIT ?2");
STATEMENT(sql_clear_unpublished, "DELETE FROM unpublished WHERE path = ?1 AND noted_ns = ?2");
STATEMENT(sql_clear_unshown, "DELETE FROM unshown WHERE path = ?1 AND noted_ns = ?2");
STATEMENT(sql_add_unshown, "INSERT INTO unshown(path, noted_ns) VALUES(?1, 1)"
			   " ON CONFLICT(path) DO UPDATE SET noted_ns = noted_ns + 1");

static int read_notes(struct query *query, size_t max, struct sync_note *notes, size_t *count)
{
	int r = 0;

	while (*count < max && (r = query_row(query)) > 0) {
		struct sync_note *note = &notes[*count];

		r = query_copy_bytes(query, 0, &note->path);
		if (r < 0)
			return r;
		note->noted_ns = query_get_int(query, 1);
		note->subtree = query_get_int(query, 2) != 0;
		(*count)++;
	}
	return r < 0 ? r : 0;
}

static int get_notes(struct catalog *catalog, const struct statement *first,
		     const struct statement *next, const char *after, size_t max,
		     struct sync_note **ret_notes, size_t *ret_count)
{
	cleanup_reader struct db *db = NULL;
	cleanup_query struct query query = { 0 };
	struct sync_note *notes;
	size_t count = 0;
	int r;

	r = reader_take(catalog, &db);
	if (r < 0)
		return r;
	notes = calloc(max + 1, sizeof(*notes));
	if (!notes)
		return -ENOMEM;
	query = query_start(db, after ? next : first);
	if (after || first == next)
		query_bytes(&query, after ? after : "");
	query_int(&query, (int64_t)max);
	r = read_notes(&query, max, notes, &count);
	if (r < 0) {
		sync_notes_free(notes, count);
		return r;
	}
	*ret_notes = notes;
	*ret_count = count;
	return 0;
}

int catalog_get_unpublished(struct catalog *catalog, const char *after, size_t max,
			    struct sync_note **ret_notes, size_t *ret_count)
{
	/* The root's path is "": nothing is before it. */
	return get_notes(catalog, &sql_unpublished_first, &sql_unpublished, after, max, ret_notes,
			 ret_count);
}

int catalog_get_unshown(struct catalog *catalog, const char *after, size_t max,
			struct sync_note **ret_notes, size_t *ret_count)
{
	return get_notes(catalog, &sql_unshown, &sql_unshown, after, max, ret_notes, ret_count);
}

struct note_step {
	struct step step;
	const struct statement *statement;
	int64_t noted_ns;
	enum note_flags flags;
	char path[];
};

static int submit(struct catalog *catalog, step_fn apply, const struct statement *statement,
		  const struct sync_note *note)
{
	size_t length = strlen(note->path);
	struct note_step *step = step_new(sizeof(*step) + length + 1, apply);

	if (!step)
		return -ENOMEM;
	step->statement = statement;
	step->noted_ns = note->noted_ns;
	step->flags = note->subtree ? NOTE_SUBTREE : 0;
	memcpy(step->path, note->path, length + 1);
	return step_submit(catalog, &step->step, 0);
}

static int apply_clear(struct db *db, struct step *step)
{
	struct note_step *note = (struct note_step *)step;
	struct query query = query_start(db, note->statement);

	query_bytes(&query, note->path);
	query_int(&query, note->noted_ns);
	return query_run(&query);
}

int catalog_clear_unpublished(struct catalog *catalog, const struct sync_note *note)
{
	return submit(catalog, apply_clear, &sql_clear_unpublished, note);
}

int catalog_clear_unshown(struct catalog *catalog, const struct sync_note *note)
{
	return submit(catalog, apply_clear, &sql_clear_unshown, note);
}

static int apply_add_unpublished(struct db *db, struct step *step)
{
	struct note_step *note = (struct note_step *)step;

	return note_path(db, note->path, note->flags);
}

static int apply_add_unshown(struct db *db, struct step *step)
{
	struct note_step *note = (struct note_step *)step;
	struct query query = query_start(db, &sql_add_unshown);

	query_bytes(&query, note->path);
	return query_run(&query);
}

int catalog_add_unpublished(struct catalog *catalog, const char *path, bool subtree)
{
	struct sync_note note = { .path = (char *)(uintptr_t)path, .subtree = subtree };

	return submit(catalog, apply_add_unpublished, NULL, &note);
}

int catalog_add_unshown(struct catalog *catalog, const char *path)
{
	struct sync_note note = { .path = (char *)(uintptr_t)path };

	return submit(catalog, apply_add_unshown, NULL, &note);
}
