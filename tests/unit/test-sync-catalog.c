/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <stdlib.h>

#include "catalog/sync.h"
#include "catalog_help.h"
#include "sync/merge.h"
#include "test.h"

static const char *const sites[] = { "11111111-1111-4111-8111-111111111111",
				     "22222222-2222-4222-8222-222222222222",
				     "33333333-3333-4333-8333-333333333333" };

static struct sync_record put(const char *path, const char *content)
{
	struct sync_record record = { .verb = RECORD_PUT, .path = strdup(path) };
	struct version_body *body = &record.body;

	body->kind = content[0] == '/' ? VERSION_DIR : VERSION_FILE;
	body->mode = 0644;
	if (body->kind == VERSION_FILE) {
		body->size = strlen(content);
		digest_of(content, strlen(content), &body->digest);
		check_int(blockmap_init(&body->map, body->size), 0);
		strcpy(body->tier, sites[0]);
		body->key = strdup(path);
	}
	return record;
}

static struct sync_record announce(const char *path, const char *content)
{
	struct sync_record record = put(path, content);

	free(record.body.key);
	record.body.key = NULL;
	record.body.tier[0] = '\0';
	return record;
}

static struct sync_record del(const char *path)
{
	return (struct sync_record){ .verb = RECORD_DEL, .path = strdup(path) };
}

static void add_base(struct sync_record *record, unsigned site, uint64_t seq)
{
	record->base = realloc(record->base, (record->base_count + 1) * sizeof(*record->base));
	strcpy(record->base[record->base_count].site, sites[site]);
	record->base[record->base_count++].seq = seq;
}

/* Consumes the records. */
static int apply(struct catalog *catalog, unsigned site, uint64_t number, uint64_t first,
		 struct sync_record *records, size_t count, const char *const *shown)
{
	struct sync_segment segment = { .first = first, .records = records, .count = count };
	int r;

	strcpy(segment.position.site, sites[site]);
	snprintf(segment.position.name, sizeof(segment.position.name), "site%u", site);
	segment.position.segment = number;
	segment.position.records = first + count - 1;
	segment.position.lamport = number;
	memset(segment.position.chain, (int)number, CHAIN_BYTES);
	segment.shown = shown;
	if (shown) {
		segment.outbox = "packed";
		segment.outbox_bytes = 6;
	}
	r = catalog_apply_segment(catalog, &segment);
	for (size_t i = 0; i < count; i++)
		sync_record_fini(&records[i]);
	return r;
}

static size_t live_at(struct catalog *catalog, const char *path)
{
	struct version_row *rows;
	size_t count, live = 0;

	check_int(catalog_barrier(catalog), 0);
	check_int(catalog_get_versions(catalog, path, &rows, &count), 0);
	for (size_t i = 0; i < count; i++)
		live += rows[i].live;
	version_rows_free(rows, count);
	return live;
}

static size_t unshown(struct catalog *catalog)
{
	struct sync_note *notes;
	size_t count;

	check_int(catalog_barrier(catalog), 0);
	check_int(catalog_get_unshown(catalog, NULL, 100, &notes, &count), 0);
	sync_notes_free(notes, count);
	return count;
}

TEST(a_put_becomes_a_version_that_is_to_be_shown)
{
	cleanup_scratch struct scratch *dir = scratch_new();
	cleanup_catalog struct catalog *catalog = open_catalog(dir);
	struct sync_record record = put("DAY1/a.mov", "abc");
	struct sync_position position;
	struct version_row *rows;
	size_t count;

	check_int(apply(catalog, 1, 1, 1, &record, 1, NULL), 0);
	check_int(catalog_get_versions(catalog, "DAY1/a.mov", &rows, &count), 0);
	check_int(count, 1);
	check_str(rows[0].id.site, sites[1]);
	check_str(rows[0].site_name, "site1");
	check_int(rows[0].id.seq, 1);
	check_int(rows[0].body.size, 3);
	check_int(rows[0].body.map.size, 3);
	check_str(rows[0].body.key, "DAY1/a.mov");
	check(rows[0].live && !rows[0].shown);
	version_rows_free(rows, count);
	check_int(unshown(catalog), 1);
	check_int(catalog_get_position(catalog, sites[1], &position), 1);
	check_int(position.segment, 1);
	check_int(position.records, 1);
	check_int(position.chain[31], 1);
	check_int(catalog_get_position(catalog, sites[2], &position), 0);
	check_int(position.segment, 0);
}

TEST(segments_are_applied_once_and_in_order)
{
	cleanup_scratch struct scratch *dir = scratch_new();
	cleanup_catalog struct catalog *catalog = open_catalog(dir);
	struct sync_record first = put("a", "1"), again = put("a", "1"), gap = put("b", "1"),
			   skipped = put("c", "1");

	check_int(apply(catalog, 0, 1, 1, &first, 1, NULL), 0);
	check_int(apply(catalog, 0, 1, 1, &again, 1, NULL), -ESTALE);
	check_int(apply(catalog, 0, 3, 2, &gap, 1, NULL), -ESTALE);
	check_int(apply(catalog, 0, 2, 3, &skipped, 1, NULL), -ESTALE);
	check_int(live_at(catalog, "a"), 1);
	check_int(live_at(catalog, "b") + live_at(catalog, "c"), 0);
}

TEST(a_base_ends_a_version_seen_before_or_later)
{
	cleanup_scratch struct scratch *dir = scratch_new();
	cleanup_catalog struct catalog *catalog = open_catalog(dir);
	struct sync_record old = put("a", "1"), gone = del("a"), late = put("b", "1"),
			   early = del("b");

	check_int(apply(catalog, 0, 1, 1, &old, 1, NULL), 0);
	add_base(&gone, 0, 1);
	check_int(apply(catalog, 1, 1, 1, &gone, 1, NULL), 0);
	check_int(live_at(catalog, "a"), 0);
	add_base(&early, 0, 2);
	check_int(apply(catalog, 1, 2, 2, &early, 1, NULL), 0);
	check_int(apply(catalog, 0, 2, 2, &late, 1, NULL), 0);
	check_int(live_at(catalog, "b"), 0);
}

TEST(a_dead_version_stays_while_it_is_shown)
{
	cleanup_scratch struct scratch *dir = scratch_new();
	cleanup_catalog struct catalog *catalog = open_catalog(dir);
	struct sync_record old = put("a", "1"), gone = del("a");
	struct version_id id = { .seq = 1 };
	struct version_row *rows;
	struct digest digest;
	size_t count;

	strcpy(id.site, sites[0]);
	check_int(apply(catalog, 0, 1, 1, &old, 1, NULL), 0);
	check_int(catalog_set_shown(catalog, &id, "a (conflict)"), 0);
	add_base(&gone, 0, 1);
	check_int(apply(catalog, 1, 1, 1, &gone, 1, NULL), 0);
	check_int(catalog_get_shown(catalog, "a (conflict)", &rows, &count), 0);
	check_int(count, 1);
	check(!rows[0].live);
	version_rows_free(rows, count);
	digest_of("1", 1, &digest);
	check_int(catalog_get_dead_shown(catalog, &digest, &rows, &count), 0);
	check_int(count, 1);
	version_rows_free(rows, count);
	check_int(catalog_set_shown(catalog, &id, NULL), 0);
	check_int(catalog_barrier(catalog), 0);
	check_int(catalog_get_versions(catalog, "a", &rows, &count), 0);
	check_int(count, 0);
	version_rows_free(rows, count);
}

TEST(our_own_segment_is_shown_already_and_waits_in_the_outbox)
{
	cleanup_scratch struct scratch *dir = scratch_new();
	cleanup_catalog struct catalog *catalog = open_catalog(dir);
	struct sync_record records[2] = { put("a", "1"), put("b", "2") };
	static const char *const shown[] = { "a", "b" };
	struct version_row *rows;
	cleanup_free void *bytes = NULL;
	size_t count, length;
	uint64_t number;

	check_int(apply(catalog, 0, 1, 1, records, 2, shown), 0);
	check_int(unshown(catalog), 0);
	check_int(catalog_get_shown(catalog, "b", &rows, &count), 0);
	check_int(count, 1);
	version_rows_free(rows, count);
	check_int(catalog_next_outbox(catalog, &number, &bytes, &length), 1);
	check_int(number, 1);
	check_int(length, 6);
	check_int(catalog_remove_outbox(catalog, 1), 0);
	check_int(catalog_barrier(catalog), 0);
	check_int(catalog_next_outbox(catalog, &number, &bytes, &length), 0);
}

TEST(a_file_with_others_names_below_is_looked_at_again)
{
	cleanup_scratch struct scratch *dir = scratch_new();
	cleanup_catalog struct catalog *catalog = open_catalog(dir);
	struct sync_record file = put("d/x", "1"), below = put("d/x/y/z", "2");
	struct sync_note *notes;
	size_t count;

	check_int(apply(catalog, 0, 1, 1, &file, 1, NULL), 0);
	check_int(catalog_get_unshown(catalog, NULL, 10, &notes, &count), 0);
	check_int(count, 1);
	check_int(catalog_clear_unshown(catalog, &notes[0]), 0);
	sync_notes_free(notes, count);
	check_int(unshown(catalog), 0);
	check_int(catalog_has_versions_below(catalog, "d/x"), 0);
	check_int(apply(catalog, 1, 1, 1, &below, 1, NULL), 0);
	check_int(unshown(catalog), 2);
	check_int(catalog_has_versions_below(catalog, "d/x"), 1);
}

TEST(a_note_that_was_renewed_is_not_cleared)
{
	cleanup_scratch struct scratch *dir = scratch_new();
	cleanup_catalog struct catalog *catalog = open_catalog(dir);
	struct sync_note *notes;
	size_t count;

	check_int(catalog_add_unshown(catalog, "a"), 0);
	check_int(unshown(catalog), 1);
	check_int(catalog_get_unshown(catalog, NULL, 10, &notes, &count), 0);
	check_int(catalog_add_unshown(catalog, "a"), 0);
	check_int(catalog_clear_unshown(catalog, &notes[0]), 0);
	sync_notes_free(notes, count);
	check_int(unshown(catalog), 1);
}

static int count_row(void *arg, const struct version_row *row)
{
	check(version_is_announced(&row->body));
	++*(size_t *)arg;
	return 0;
}

TEST(announced_files_are_listed_until_they_are_stored)
{
	cleanup_scratch struct scratch *dir = scratch_new();
	cleanup_catalog struct catalog *catalog = open_catalog(dir);
	struct sync_record records[600], stored = put("a", "1");
	struct sync_counts counts;
	size_t count = 0;

	for (size_t i = 0; i < ARRAY_SIZE(records); i++)
		records[i] = announce(i % 2 ? "a" : "b", "1");
	check_int(apply(catalog, 0, 1, 1, records, ARRAY_SIZE(records), NULL), 0);
	check_int(catalog_each_pending(catalog, count_row, &count), 0);
	check_int(count, ARRAY_SIZE(records));
	add_base(&stored, 0, 2);
	check_int(apply(catalog, 0, 2, 601, &stored, 1, NULL), 0);
	check_int(catalog_get_sync_counts(catalog, &counts), 0);
	check_int(counts.pending, ARRAY_SIZE(records) - 1);
	check_int(counts.conflicts, 0);
}

TEST(what_the_disk_lost_is_to_be_shown_again)
{
	cleanup_scratch struct scratch *dir = scratch_new();
	cleanup_catalog struct catalog *catalog = open_catalog(dir);
	struct sync_record records[3] = { put("d", "/"), put("d/a", "1"), put("d0", "2") };
	static const char *const shown[] = { "d", "d/a", "d0" };
	struct version_row *rows;
	size_t count;

	check_int(apply(catalog, 0, 1, 1, records, 3, shown), 0);
	check_int(catalog_lose_shown(catalog, "d"), 0);
	check_int(unshown(catalog), 2);
	check_int(catalog_get_shown(catalog, "d/a", &rows, &count), 0);
	check_int(count, 0);
	version_rows_free(rows, count);
	check_int(catalog_get_shown(catalog, "d0", &rows, &count), 0);
	check_int(count, 1);
	version_rows_free(rows, count);
	check_int(live_at(catalog, "d/a"), 1);
}

TEST(a_machine_that_was_not_started_anew_lost_nothing)
{
	cleanup_scratch struct scratch *dir = scratch_new();
	cleanup_catalog struct catalog *catalog = open_catalog(dir);

	check_int(catalog_was_rebooted(catalog), 0);
	check_int(catalog_note_boot(catalog), 0);
	check_int(catalog_barrier(catalog), 0);
	check_int(catalog_was_rebooted(catalog), 0);
	check_int(catalog_set_meta(catalog, "sync.boot", "another"), 0);
	check_int(catalog_barrier(catalog), 0);
	check_int(catalog_was_rebooted(catalog), 1);
}

TEST(after_a_reset_nothing_is_known)
{
	cleanup_scratch struct scratch *dir = scratch_new();
	cleanup_catalog struct catalog *catalog = open_catalog(dir);
	struct sync_record record = put("a", "1"), again = put("a", "1");
	struct sync_position position;

	check_int(apply(catalog, 0, 1, 1, &record, 1, NULL), 0);
	check_int(catalog_reset_sync(catalog), 0);
	check_int(live_at(catalog, "a"), 0);
	check_int(catalog_get_position(catalog, sites[0], &position), 0);
	check_int(apply(catalog, 0, 1, 1, &again, 1, NULL), 0);
}

/* Convergence ------------------------------------------------------------------------------ */

static uint64_t random_next(uint64_t *state)
{
	*state = *state * 6364136223846793005ull + 1442695040888963407ull;
	return *state >> 33;
}

#define SITES 3
#define SEGMENTS 8
#define RECORDS 4

struct story {
	struct sync_record records[SITES][SEGMENTS][RECORDS];
};

/* Any site may name any version as a base, of its own past or of what others will have written. */
static void make_story(struct story *story, uint64_t *seed)
{
	static const char *const paths[] = { "a", "a/b", "c", "a/b/d" };
	static const char *const contents[] = { "1", "2", "/", "33" };

	for (unsigned s = 0; s < SITES; s++)
		for (unsigned g = 0; g < SEGMENTS; g++)
			for (unsigned i = 0; i < RECORDS; i++) {
				struct sync_record *record = &story->records[s][g][i];
				const char *path = paths[random_next(seed) % ARRAY_SIZE(paths)];
				const char *content =
					contents[random_next(seed) % ARRAY_SIZE(contents)];
				unsigned verb = random_next(seed) % 4;
				unsigned bases = random_next(seed) % 3;

				*record = verb == 0   ? del(path)
					  : verb == 1 ? announce(path,
								 content[0] == '/' ? "1" : content)
						      : put(path, content);
				for (unsigned b = 0; b < bases; b++) {
					unsigned site = random_next(seed) % SITES;
					uint64_t seq = 1 + random_next(seed) % (SEGMENTS * RECORDS);

					if (site != s || seq < g * RECORDS + i + 1)
						add_base(record, site, seq);
				}
			}
}

static struct sync_record copy_record(const struct sync_record *from)
{
	struct sync_record record = { .verb = from->verb, .path = strdup(from->path) };

	record.body = from->body;
	record.body.map = (struct blockmap){ 0 };
	if (from->body.kind == VERSION_FILE)
		check_int(blockmap_copy(&from->body.map, &record.body.map), 0);
	record.body.key = from->body.key ? strdup(from->body.key) : NULL;
	for (size_t i = 0; i < from->base_count; i++)
		add_base(&record, from->base[i].site[0] - '1', from->base[i].seq);
	return record;
}

static void read_story(struct catalog *catalog, const struct story *story, uint64_t *seed)
{
	unsigned done[SITES] = { 0 };

	for (unsigned left = SITES * SEGMENTS; left > 0;) {
		unsigned s = random_next(seed) % SITES, g = done[s];
		struct sync_record records[RECORDS];

		if (g == SEGMENTS)
			continue;
		for (unsigned i = 0; i < RECORDS; i++)
			records[i] = copy_record(&story->records[s][g][i]);
		check_int(apply(catalog, s, g + 1, 1 + g * RECORDS, records, RECORDS, NULL), 0);
		done[s]++;
		left--;
	}
}

static int by_text(const void *a, const void *b)
{
	return strcmp(*(char *const *)a, *(char *const *)b);
}

/* All that is to be shown, as sorted lines. */
static void describe(struct catalog *catalog, char *text, size_t size)
{
	static const char *const paths[] = { "a", "a/b", "a/b/d", "c" };
	char *lines[SITES * SEGMENTS * RECORDS];
	size_t line_count = 0, used = 0;

	for (size_t p = 0; p < ARRAY_SIZE(paths); p++) {
		int below = catalog_has_versions_below(catalog, paths[p]);
		struct version_row *rows;
		struct plan plan;
		size_t count;

		check(below >= 0);
		check_int(catalog_get_versions(catalog, paths[p], &rows, &count), 0);
		check_int(merge_plan(rows, count, below, &plan), 0);
		for (size_t i = 0; i < plan.count; i++) {
			struct version_row *row = &rows[plan.entries[i].row];
			struct version_row *leader = &rows[plan.entries[i].leader];

			check(asprintf(&lines[line_count++], "%s %s:%d %s:%d %d",
				       plan.entries[i].path, row->id.site, (int)row->id.seq,
				       leader->id.site, (int)leader->id.seq,
				       plan.entries[i].pending) > 0);
		}
		plan_fini(&plan);
		version_rows_free(rows, count);
	}
	qsort(lines, line_count, sizeof(lines[0]), by_text);
	text[0] = '\0';
	for (size_t i = 0; i < line_count; i++) {
		used += (size_t)snprintf(text + used, size - used, "%s\n", lines[i]);
		check(used < size);
		free(lines[i]);
	}
}

TEST(sites_that_read_the_same_in_any_order_show_the_same)
{
	uint64_t seed = 20261128;

	for (int round = 0; round < 10; round++) {
		char expected[32768], text[32768];
		struct story story;

		make_story(&story, &seed);
		for (int order = 0; order < 3; order++) {
			cleanup_scratch struct scratch *dir = scratch_new();
			cleanup_catalog struct catalog *catalog = open_catalog(dir);

			read_story(catalog, &story, &seed);
			describe(catalog, order ? text : expected, sizeof(text));
			if (order)
				check_str(text, expected);
		}
		check(expected[0]);
		for (unsigned s = 0; s < SITES; s++)
			for (unsigned g = 0; g < SEGMENTS; g++)
				for (unsigned i = 0; i < RECORDS; i++)
					sync_record_fini(&story.records[s][g][i]);
	}
}
