/* SPDX-License-Identifier: Apache-2.0 */
#include "manifest/verdict.h"

/*
 * Flatten: a packing list, all that the histories of a folder record of its files, in one manifest
 * that stands alone. Each format once: the earliest value that did not fail. No media is read.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "manifest/generation.h"
#include "util/xml.h"
#include "util/cleanup.h"
#include "util/clock.h"
#include "util/error.h"
#include "util/io.h"

static int add_known(const struct history *history, const struct known *known, struct list *list)
{
	cleanup_free char *path = tree_path(history, known->path);
	const struct list_record *latest = known->records[known->count - 1];
	struct list_record *record;
	int r = path ? 0 : -ENOMEM;

	if (r < 0 || history_ignores(history, path, false) || !known_formats(known))
		return r;
	record = list_add(list);
	if (!record)
		return -ENOMEM;
	record->path = take_ptr(path);
	record->size = latest->size;
	record->mtime_ns = latest->mtime_ns;
	if (known->previous) {
		record->previous = tree_path(history, known->previous);
		r = record->previous ? 0 : -ENOMEM;
	}
	for (size_t format = 0; r == 0 && format < HASH_FORMATS; format++) {
		const struct list_hash *hash = known_hash(known, (enum hash_format)format);

		if (hash)
			r = list_add_hash(&record->hashes, &record->hash_count, hash);
	}
	return r;
}

static int by_path(const void *a, const void *b)
{
	return strcmp(((const struct list_record *)a)->path, ((const struct list_record *)b)->path);
}

static int fill_list(const struct tree *tree, struct list *list)
{
	int r = 0;

	for (size_t i = 0; r == 0 && i < tree->history_count; i++) {
		const struct history *history = tree->histories[i];
		const struct known *known;
		size_t at = 0;
		uint64_t key;

		for (size_t j = 0; r == 0 && i == 0 && j < history->pattern_count; j++)
			r = list_add_ignore(list, history->patterns[j]);
		while (r == 0 && table_next(&history->known, &at, &key, (void **)&known)) {
			for (; r == 0 && known; known = known->next)
				r = known->folder ? 0 : add_known(history, known, list);
		}
	}
	if (list->record_count)
		qsort(list->records, list->record_count, sizeof(*list->records), by_path);
	return r;
}

/* What is in the collection @fd already; an empty one when there is none. */
static int load_collection(int fd, struct chain *chain, struct verdict *verdict)
{
	cleanup_free char *bytes = NULL;
	unsigned long line = 0;
	const char *why;
	size_t length;
	int r = read_file(fd, COLLECTION_NAME, XML_DOCUMENT_MAX, &bytes, &length);

	*chain = (struct chain){ 0 };
	if (r == -ENOENT)
		return 0;
	if (r == 0)
		r = chain_read(bytes, length, chain, &why, &line);
	for (size_t i = 0; r == 0 && i < chain->count; i++) {
		if (!chain->entries[i].has_c4) {
			r = -EPROTO;
			why = "an entry in it has no C4";
		}
	}
	if (r != -EPROTO)
		return r;
	verdict->class = CLASS_UNREADABLE;
	return asprintf(&verdict->why, COLLECTION_NAME ": line %lu: %s", line, why) < 0 ? -ENOMEM
											: 0;
}

/* Into TO/collection_DATE, which is made when it is not there. */
static int write_collection(const char *path, const char *to, const struct list *list,
			    struct verdict *verdict)
{
	cleanup_free char *folder = generation_folder(path);
	cleanup_free char *name = NULL;
	cleanup_free char *place = NULL;
	char date[DATE_SIZE];
	struct chain chain = { 0 };
	cleanup_close int fd = -1;
	uint8_t c4[HASH_MAX_BYTES];
	int r = 0;

	(void)date_format(list->created_ns, DATE_NAME, date);
	if (!folder ||
	    asprintf(&name, "packinglist_%.*s_%sZ.mhl", generation_name_length(folder), folder,
		     date) < 0 ||
	    asprintf(&place, "%s/collection_%.10s", to, date) < 0)
		return -ENOMEM;
	if (mkdir(place, 0777) < 0 && errno != EEXIST)
		return -errno;
	fd = open(place, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	if (fd < 0)
		return -errno;
	if (faccessat(fd, name, F_OK, AT_SYMLINK_NOFOLLOW) == 0)
		return -EEXIST;
	r = load_collection(fd, &chain, verdict);
	if (r == 0 && verdict->class == CLASS_OK) {
		const struct manifest_files files = manifest_files_of(&fd);
		const struct generation_place there = { &files, "", COLLECTION_NAME };

		r = generation_add(&there, &chain, name, list, c4);
		if (r == 0)
			r = sync_parent(AT_FDCWD, place);
		if (r == 0)
			r = verdict_wrote(verdict, place, name);
	}
	chain_fini(&chain);
	return r;
}

int manifest_flatten(const char *path, const char *to, const struct list_creator *creator,
		     struct verdict *ret_verdict)
{
	const struct tree_options options = { 0 };
	cleanup_with(tree_fini) struct tree tree = { .fd = -1 };
	cleanup_with(list_fini) struct list list = { .kind = LIST_ASC,
						     .process = PROCESS_FLATTEN,
						     .created_ns = realtime_ns(),
						     .creator = *creator };
	int r;

	*ret_verdict = (struct verdict){ 0 };
	r = manifest_load(path, &options, &tree, ret_verdict);
	if (r < 0 || ret_verdict->class != CLASS_OK)
		return r;
	r = fill_list(&tree, &list);
	if (r == 0 && list.record_count == 0) {
		ret_verdict->class = CLASS_UNREADABLE;
		ret_verdict->why = strdup("its history records no file");
		return ret_verdict->why ? 0 : -ENOMEM;
	}
	ret_verdict->files = list.record_count;
	return r < 0 ? r : write_collection(path, to, &list, ret_verdict);
}
