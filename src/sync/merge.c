/* SPDX-License-Identifier: Apache-2.0 */
#include "sync/merge.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "util/cleanup.h"

#define NAME_MAX_LENGTH 255u
#define EXTENSION_MAX 16u
#define SOME_DIGITS 8u
#define ALL_DIGITS (DIGEST_HEX_SIZE - 1u)
#define MANY_GROUPS 256u

static int compare_uint(uint64_t a, uint64_t b)
{
	return (a > b) - (a < b);
}

static int compare_content(const struct version_body *a, const struct version_body *b)
{
	if (a->kind != b->kind)
		return a->kind < b->kind ? -1 : 1;
	if (a->kind == VERSION_DIR)
		return 0;
	if (a->kind == VERSION_LINK)
		return strcmp(a->target, b->target);
	if (a->size != b->size)
		return compare_uint(a->size, b->size);
	return memcmp(a->digest.bytes, b->digest.bytes, sizeof(a->digest.bytes));
}

bool version_same_content(const struct version_body *a, const struct version_body *b)
{
	return compare_content(a, b) == 0;
}

/* Older first; never 0 for two versions. */
static int compare_age(const struct version_row *a, const struct version_row *b)
{
	int r = compare_uint(a->lamport, b->lamport);

	if (r == 0)
		r = strcmp(a->id.site, b->id.site);
	return r ? r : compare_uint(a->id.seq, b->id.seq);
}

/* What keeps a name before what: stored before announced, then by age. */
static int compare_claim(const struct version_row *a, const struct version_row *b)
{
	bool a_pending = version_is_announced(&a->body), b_pending = version_is_announced(&b->body);

	if (a_pending != b_pending)
		return a_pending ? 1 : -1;
	return compare_age(a, b);
}

/* Members of a group side by side, its leader first. */
static int by_group(const void *left, const void *right, void *arg)
{
	const struct version_row *rows = arg;
	const struct version_row *a = &rows[((const struct plan_entry *)left)->row];
	const struct version_row *b = &rows[((const struct plan_entry *)right)->row];
	int r = compare_content(&a->body, &b->body);

	return r ? r : compare_claim(a, b);
}

/* Versions of equal content: entries [start, start + count). */
struct group {
	size_t start, count;
	size_t leader; /* row */
	char *path;    /* owned */
};

/* Groups by their claim to the name: a folder's is the best. */
static int by_claim(const void *left, const void *right, void *arg)
{
	const struct version_row *rows = arg;
	const struct version_row *a = &rows[((const struct group *)left)->leader];
	const struct version_row *b = &rows[((const struct group *)right)->leader];
	bool a_dir = a->body.kind == VERSION_DIR, b_dir = b->body.kind == VERSION_DIR;

	if (a_dir != b_dir)
		return a_dir ? -1 : 1;
	return compare_claim(a, b);
}

static int by_row(const void *left, const void *right)
{
	return compare_uint(((const struct plan_entry *)left)->row,
			    ((const struct plan_entry *)right)->row);
}

/* Do not cut inside a UTF-8 sequence. */
static size_t cut_length(const char *text, size_t length, size_t max)
{
	if (length <= max)
		return length;
	while (max > 0 && ((unsigned char)text[max] & 0xc0) == 0x80)
		max--;
	return max;
}

static char *make_conflict_path(const char *path, const struct version_row *version,
				unsigned digits)
{
	const char *slash = strrchr(path, '/');
	const char *name = slash ? slash + 1 : path;
	const char *dot = strrchr(name, '.');
	struct digest digest = version->body.digest;
	char hex[DIGEST_HEX_SIZE], mark[64 + 64];
	size_t stem, mark_length;
	char *result;

	if (!dot || dot == name || strlen(dot) > EXTENSION_MAX)
		dot = name + strlen(name);
	/* The letter keeps a link apart from a file that contains just its target. */
	if (version->body.kind == VERSION_LINK)
		digest_of(version->body.target, strlen(version->body.target), &digest);
	digest_hex(&digest, hex);
	mark_length =
		(size_t)snprintf(mark, sizeof(mark), " (conflict %s %s%.*s)", version->site_name,
				 version->body.kind == VERSION_LINK ? "l" : "", (int)digits, hex);
	stem = cut_length(name, (size_t)(dot - name), NAME_MAX_LENGTH - mark_length - strlen(dot));
	if (asprintf(&result, "%.*s%.*s%s%s", (int)(name - path), path, (int)stem, name, mark,
		     dot) < 0)
		return NULL;
	return result;
}

char *conflict_path(const char *path, const struct version_row *version)
{
	return make_conflict_path(path, version, SOME_DIGITS);
}

struct groups {
	struct group *list; /* owned */
	size_t count;
};

static void groups_fini(struct groups *groups)
{
	for (size_t i = 0; i < groups->count; i++)
		free(groups->list[i].path);
	free(groups->list);
}

static bool path_is_used(const struct groups *groups, size_t before, const char *path)
{
	for (size_t i = 0; i < before; i++)
		if (strcmp(groups->list[i].path, path) == 0)
			return true;
	return false;
}

static int name_groups(const struct version_row *rows, bool below, struct groups *groups)
{
	/* Eight digits may meet by chance, thirty-two do not. */
	bool many = groups->count > MANY_GROUPS;

	for (size_t i = 0; i < groups->count; i++) {
		struct group *group = &groups->list[i];
		const struct version_row *leader = &rows[group->leader];
		bool keeps = i == 0 && (!below || leader->body.kind == VERSION_DIR);

		group->path = keeps ? strdup(leader->path) : conflict_path(leader->path, leader);
		if (!keeps && group->path && (many || path_is_used(groups, i, group->path))) {
			free(group->path);
			group->path = make_conflict_path(leader->path, leader, ALL_DIGITS);
		}
		if (!group->path)
			return -ENOMEM;
	}
	return 0;
}

/* @plan's entries are in the order of groups; make the list of groups from them. */
static int find_groups(const struct version_row *rows, const struct plan *plan,
		       struct groups *groups)
{
	groups->list = calloc(plan->count + 1, sizeof(*groups->list));
	if (!groups->list)
		return -ENOMEM;
	for (size_t i = 0; i < plan->count; i++) {
		size_t row = plan->entries[i].row;
		struct group *last = &groups->list[groups->count - 1];

		if (i == 0 || !version_same_content(&rows[last->leader].body, &rows[row].body)) {
			last = &groups->list[groups->count++];
			last->start = i;
			last->leader = row;
		}
		last->count++;
	}
	return 0;
}

static int fill_entries(const struct version_row *rows, const struct groups *groups,
			struct plan *plan)
{
	for (size_t g = 0; g < groups->count; g++) {
		const struct group *group = &groups->list[g];

		for (size_t i = group->start; i < group->start + group->count; i++) {
			struct plan_entry *entry = &plan->entries[i];

			entry->leader = group->leader;
			entry->pending = version_is_announced(&rows[group->leader].body);
			entry->conflict = strcmp(group->path, rows[entry->row].path) != 0;
			entry->path = strdup(group->path);
			if (!entry->path)
				return -ENOMEM;
		}
	}
	return 0;
}

static int make_plan(const struct version_row *rows, bool below, struct groups *groups,
		     struct plan *plan)
{
	/* The rows are not changed: sorting takes its argument without const. */
	void *arg = (void *)(uintptr_t)rows;
	int r;

	qsort_r(plan->entries, plan->count, sizeof(*plan->entries), by_group, arg);
	r = find_groups(rows, plan, groups);
	if (r < 0)
		return r;
	qsort_r(groups->list, groups->count, sizeof(*groups->list), by_claim, arg);
	r = name_groups(rows, below, groups);
	if (r == 0)
		r = fill_entries(rows, groups, plan);
	if (r == 0)
		qsort(plan->entries, plan->count, sizeof(*plan->entries), by_row);
	return r;
}

int merge_plan(const struct version_row *rows, size_t count, bool below, struct plan *ret_plan)
{
	struct plan plan = { .entries = calloc(count + 1, sizeof(*plan.entries)) };
	struct groups groups = { 0 };
	int r;

	if (!plan.entries)
		return -ENOMEM;
	for (size_t i = 0; i < count; i++)
		if (rows[i].live)
			plan.entries[plan.count++].row = i;
	r = make_plan(rows, below, &groups, &plan);
	groups_fini(&groups);
	if (r < 0) {
		plan_fini(&plan);
		return r;
	}
	*ret_plan = plan;
	return 0;
}

void plan_fini(struct plan *plan)
{
	for (size_t i = 0; i < plan->count; i++)
		free(plan->entries[i].path);
	free(plan->entries);
	plan->entries = NULL;
	plan->count = 0;
}
