/* SPDX-License-Identifier: Apache-2.0 */
/* What the disk lost is no deletion (catalog/sync.h). */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>

#include "catalog/private.h"
#include "catalog/sync.h"
#include "util/io.h"

#define BOOT_ID "/proc/sys/kernel/random/boot_id"

STATEMENT(sql_note_at, "INSERT INTO unshown(path, noted_ns)"
		       " SELECT path, 1 FROM versions WHERE shown = ?1"
		       " ON CONFLICT(path) DO UPDATE SET noted_ns = noted_ns + 1");
STATEMENT(sql_note_below, "INSERT INTO unshown(path, noted_ns)"
			  " SELECT path, 1 FROM versions WHERE shown >= ?1 AND shown < ?2"
			  " ON CONFLICT(path) DO UPDATE SET noted_ns = noted_ns + 1");
STATEMENT(sql_drop_at, "DELETE FROM versions WHERE shown = ?1 AND live = 0");
STATEMENT(sql_drop_below, "DELETE FROM versions WHERE shown >= ?1 AND shown < ?2 AND live = 0");
STATEMENT(sql_lose_at, "UPDATE versions SET shown = NULL WHERE shown = ?1");
STATEMENT(sql_lose_below, "UPDATE versions SET shown = NULL WHERE shown >= ?1 AND shown < ?2");

struct lose_step {
	struct step step;
	char *low, *high; /* in text */
	char text[];      /* path, low, high */
};

static int run(struct db *db, const struct statement *statement, const char *first,
	       const char *second)
{
	struct query query = query_start(db, statement);

	query_bytes(&query, first);
	if (second)
		query_bytes(&query, second);
	return query_run(&query);
}

static int apply_lose(struct db *db, struct step *step)
{
	static const struct statement *const at[] = { &sql_note_at, &sql_drop_at, &sql_lose_at };
	static const struct statement *const below[] = { &sql_note_below, &sql_drop_below,
							 &sql_lose_below };
	struct lose_step *lose = (struct lose_step *)step;
	int r = 0;

	for (size_t i = 0; r == 0 && i < ARRAY_SIZE(at); i++)
		r = run(db, at[i], lose->text, NULL);
	for (size_t i = 0; r == 0 && i < ARRAY_SIZE(below); i++)
		r = run(db, below[i], lose->low, lose->high);
	return r;
}

int catalog_lose_shown(struct catalog *catalog, const char *path)
{
	size_t room = strlen(path) + 2;
	struct lose_step *lose = step_new(sizeof(*lose) + 3 * room, apply_lose);

	if (!lose)
		return -ENOMEM;
	(void)strcpy(lose->text, path);
	lose->low = lose->text + room;
	lose->high = lose->low + room;
	path_range(path, lose->low, lose->high);
	return step_submit(catalog, &lose->step, 0);
}

static int read_boot(char **ret_boot)
{
	size_t length;

	return read_file(AT_FDCWD, BOOT_ID, 256, ret_boot, &length);
}

int catalog_was_rebooted(struct catalog *catalog)
{
	cleanup_free char *boot = NULL;
	cleanup_free char *noted = NULL;
	int r = catalog_get_meta(catalog, META_BOOT, &noted);

	if (r <= 0)
		return r;
	r = read_boot(&boot);
	return r < 0 ? r : strcmp(boot, noted) != 0;
}

int catalog_note_boot(struct catalog *catalog)
{
	cleanup_free char *boot = NULL;
	int r = read_boot(&boot);

	return r < 0 ? r : catalog_set_meta(catalog, META_BOOT, boot);
}
