/* SPDX-License-Identifier: Apache-2.0 */

/* The leveller of a volume that is being opened (volume/level.h). */
#include <stdlib.h>

#include "util/clock.h"
#include "util/error.h"
#include "util/log.h"
#include "volume/internal.h"
#include "volume/level.h"
#include "volume/level_numbers.h"
#include "volume/manage.h"

struct leveller {
	struct volume *volume; /* borrowed, outlives us */
};

struct leveller *leveller_new(struct volume *volume)
{
	struct leveller *leveller = calloc(1, sizeof(*leveller));

	if (leveller)
		leveller->volume = volume;
	return leveller;
}

static void tell(void *arg, const char *what, const char *path)
{
	(void)arg;
	log_debug("level: %s %s", what, path);
}

/* 1: all is to be levelled. */
static int find_again(struct volume *volume)
{
	int r = level_find_again(volume->store, volume->catalog, NULL);

	if (r < 0)
		log_error_errno(r, "cannot find the files of %s", volume->store->path);
	if (r <= 0)
		return r;
	log_warning("%s was copied or restored since it was last mounted: its files were found "
		    "again by their names, and are read again to see that they are whole",
		    volume->store->path);
	volume_event(volume, "leveller", "store copied", "", NULL,
		     "its files were found again by their names");
	return 1;
}

int leveller_start(struct leveller *leveller)
{
	struct volume *volume = leveller->volume;
	struct level_report report;
	int64_t start_ns = monotonic_ns();
	int r = find_again(volume);

	if (r < 0)
		return r; /* by wrong numbers one file would be taken for another */
	/* Read-only ones too: what other sites have is put into their tree. */
	if (r == 0 && !catalog_was_unclean(volume->catalog))
		return 0;
	if (r == 0)
		log_info("%s was not closed: comparing its catalog with the tree",
			 volume->store->path);
	r = level_tree(volume->store, volume->catalog, LEVEL_FIX, NULL, tell, NULL, &report);
	catalog_keep_unclean(volume->catalog, r < 0);
	if (r < 0) {
		/* Media can still be read and come in; the next start tries again. */
		log_error_errno(r, "cannot bring the catalog level with the tree");
		return 0;
	}
	log_info("catalog level with the tree after %lld ms: %llu names, %llu added, %llu renamed, "
		 "%llu changed, %llu touched, %llu missing",
		 (long long)((monotonic_ns() - start_ns) / NS_PER_MS),
		 (unsigned long long)report.nodes, (unsigned long long)report.added,
		 (unsigned long long)report.renamed, (unsigned long long)report.changed,
		 (unsigned long long)(report.touched + report.marked),
		 (unsigned long long)report.missing);
	return 0;
}

void leveller_free(struct leveller *leveller)
{
	free(leveller);
}
