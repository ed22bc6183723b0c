/* SPDX-License-Identifier: Apache-2.0 */
#include "manifest/verdict.h"

/*
 * Create: what the next generation says. Everything is looked at, hashed and judged before the
 * first byte is written; then generations are written from the innermost history outwards, since
 * each refers to those below it.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <unistd.h>

#include "manifest/generation.h"
#include "manifest/news.h"
#include "manifest/rename.h"
#include "util/xml.h"
#include "util/cleanup.h"
#include "util/clock.h"
#include "util/error.h"
#include "util/io.h"

struct creation {
	const struct manifest_create *options;
	const struct manifest_watch *watch;
	struct verdict *verdict;
	struct tree tree;
	struct generation generation; /* what all manifests of this run share */
	unsigned formats;
	bool asc, legacy; /* that there is something to write for */
	int lock_fd;
};

static void creation_fini(struct creation *creation)
{
	tree_fini(&creation->tree);
	free(creation->generation.name);
	close_fd_slot(&creation->lock_fd);
}

/* One at a time in a folder; and not only after hours of hashing shall it be seen that nothing
 * can be written here. */
static int lock_folder(struct creation *creation)
{
	const char *path = creation->options->path;

	creation->lock_fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (creation->lock_fd < 0)
		return -errno;
	if (flock(creation->lock_fd, LOCK_EX | LOCK_NB) < 0 && errno == EWOULDBLOCK)
		return -EBUSY; /* file systems that cannot lock do without */
	return faccessat(creation->lock_fd, ".", W_OK, AT_EACCESS) < 0 ? -errno : 0;
}

static int judge_names(struct creation *creation)
{
	struct verdict *verdict = creation->verdict;
	const struct tree *tree = &creation->tree;
	int r = 0;

	for (size_t i = 0; r == 0 && i < tree->unsayable_count; i++)
		r = verdict_add(verdict, FINDING_NAME, tree->unsayable[i],
				"a manifest cannot carry this name (control characters, or no "
				"UTF-8): rename it");
	if (r == 0 && !xml_can_carry(creation->generation.name))
		r = verdict_add(verdict, FINDING_NAME, creation->generation.name,
				"a manifest cannot carry the name of this folder: rename it");
	return r;
}

/* A chain that cannot be checked cannot be continued: our line would vouch for it. */
static int judge_chains(struct creation *creation)
{
	struct verdict *verdict = creation->verdict;

	for (size_t i = 0; i < creation->tree.history_count; i++) {
		const struct chain *chain = &creation->tree.histories[i]->chain;

		for (size_t j = 0; j < chain->count; j++) {
			if (chain->entries[j].has_c4)
				continue;
			verdict->class = CLASS_ALTERED;
			return asprintf(&verdict->why,
					"%s: the chain has no C4 of it, so this history cannot be "
					"continued",
					chain->entries[j].path) < 0
				       ? -ENOMEM
				       : 0;
		}
	}
	return 0;
}

/* A sealed folder's history is the daemon's to continue: told before hours of hashing, not after.
 */
static int judge_seals(struct creation *creation)
{
	const struct manifest_files *files = &creation->generation.files;
	struct verdict *verdict = creation->verdict;

	for (size_t i = 0; files->is_sealed && creation->asc && i < creation->tree.history_count;
	     i++) {
		const char *scope = creation->tree.histories[i]->scope;
		int r = files->is_sealed(files->arg, scope);

		if (r == 0)
			continue;
		if (r < 0)
			return r;
		verdict->class = CLASS_UNREADABLE;
		return asprintf(&verdict->why,
				"%s is sealed, nothing was written: the daemon continues its "
				"history by itself when files are added. To do it by hand: mediafs "
				"unseal, then this, then mediafs seal",
				*scope ? scope : "the folder") < 0
			       ? -ENOMEM
			       : 0;
	}
	return 0;
}

/* Hash --------------------------------------------------------------------------------- */

static struct known *own_known(const struct node *node)
{
	return history_find(node->history, history_relative(node->history, node->path));
}

/* A known file is checked in a format that is recorded, whatever others are asked for. */
static void want_formats(struct creation *creation)
{
	for (size_t i = 0; i < creation->tree.count; i++) {
		struct node *node = creation->tree.nodes[i];
		const struct known *known = node->folder ? NULL : own_known(node);
		enum hash_format first;

		if (node->folder)
			continue;
		node->wanted |= creation->formats;
		if (known && !(known_formats(known) & creation->formats) &&
		    known_first_format(known, &first))
			node->wanted |= HASH_BIT(first);
	}
}

static int hash_tree(struct creation *creation)
{
	struct verdict *verdict = creation->verdict;
	struct tree_progress progress;
	int r = tree_hash(&creation->tree, creation->watch->tick, creation->watch->arg, &progress);

	verdict->files += progress.files;
	verdict->bytes += progress.bytes;
	verdict->cached_files += progress.cached_files;
	return r < 0 ? r : verdict_unreadable(verdict, &creation->tree);
}

/* Judge -------------------------------------------------------------------------------- */

static void drop_hash(struct node *node, size_t i)
{
	memmove(&node->hashes[i], &node->hashes[i + 1],
		(--node->hash_count - i) * sizeof(node->hashes[0]));
}

/*
 * What becomes of each hash of a file: checked against the same format, or vouched for by another
 * format that was checked in the same read, or the first of its file. Beside a failed one nothing
 * new is said.
 */
static int judge_file(struct creation *creation, struct node *node)
{
	/* Of a file that was renamed the reference finds `original` only, in histories further
	 * down: it would take one that is `verified` for a new file. */
	enum hash_action checked = node->previous ? ACTION_ORIGINAL : ACTION_VERIFIED;
	struct known *known = own_known(node);
	bool any = false, failed = false;
	int r = 0;

	if (node->previous)
		known = history_find(node->history, node->previous);
	for (size_t i = 0; known && i < node->hash_count; i++) {
		struct list_hash *hash = &node->hashes[i];
		const struct list_hash *recorded = known_hash(known, hash->format);

		if (!recorded)
			continue;
		any = true;
		hash->action = checked;
		if (memcmp(recorded->bytes, hash->bytes, hash_bytes(hash->format)) == 0)
			continue;
		hash->action = ACTION_FAILED;
		failed = true;
		r = verdict_add_hash(creation->verdict, FINDING_DAMAGED, node->path, recorded,
				     hash);
		if (r < 0)
			return r;
	}
	for (size_t i = node->hash_count; i-- > 0;) {
		struct list_hash *hash = &node->hashes[i];

		if (hash->action != ACTION_NONE)
			continue;
		hash->action = any ? checked : ACTION_ORIGINAL;
		/* Formats that only looked for renames are nobody's wish. */
		if (failed || !(creation->formats & HASH_BIT(hash->format)))
			drop_hash(node, i);
	}
	return 0;
}

static int judge_files(struct creation *creation)
{
	int r = 0;

	for (size_t i = 0; r == 0 && i < creation->tree.count; i++) {
		struct node *node = creation->tree.nodes[i];

		if (node->folder)
			continue;
		r = judge_file(creation, node);
		if (r == 0 && node->previous)
			r = verdict_add(creation->verdict, FINDING_RENAMED, node->path, "was %s",
					node->previous);
	}
	return r < 0 ? r : verdict_missing(creation->verdict, &creation->tree);
}

/* Legacy ------------------------------------------------------------------------------- */

static int fill_legacy(const struct creation *creation, struct list *list)
{
	for (size_t i = 0; i < creation->tree.count; i++) {
		const struct node *node = creation->tree.nodes[i];
		struct list_record *record;
		int r = 0;

		if (node->folder)
			continue;
		record = list_add(list);
		if (!record)
			return -ENOMEM;
		record->path = strdup(node->path);
		record->size = node->size;
		record->mtime_ns = node->mtime_ns;
		for (size_t j = 0; r == 0 && j < node->hash_count; j++)
			r = list_add_hash(&record->hashes, &record->hash_count, &node->hashes[j]);
		if (!record->path || r < 0)
			return -ENOMEM;
	}
	return 0;
}

/* The list as a file of the folder, so that the history tells of it too. */
static int write_legacy(struct creation *creation)
{
	cleanup_with(list_fini) struct list list = { .kind = LIST_LEGACY,
						     .created_ns = creation->generation.now_ns,
						     .creator = creation->generation.creator };
	cleanup_free char *bytes = NULL;
	cleanup_free char *name = NULL;
	char date[DATE_SIZE];
	struct node *node;
	struct stat st;
	size_t length = 0;
	int r = fill_legacy(creation, &list);

	if (r == 0 &&
	    asprintf(&name, "%.*s_%s.mhl", generation_name_length(creation->generation.name),
		     creation->generation.name, date_format(list.created_ns, DATE_NAME, date)) < 0)
		r = -ENOMEM;
	if (r == 0)
		r = list_write(&list, &bytes, &length);
	if (r == 0 && fstatat(creation->tree.fd, name, &st, AT_SYMLINK_NOFOLLOW) == 0)
		r = -EEXIST;
	if (r == 0)
		r = creation->generation.files.write(creation->generation.files.arg, name, bytes,
						     length);
	if (r == 0)
		r = verdict_wrote(creation->verdict, "", name);
	if (r < 0 || !creation->asc)
		return r;
	creation->tree.known = NULL; /* this one is not known yet */
	if (fstatat(creation->tree.fd, name, &st, AT_SYMLINK_NOFOLLOW) < 0)
		return -errno;
	node = tree_add_file(&creation->tree, name, &st);
	if (!node)
		return -ENOMEM;
	node->wanted = creation->formats;
	r = hash_tree(creation);
	return r < 0 ? r : judge_file(creation, node);
}

/* The whole ------------------------------------------------------------------------------ */

/* Who makes them unasked writes nothing that is written already. */
static int find_news(struct creation *creation)
{
	const struct manifest_create *options = creation->options;
	int r;

	if (!options->unasked)
		return 0;
	if (creation->legacy) {
		r = news_for_list(&creation->tree);
		if (r < 0)
			return r;
		creation->legacy = r > 0;
	}
	creation->asc = creation->asc && news_for_history(&creation->tree, options->unasked);
	return 0;
}

/*
 * A list knows no history: it would vouch for bytes that the history beside it calls wrong. And
 * where there is a new list, it is a file that the history is to tell of.
 */
static void settle_kinds(struct creation *creation)
{
	const struct verdict *verdict = creation->verdict;

	if (!creation->options->asc)
		return;
	for (size_t i = 0; i < verdict->count; i++)
		creation->legacy = creation->legacy && verdict->findings[i].kind != FINDING_DAMAGED;
	creation->asc = creation->asc || creation->legacy;
}

/* Reads and judges; verdict->class tells whether anything may be written. */
static int prepare(struct creation *creation)
{
	struct verdict *verdict = creation->verdict;
	int r = judge_names(creation);

	if (r == 0)
		r = judge_chains(creation);
	if (r == 0 && verdict->class == CLASS_OK)
		r = judge_seals(creation);
	if (r < 0 || verdict->class != CLASS_OK)
		return r;
	verdict->class = verdict_judge(verdict);
	if (verdict->class != CLASS_OK)
		return 0;
	want_formats(creation);
	r = rename_want(&creation->tree);
	if (r == 0)
		r = hash_tree(creation);
	if (r < 0)
		return r;
	/* What cannot be read now must not be missing in the record for ever. */
	verdict->class = verdict_judge(verdict);
	if (verdict->class != CLASS_OK)
		return 0;
	r = rename_find(&creation->tree);
	if (r == 0)
		r = find_news(creation);
	/* Also when all is told already: that bytes are wrong is told, and still so. */
	if (r == 0)
		r = judge_files(creation);
	if (r < 0 || (!creation->asc && !creation->legacy))
		return r;
	settle_kinds(creation);
	return r < 0 ? r : verdict_odd(verdict, &creation->tree);
}

static int load(struct creation *creation)
{
	const struct manifest_create *options = creation->options;
	struct tree_options tree_options = { .ignore = options->ignore,
					     .ignore_count = options->ignore_count };
	int r = 0;

	creation->generation.name = generation_folder(options->path);
	if (!creation->generation.name)
		return -ENOMEM;
	if (!options->asc) {
		tree_options.only = history_new("");
		r = tree_options.only ? history_add_pattern(tree_options.only, ".DS_Store")
				      : -ENOMEM;
		if (r < 0)
			return r;
	}
	creation->verdict->class =
		tree_load(&creation->tree, options->path, &tree_options, &creation->verdict->why);
	if (creation->verdict->class != CLASS_OK)
		return creation->verdict->why ? 0 : -ENOMEM;
	return verdict_histories(creation->verdict, &creation->tree);
}

int manifest_create(const struct manifest_create *create, const struct manifest_watch *watch,
		    struct verdict *ret_verdict)
{
	cleanup_with(creation_fini) struct creation creation = {
		.options = create,
		.watch = watch,
		.verdict = ret_verdict,
		.tree = { .fd = -1 },
		.generation = { .now_ns = realtime_ns(),
				.process = create->process,
				.creator = create->creator,
				.unasked = create->unasked },
		.asc = create->asc,
		.legacy = create->legacy,
		.formats = create->formats,
		.lock_fd = -1,
	};
	int r;

	*ret_verdict = (struct verdict){ 0 };
	if (create->legacy && !(creation.formats & MANIFEST_LEGACY_FORMATS))
		creation.formats |= HASH_BIT(HASH_XXH64);
	creation.generation.formats = creation.formats;
	r = lock_folder(&creation);
	if (r == 0)
		r = load(&creation);
	if (r < 0 || ret_verdict->class != CLASS_OK)
		return r;
	creation.tree.known = create->known;
	creation.tree.arg = create->arg;
	creation.generation.files =
		create->files.write ? create->files : manifest_files_of(&creation.tree.fd);
	if (create->unasked)
		creation.generation.creator.comment = create->unasked;
	r = prepare(&creation);
	if (r < 0 || ret_verdict->class != CLASS_OK)
		return r;
	if (ret_verdict->files == 0 && creation.tree.count == 1) {
		ret_verdict->class = CLASS_UNREADABLE;
		ret_verdict->why = strdup("there is nothing in it that a manifest could tell of");
		return ret_verdict->why ? 0 : -ENOMEM;
	}
	if (creation.legacy)
		r = write_legacy(&creation);
	if (r == 0 && creation.asc)
		r = tree_hash_folders(&creation.tree, creation.formats);
	if (r == 0 && creation.asc)
		r = generation_write(&creation.generation, &creation.tree, ret_verdict);
	ret_verdict->class = verdict_judge(ret_verdict);
	return r;
}
