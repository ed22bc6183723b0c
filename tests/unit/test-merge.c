/* SPDX-License-Identifier: Apache-2.0 */
#include <stdlib.h>

#include "sync/merge.h"
#include "test.h"
#include "util/cleanup.h"

static const char *const sites[] = { "11111111-1111-4111-8111-111111111111",
				     "22222222-2222-4222-8222-222222222222",
				     "33333333-3333-4333-8333-333333333333" };

enum { ANNOUNCED = 1 };

/* Bytes "@content" of a file; "/" a folder; "> x" a link to x. Nothing in it is owned. */
static struct version_row version(unsigned site, uint64_t seq, uint64_t lamport,
				  const char *content, unsigned flags)
{
	struct version_row row = { .id = { .seq = seq }, .lamport = lamport, .live = true };
	static char path[] = "DAY1/clip.0001.mov";
	static char key[] = "k";

	strcpy(row.id.site, sites[site]);
	snprintf(row.site_name, sizeof(row.site_name), "site%u", site);
	row.path = path;
	row.body.kind = VERSION_FILE;
	if (content[0] == '/') {
		row.body.kind = VERSION_DIR;
	} else if (content[0] == '>') {
		row.body.kind = VERSION_LINK;
		row.body.target = (char *)(uintptr_t)content + 2;
	} else {
		row.body.size = strlen(content);
		digest_of(content, strlen(content), &row.body.digest);
		row.body.key = flags & ANNOUNCED ? NULL : key;
	}
	return row;
}

static const char *shown(const struct plan *plan, size_t row)
{
	for (size_t i = 0; i < plan->count; i++)
		if (plan->entries[i].row == row)
			return plan->entries[i].path;
	return NULL;
}

static bool has_mark(const char *path, const char *site)
{
	char mark[64];

	snprintf(mark, sizeof(mark), "DAY1/clip.0001 (conflict %s ", site);
	return path && strncmp(path, mark, strlen(mark)) == 0 &&
	       strcmp(path + strlen(path) - 5, ").mov") == 0;
}

TEST(a_lone_version_keeps_its_name)
{
	struct version_row rows[] = { version(0, 1, 1, "abc", 0) };
	struct plan plan;

	check_int(merge_plan(rows, 1, false, &plan), 0);
	check_int(plan.count, 1);
	check_str(shown(&plan, 0), "DAY1/clip.0001.mov");
	check(!plan.entries[0].pending && !plan.entries[0].conflict);
	plan_fini(&plan);
}

TEST(the_older_of_two_keeps_the_name_and_both_are_shown)
{
	struct version_row rows[] = { version(1, 4, 9, "abc", 0), version(0, 7, 5, "xyz", 0) };
	struct plan plan;

	check_int(merge_plan(rows, 2, false, &plan), 0);
	check_str(shown(&plan, 1), "DAY1/clip.0001.mov");
	check(has_mark(shown(&plan, 0), "site1"));
	check(plan.entries[0].conflict && !plan.entries[1].conflict);
	plan_fini(&plan);
}

TEST(equal_bytes_merge_silently)
{
	struct version_row rows[] = { version(1, 4, 9, "abc", 0), version(0, 7, 5, "abc", 0) };
	struct plan plan;

	check_int(merge_plan(rows, 2, false, &plan), 0);
	check_str(shown(&plan, 0), "DAY1/clip.0001.mov");
	check_str(shown(&plan, 1), "DAY1/clip.0001.mov");
	check_int(plan.entries[0].leader, 1);
	check_int(plan.entries[1].leader, 1);
	plan_fini(&plan);
}

TEST(a_folder_wins_over_files_and_links_of_any_age)
{
	struct version_row rows[] = { version(0, 1, 1, "abc", 0), version(1, 1, 7, "/", 0),
				      version(2, 1, 3, "> abc", 0) };
	struct plan plan;

	check_int(merge_plan(rows, 3, false, &plan), 0);
	check(has_mark(shown(&plan, 0), "site0"));
	check_str(shown(&plan, 1), "DAY1/clip.0001.mov");
	check(has_mark(shown(&plan, 2), "site2"));
	check(strcmp(shown(&plan, 0), shown(&plan, 2)) != 0);
	plan_fini(&plan);
}

TEST(a_folder_that_only_its_content_implies_wins_too)
{
	struct version_row rows[] = { version(0, 1, 1, "abc", 0) };
	struct plan plan;

	check_int(merge_plan(rows, 1, true, &plan), 0);
	check(has_mark(shown(&plan, 0), "site0"));
	plan_fini(&plan);
}

TEST(stored_goes_before_announced)
{
	struct version_row rows[] = { version(0, 1, 1, "abc", ANNOUNCED),
				      version(1, 1, 5, "xyz", 0) };
	struct plan plan;

	check_int(merge_plan(rows, 2, false, &plan), 0);
	check(has_mark(shown(&plan, 0), "site0"));
	check_str(shown(&plan, 1), "DAY1/clip.0001.mov");
	check(plan.entries[0].pending && !plan.entries[1].pending);
	plan_fini(&plan);
}

TEST(what_is_announced_here_and_stored_there_is_stored)
{
	struct version_row rows[] = { version(0, 1, 1, "abc", ANNOUNCED),
				      version(1, 1, 5, "abc", 0) };
	struct plan plan;

	check_int(merge_plan(rows, 2, false, &plan), 0);
	check(!plan.entries[0].pending && !plan.entries[1].pending);
	check_int(plan.entries[0].leader, 1);
	plan_fini(&plan);
}

TEST(dead_versions_are_not_shown)
{
	struct version_row rows[] = { version(0, 1, 1, "abc", 0), version(1, 1, 2, "xyz", 0) };
	struct plan plan;

	rows[0].live = false;
	check_int(merge_plan(rows, 2, false, &plan), 0);
	check_int(plan.count, 1);
	check_str(shown(&plan, 1), "DAY1/clip.0001.mov");
	plan_fini(&plan);
}

TEST(conflict_names_fit_a_directory_entry)
{
	static const char *const names[] = { "a", ".hidden", "a.mov", "tar.gz.",
					     "x.noextensionatall" };
	struct version_row row = version(0, 1, 1, "abc", 0);

	memset(row.site_name, 's', 63);
	row.site_name[63] = '\0';
	for (size_t i = 0; i < ARRAY_SIZE(names); i++) {
		cleanup_free char *path = conflict_path(names[i], &row);

		check(path && strlen(path) <= 255 && strstr(path, " (conflict "));
	}
	for (size_t length = 150; length <= 255; length++) {
		char name[256];
		cleanup_free char *path = NULL;

		/* Two-byte characters: none may be cut in half. */
		for (size_t i = 0; i + 1 < length; i += 2)
			memcpy(name + i, "\xc3\xa4", 3);
		path = conflict_path(name, &row);
		check(path && strlen(path) <= 255);
		check((unsigned char)strchr(path, ' ')[-1] == 0xa4);
	}
}

/* Convergence ------------------------------------------------------------------------------ */

static uint64_t random_next(uint64_t *state)
{
	*state = *state * 6364136223846793005ull + 1442695040888963407ull;
	return *state >> 33;
}

#define MANY 12

static void check_order_is_nothing(uint64_t *seed)
{
	static const char *const contents[] = { "a", "b", "c", "dd", "/", "> a", "> b" };
	struct version_row rows[MANY], mixed[MANY];
	struct plan plan, plan_mixed;
	size_t at[MANY], count = 1 + random_next(seed) % MANY;
	bool below = random_next(seed) % 2;

	for (size_t i = 0; i < count; i++) {
		rows[i] = version(random_next(seed) % 3, i + 1, 1 + random_next(seed) % 4,
				  contents[random_next(seed) % ARRAY_SIZE(contents)],
				  random_next(seed) % 3 ? 0 : ANNOUNCED);
		rows[i].live = random_next(seed) % 5 != 0;
		at[i] = i;
	}
	for (size_t i = count; i-- > 1;) {
		size_t j = random_next(seed) % (i + 1), swap = at[i];

		at[i] = at[j];
		at[j] = swap;
	}
	for (size_t i = 0; i < count; i++)
		mixed[i] = rows[at[i]];
	check_int(merge_plan(rows, count, below, &plan), 0);
	check_int(merge_plan(mixed, count, below, &plan_mixed), 0);
	check_int(plan.count, plan_mixed.count);
	for (size_t i = 0; i < count; i++) {
		const char *path = shown(&plan_mixed, i);

		if (rows[at[i]].live)
			check_str(shown(&plan, at[i]), path);
	}
	/* Different bytes never share a name. */
	for (size_t i = 0; i < plan.count; i++)
		for (size_t j = 0; j < i; j++) {
			struct plan_entry *a = &plan.entries[i], *b = &plan.entries[j];

			check((strcmp(a->path, b->path) == 0) ==
			      version_same_content(&rows[a->row].body, &rows[b->row].body));
		}
	plan_fini(&plan);
	plan_fini(&plan_mixed);
}

TEST(the_order_of_versions_does_not_matter)
{
	uint64_t seed = 20261128;

	for (int i = 0; i < 20000; i++)
		check_order_is_nothing(&seed);
}
