/* SPDX-License-Identifier: Apache-2.0 */
#include "volume/offloads.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/stat.h>

#include "manifest/history.h"
#include "transfer/rules.h"
#include "util/cleanup.h"
#include "util/io.h"

/* Of each folder, so many files are asked what card it is on: a folder of frames is seen by few. */
#define SAMPLE_FILES 64

struct names {
	struct offload_name *list; /* owned */
	size_t count, room, most;
};

/* Some names that follow each other: a folder's, without itself. */
struct range {
	const struct offload_name *first;
	size_t count;
	size_t strip; /* bytes of the folder's own path */
};

struct finder {
	struct catalog *catalog;
	const struct card_rules *rules;
	struct offloads *found;
	struct card_entry *entries; /* owned; room for all names */
};

static void names_fini(struct names *names)
{
	for (size_t i = 0; i < names->count; i++)
		free(names->list[i].path);
	free(names->list);
}

static int add_name(void *arg, const char *path, const struct node_row *row)
{
	struct names *names = arg;
	char *copy;

	if (!S_ISREG(row->mode) && !S_ISDIR(row->mode))
		return 0;
	if (names->count == names->most)
		return -E2BIG;
	if (names->count == names->room) {
		size_t room = names->room ? names->room * 2 : 1024;
		void *grown = reallocarray(names->list, room, sizeof(*names->list));

		if (!grown)
			return -ENOMEM;
		names->list = grown;
		names->room = room;
	}
	if (asprintf(&copy, "%s%s", path, S_ISDIR(row->mode) ? "/" : "") < 0)
		return -ENOMEM;
	names->list[names->count++] = (struct offload_name){ copy, *row };
	return 0;
}

static int compare_names(const void *a, const void *b)
{
	return strcmp(((const struct offload_name *)a)->path,
		      ((const struct offload_name *)b)->path);
}

static bool is_folder(const char *path)
{
	size_t length = strlen(path);

	return length > 0 && path[length - 1] == '/';
}

/* Bytes of @path before its own name. */
static size_t parent_length(const char *path)
{
	const char *slash = strrchr(path, '/');

	return slash ? (size_t)(slash - path) : 0;
}

/* @range as entries of a card; of each folder at most @most files. */
static size_t take_entries(struct finder *finder, const struct range *range, size_t most)
{
	const char *last = "";
	size_t used = 0, files = 0;

	for (size_t i = 0; i < range->count; i++) {
		const char *path = range->first[i].path + range->strip;

		if (!is_folder(path)) {
			size_t length = parent_length(path);

			if (length != parent_length(last) || memcmp(path, last, length) != 0)
				files = 0;
			last = path;
			if (files++ >= most)
				continue;
		}
		finder->entries[used++] = (struct card_entry){ path, range->first[i].row.size };
	}
	return used;
}

/* What lies below the folder that @names begin with. */
static struct range range_below(const struct offload_name *folder, const struct offload_name *end)
{
	size_t length = strlen(folder->path);
	const struct offload_name *name = folder + 1;

	while (name < end && strncmp(name->path, folder->path, length) == 0)
		name++;
	return (struct range){ folder + 1, (size_t)(name - folder) - 1, length };
}

/* The folder's own name; "" of the root. Caller frees; NULL without memory. */
static char *own_name(const char *path)
{
	size_t end = strlen(path), start;

	if (end > 0 && path[end - 1] == '/')
		end--;
	for (start = end; start > 0 && path[start - 1] != '/'; start--)
		;
	return strndup(path + start, end - start);
}

static int sample(struct finder *finder, const char *path, const struct range *range,
		  struct card **ret_card)
{
	cleanup_free char *name = own_name(path);

	if (!name)
		return -ENOMEM;
	return card_look(finder->rules, name, finder->entries,
			 take_entries(finder, range, SAMPLE_FILES), ret_card);
}

/* The folder of one clip (X.RDC, a folder of frames) is no card, though it may look like one. */
static bool is_clip_folder(const struct card *card, const char *name)
{
	return card->clip_count == 1 &&
	       strncasecmp(name, card->clips[0].name, strlen(card->clips[0].name)) == 0;
}

/*
 * The clips of @inner tell of a reel that @outer does not see: a day's folder in which a recorder's
 * day lies two levels below the show's is no part of that recorder's card.
 */
static bool has_other_reel(const struct card *outer, const struct card *inner)
{
	if (inner->reel_source != REEL_FROM_CLIPS)
		return false;
	for (size_t i = 0; i < inner->reel_count; i++) {
		bool found = false;

		for (size_t j = 0; !found && j < outer->reel_count; j++)
			found = strcmp(inner->reels[i], outer->reels[j]) == 0;
		if (!found)
			return true;
	}
	return false;
}

/* What the folder around it, @outer, says of it: is @inner, called @name, the card itself? */
static bool goes_before(const struct card *outer, const struct card *inner, const char *name)
{
	/* All clips are in it: the other is only around it. */
	if (inner->clip_count == outer->clip_count)
		return true;
	/* What is around it has no name for itself, or several: it holds cards. */
	if (outer->reel_source == REEL_NONE || outer->reel_source == REEL_FROM_NAME ||
	    outer->reel_count > 1)
		return true;
	if (outer->reel_source == REEL_FROM_CLIPS && has_other_reel(outer, inner))
		return true;
	/* Called like its reel: the next card may come beside it. */
	return inner->reel_source == REEL_FROM_FOLDER ||
	       (inner->reel_count == 1 && strcasecmp(inner->reels[0], name) == 0);
}

/* Junk is no card, and FALSETAKES is a part of one. @outer: the card around it, or NULL. */
static bool is_candidate(const struct finder *finder, const struct card *outer, const char *path)
{
	return !card_path_is_junk(finder->rules, path) && !(outer && card_knows(outer, path));
}

/* 1: the folder @path is an offload by itself, although @outer, around it, looks like a card. */
static int is_card_itself(struct finder *finder, const struct card *outer, const char *path,
			  const struct range *range)
{
	cleanup_with(card_free_slot) struct card *card = NULL;
	cleanup_free char *name = own_name(path);
	int r = name ? sample(finder, path, range, &card) : -ENOMEM;

	if (r <= 0)
		return r;
	return card_name_is_given(finder->rules, name) && !is_clip_folder(card, name) &&
	       goes_before(outer, card, name);
}

static int holds_cards(struct finder *finder, const struct card *outer, const struct range *range)
{
	const struct offload_name *end = range->first + range->count;
	int r = 0;

	for (const struct offload_name *name = range->first; r == 0 && name < end;) {
		struct range below;

		if (!is_folder(name->path)) {
			name++;
			continue;
		}
		below = range_below(name, end);
		if (is_candidate(finder, outer, name->path + range->strip))
			r = is_card_itself(finder, outer, name->path, &below);
		name = below.first + below.count;
	}
	return r;
}

static void count_files(struct offload *offload, const struct range *range)
{
	for (size_t i = 0; i < range->count; i++) {
		const struct offload_name *name = &range->first[i];

		if (is_folder(name->path))
			continue;
		offload->files++;
		/* Its bytes may be verified, but nobody has compared them with the card. */
		if (rules_is_unfinished(name->path))
			continue;
		offload->verified += file_state_is_verified(name->row.state);
		offload->stored += file_state_is_stored(name->row.state);
		offload->damaged += name->row.state == FILE_DAMAGED;
	}
}

/* The card's own folder may lie within the one that is filled: the marker stands there. */
static int look_for_marker(struct finder *finder, struct offload *offload)
{
	cleanup_free char *folder = strdup(offload->path);
	struct node_row row;

	if (!folder)
		return -ENOMEM;
	for (char *end = folder + strlen(folder); end; end = strrchr(folder, '/')) {
		cleanup_free char *marker = NULL;
		int r;

		*end = '\0';
		marker = path_join(folder, UNFINISHED_MARKER);
		r = marker ? catalog_lookup_path(finder->catalog, marker, &row) : -ENOMEM;
		if (r < 0)
			return r;
		offload->unfinished |= r > 0;
	}
	return 0;
}

static int add_offload(struct finder *finder, uint64_t id, const char *path,
		       const struct range *range)
{
	struct offloads *found = finder->found;
	cleanup_free char *name = own_name(path);
	struct offload *offload;
	void *grown;
	int r;

	grown = reallocarray(found->list, found->count + 1, sizeof(*found->list));
	if (!name || !grown) {
		found->list = grown ? grown : found->list;
		return -ENOMEM;
	}
	found->list = grown;
	offload = &found->list[found->count];
	*offload = (struct offload){ .id = id };
	r = card_look(finder->rules, name, finder->entries, take_entries(finder, range, SIZE_MAX),
		      &offload->card);
	if (r <= 0)
		return r;
	found->count++;
	offload->names = range->first;
	offload->name_count = range->count;
	offload->path = strndup(path, strlen(path) - is_folder(path));
	count_files(offload, range);
	return offload->path ? look_for_marker(finder, offload) : -ENOMEM;
}

/* The folder @id at @path, with what is below it. */
static int find_in(struct finder *finder, uint64_t id, const char *path, const struct range *range)
{
	cleanup_with(card_free_slot) struct card *card = NULL;
	const struct offload_name *end = range->first + range->count;
	int r = sample(finder, path, range, &card);

	if (r > 0) {
		r = holds_cards(finder, card, range);
		if (r == 0)
			return add_offload(finder, id, path, range);
	}
	for (const struct offload_name *name = range->first; r >= 0 && name < end;) {
		struct range below;

		if (!is_folder(name->path)) {
			name++;
			continue;
		}
		below = range_below(name, end);
		if (is_candidate(finder, card, name->path + range->strip))
			r = find_in(finder, name->row.id, name->path, &below);
		name = below.first + below.count;
	}
	return r < 0 ? r : 0;
}

/* Of the @index-th name of @offload, below it. */
static const char *path_below(const struct offload *offload, size_t index)
{
	size_t length = strlen(offload->path);

	return offload->names[index].path + length + (length > 0);
}

/* Each copy of a card gets a history of its own. */
static bool is_in_history(const char *path)
{
	return strncmp(path, HISTORY_FOLDER "/", strlen(HISTORY_FOLDER) + 1) == 0 ||
	       strstr(path, "/" HISTORY_FOLDER "/");
}

/* @other is its same_reel. Both are sorted. */
static void compare_bytes(struct offload *offload, const struct offload *other)
{
	size_t i = 0, j = 0;

	offload->same_reel = other->path;
	while (i < offload->name_count && j < other->name_count) {
		const struct node_row *row = &offload->names[i].row, *there = &other->names[j].row;
		int order = strcmp(path_below(offload, i), path_below(other, j));

		if (order == 0 && row->content && there->content &&
		    row->content != there->content && !is_in_history(path_below(offload, i)) &&
		    !offload->other_bytes++)
			offload->other_bytes_path = path_below(offload, i);
		i += order <= 0;
		j += order >= 0;
	}
}

/* The same reel twice is the same card again, or two cards of one name: a person should look. */
static void mark_same_reels(struct offloads *offloads)
{
	for (size_t i = 0; i < offloads->count; i++) {
		const struct card *card = offloads->list[i].card;

		for (size_t j = 0; j < i && card->reel_count; j++) {
			const struct card *other = offloads->list[j].card;

			if (!other->reel_count || strcasecmp(card->reels[0], other->reels[0]) != 0)
				continue;
			compare_bytes(&offloads->list[i], &offloads->list[j]);
			if (!offloads->list[j].same_reel)
				compare_bytes(&offloads->list[j], &offloads->list[i]);
			break;
		}
	}
}

int offloads_find(struct catalog *catalog, const struct card_rules *rules, uint64_t id,
		  const char *path, size_t most, struct offloads *ret_offloads)
{
	cleanup_with(names_fini) struct names names = { .most = most };
	cleanup_free struct card_entry *entries = NULL;
	cleanup_free char *top = NULL;
	struct offloads found = { 0 };
	struct finder finder = { .catalog = catalog, .rules = rules, .found = &found };
	struct range range;
	int r = catalog_each_under(catalog, id, add_name, &names);

	if (r < 0)
		return r;
	entries = calloc(names.count + 1, sizeof(*entries));
	if (!entries || asprintf(&top, "%s%s", path, *path ? "/" : "") < 0)
		return -ENOMEM;
	finder.entries = entries;
	if (names.count)
		qsort(names.list, names.count, sizeof(*names.list), compare_names);
	range = (struct range){ names.list, names.count, strlen(top) };
	r = find_in(&finder, id, top, &range);
	if (r == 0)
		r = pattern_error();
	if (r < 0) {
		offloads_fini(&found);
		return r;
	}
	mark_same_reels(&found);
	found.names = names.list;
	found.name_count = names.count;
	names = (struct names){ 0 };
	*ret_offloads = found;
	return 0;
}

void offloads_fini(struct offloads *offloads)
{
	for (size_t i = 0; i < offloads->count; i++) {
		free(offloads->list[i].path);
		card_free(offloads->list[i].card);
	}
	for (size_t i = 0; i < offloads->name_count; i++)
		free(offloads->names[i].path);
	free(offloads->names);
	free(offloads->list);
	*offloads = (struct offloads){ 0 };
}

const char *offload_state(const struct offload *offload)
{
	if (offload->damaged)
		return "damaged";
	if (offload->unfinished)
		return "arriving";
	if (!offload->files)
		return "empty";
	if (offload->verified < offload->files)
		return "arriving";
	return offload->stored < offload->files ? "verified" : "stored";
}
