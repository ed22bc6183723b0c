/* SPDX-License-Identifier: Apache-2.0 */
#include "manifest/verdict.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "util/cleanup.h"
#include "util/error.h"
#include "util/io.h"

static const struct {
	const char *name;
	enum verdict_class class; /* that one of them makes at least */
} kinds[] = {
	[FINDING_DAMAGED] = { "damaged", CLASS_DAMAGED },
	[FINDING_SIZE] = { "size", CLASS_DAMAGED },
	[FINDING_FOLDER] = { "folder", CLASS_FOLDER },
	[FINDING_MISSING] = { "missing", CLASS_MISSING },
	[FINDING_NEW] = { "new", CLASS_NEW },
	[FINDING_UNREADABLE] = { "unreadable", CLASS_UNREADABLE },
	[FINDING_HISTORY] = { "history", CLASS_NO_HISTORY },
	[FINDING_RENAMED] = { "renamed", CLASS_OK },
	[FINDING_ODD] = { "skipped", CLASS_OK },
	[FINDING_NAME] = { "name", CLASS_UNREADABLE },
	[FINDING_NOTE] = { "note", CLASS_OK },
};

static const struct {
	enum verdict_class class;
	const char *name;
} classes[] = {
	{ CLASS_OK, "ok" },
	{ CLASS_UNREADABLE, "unreadable" },
	{ CLASS_MISSING, "missing" },
	{ CLASS_DAMAGED, "damaged" },
	{ CLASS_FOLDER, "folder" },
	{ CLASS_NEW, "new" },
	{ CLASS_NO_HISTORY, "no-history" },
	{ CLASS_ALTERED, "altered" },
	{ CLASS_NO_CHAIN, "no-chain" },
	{ CLASS_INCOMPLETE, "incomplete" },
};

const char *finding_name(enum finding_kind kind)
{
	return kinds[kind].name;
}

const char *verdict_name(enum verdict_class class)
{
	for (size_t i = 0; i < ARRAY_SIZE(classes); i++) {
		if (classes[i].class == class)
			return classes[i].name;
	}
	return "unknown";
}

void verdict_fini(struct verdict *verdict)
{
	for (size_t i = 0; i < verdict->count; i++) {
		free(verdict->findings[i].path);
		free(verdict->findings[i].detail);
		free(verdict->findings[i].recorded);
		free(verdict->findings[i].actual);
	}
	for (size_t i = 0; i < verdict->written_count; i++)
		free(verdict->written[i]);
	free(verdict->findings);
	free(verdict->written);
	free(verdict->why);
	*verdict = (struct verdict){ 0 };
}

static struct finding *add(struct verdict *verdict, enum finding_kind kind, const char *path)
{
	struct finding *grown, *finding;

	if ((verdict->count & (verdict->count - 1)) == 0) {
		grown = reallocarray(verdict->findings, verdict->count ? verdict->count * 2 : 1,
				     sizeof(*grown));
		if (!grown)
			return NULL;
		verdict->findings = grown;
	}
	finding = &verdict->findings[verdict->count];
	*finding = (struct finding){ .kind = kind, .path = strdup(path) };
	if (!finding->path)
		return NULL;
	verdict->count++;
	return finding;
}

int verdict_add(struct verdict *verdict, enum finding_kind kind, const char *path,
		const char *detail, ...)
{
	struct finding *finding = add(verdict, kind, path);
	va_list ap;
	int r = 0;

	if (!finding)
		return -ENOMEM;
	if (!detail)
		return 0;
	va_start(ap, detail);
	if (vasprintf(&finding->detail, detail, ap) < 0) {
		finding->detail = NULL;
		r = -ENOMEM;
	}
	va_end(ap);
	return r;
}

int verdict_add_hash(struct verdict *verdict, enum finding_kind kind, const char *path,
		     const struct list_hash *recorded, const struct list_hash *actual)
{
	struct finding *finding = add(verdict, kind, path);
	char text[HASH_TEXT_SIZE];

	if (!finding)
		return -ENOMEM;
	finding->format = hash_name(recorded->format);
	hash_text(recorded->format, recorded->bytes, text);
	finding->recorded = strdup(text);
	hash_text(actual->format, actual->bytes, text);
	finding->actual = strdup(text);
	return finding->recorded && finding->actual ? 0 : -ENOMEM;
}

int verdict_wrote(struct verdict *verdict, const char *folder, const char *name)
{
	char **grown = reallocarray(verdict->written, verdict->written_count + 1, sizeof(*grown));

	if (!grown)
		return -ENOMEM;
	verdict->written = grown;
	grown[verdict->written_count] = path_join(folder, name);
	if (!grown[verdict->written_count])
		return -ENOMEM;
	verdict->written_count++;
	return 0;
}

enum verdict_class verdict_judge(const struct verdict *verdict)
{
	/* What is sure before what is not: bytes that differ, then what nobody could look at. */
	static const enum verdict_class order[] = { CLASS_DAMAGED, CLASS_UNREADABLE, CLASS_NEW,
						    CLASS_MISSING, CLASS_NO_HISTORY, CLASS_FOLDER };

	for (size_t i = 0; i < ARRAY_SIZE(order); i++) {
		for (size_t j = 0; j < verdict->count; j++) {
			if (kinds[verdict->findings[j].kind].class == order[i])
				return order[i];
		}
	}
	return CLASS_OK;
}

static int by_path(const void *a, const void *b)
{
	return strcmp(((const struct finding *)a)->path, ((const struct finding *)b)->path);
}

/* Of one history, sorted. */
static int missing_in(struct verdict *verdict, const struct tree *tree,
		      const struct history *history)
{
	size_t at = 0, first = verdict->count;
	const struct known *known;
	uint64_t key;

	while (table_next(&history->known, &at, &key, (void **)&known)) {
		for (; known; known = known->next) {
			cleanup_free char *path = tree_path(history, known->path);
			const struct node *node = path ? tree_find(tree, path) : NULL;
			int r = path ? 0 : -ENOMEM;

			if (r == 0 && !known->moved &&
			    !history_ignores(history, path, known->folder)) {
				if (!node)
					r = verdict_add(verdict, FINDING_MISSING, path, NULL);
				else if (node->folder != known->folder)
					r = verdict_add(verdict, FINDING_MISSING, path,
							"it is a %s now",
							node->folder ? "folder" : "file");
			}
			if (r < 0)
				return r;
		}
	}
	if (verdict->count > first)
		qsort(verdict->findings + first, verdict->count - first, sizeof(struct finding),
		      by_path);
	return 0;
}

int verdict_missing(struct verdict *verdict, const struct tree *tree)
{
	int r = 0;

	for (size_t i = 0; r == 0 && i < tree->history_count; i++)
		r = missing_in(verdict, tree, tree->histories[i]);
	return r;
}

int verdict_unreadable(struct verdict *verdict, const struct tree *tree)
{
	int r = 0;

	for (size_t i = 0; r == 0 && i < tree->count; i++) {
		if (tree->nodes[i]->error)
			r = verdict_add(verdict, FINDING_UNREADABLE, tree->nodes[i]->path, "%s",
					error_text(tree->nodes[i]->error));
	}
	return r;
}

int verdict_odd(struct verdict *verdict, const struct tree *tree)
{
	int r = 0;

	for (size_t i = 0; r == 0 && i < tree->odd_count; i++)
		r = verdict_add(verdict, FINDING_ODD, tree->odd[i],
				"no regular file: no manifest tells of it");
	return r;
}
