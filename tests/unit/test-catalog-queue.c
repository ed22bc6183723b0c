/* SPDX-License-Identifier: Apache-2.0 */
#include <limits.h>

#include "catalog_help.h"

static struct queue_row queue_row(uint64_t id, uint32_t tier)
{
	return (struct queue_row){
		.id = id,
		.generation = 1,
		.tier = tier,
		.class = 2,
		.size = 100,
		.queued_ns = 1000,
		.due_ns = 1000,
	};
}

/* A verified file called after its id. */
static uint64_t add_file(struct catalog *catalog, uint64_t id)
{
	char name[32];

	(void)snprintf(name, sizeof(name), "f%" PRIu64, id);
	put_file(catalog, 1, name, id, 100);
	return verify_file(catalog, id, 1, 100, id);
}

static struct copy_row copy_of(uint64_t content, uint32_t tier, uint64_t id)
{
	return (struct copy_row){
		.content = content, .tier = tier, .key = (char *)"k", .digest = make_digest(id)
	};
}

TEST(only_verified_files_are_queued)
{
	cleanup_scratch struct scratch *dir = scratch_new();
	cleanup_catalog struct catalog *catalog = open_catalog(dir);
	struct queue_row row = queue_row(10, 1);

	put_file(catalog, 1, "a", 10, 100);
	check_int(catalog_enqueue(catalog, &row, STEP_WAIT), -ESTALE);
	(void)verify_file(catalog, 10, 1, 100, 10);
	row.generation = 2;
	check_int(catalog_enqueue(catalog, &row, STEP_WAIT), -ESTALE);
	row.generation = 1;
	check_int(catalog_enqueue(catalog, &row, STEP_WAIT), 0);
	check_int(state_of(catalog, 10), FILE_QUEUED);
	row.class = 5000000;
	check_int(catalog_enqueue(catalog, &row, STEP_WAIT), -EINVAL);
}

TEST(the_queue_goes_by_class_and_age)
{
	cleanup_scratch struct scratch *dir = scratch_new();
	cleanup_catalog struct catalog *catalog = open_catalog(dir);
	int64_t now = 100 * QUEUE_AGEING_NS, due;
	struct queue_row rows[8], row;

	for (uint64_t id = 10; id < 16; id++)
		(void)add_file(catalog, id);
	row = queue_row(10, 1); /* class 2, young */
	row.queued_ns = now;
	check_int(catalog_enqueue(catalog, &row, 0), 0);
	row = queue_row(11, 1); /* class 4, has waited for three classes */
	row.class = 4;
	row.queued_ns = now - 3 * QUEUE_AGEING_NS;
	check_int(catalog_enqueue(catalog, &row, 0), 0);
	row = queue_row(12, 1); /* class 0 */
	row.class = 0;
	row.queued_ns = now;
	check_int(catalog_enqueue(catalog, &row, 0), 0);
	row = queue_row(13, 1); /* not due */
	row.due_ns = now + 1;
	check_int(catalog_enqueue(catalog, &row, 0), 0);
	row = queue_row(14, 1); /* set aside */
	row.poison = true;
	check_int(catalog_enqueue(catalog, &row, 0), 0);
	row = queue_row(15, 2); /* another tier */
	check_int(catalog_enqueue(catalog, &row, 0), 0);
	check_int(catalog_barrier(catalog), 0);
	check_int(catalog_queue_next(catalog, 1, UINT_MAX, now, rows, 8), 3);
	check_int(rows[0].id, 12);
	check_int(rows[1].id, 11);
	check_int(rows[2].id, 10);
	check_int(rows[1].class, 4);
	check_int(rows[1].size, 100);
	check_int(catalog_queue_next(catalog, 1, UINT_MAX, now, rows, 1), 1);
	check_int(catalog_queue_next(catalog, 1, UINT_MAX, now + 1, rows, 8), 4);
	check_int(catalog_queue_due(catalog, 1, &due), 0);
	check_int(due, 1000);
	check_int(catalog_queue_due(catalog, 3, &due), 0);
	check_int(due, INT64_MAX);
}

static int count_row(void *arg, const struct queue_row *row)
{
	(void)row;
	++*(int *)arg;
	return 0;
}

TEST(queue_totals_follow_every_change)
{
	cleanup_scratch struct scratch *dir = scratch_new();
	cleanup_catalog struct catalog *catalog = open_catalog(dir);
	struct queue_totals totals;
	cleanup_free char *why = NULL;
	char *none;
	struct queue_row rows[4], row;
	int count = 0;

	(void)add_file(catalog, 10);
	(void)add_file(catalog, 11);
	for (uint32_t tier = 1; tier <= 2; tier++) {
		row = queue_row(10, tier);
		check_int(catalog_enqueue(catalog, &row, 0), 0);
		row = queue_row(11, tier);
		check_int(catalog_enqueue(catalog, &row, 0), 0);
	}
	row.size = 150;
	check_int(catalog_enqueue(catalog, &row, 0), 0); /* replaces */
	check_int(catalog_queue_retry(catalog, 10, 1, 2, 5000, -EHOSTDOWN, false, ""), 0);
	check_int(catalog_queue_retry(catalog, 11, 1, 2, 6000, -EBADMSG, true, "no (Why)"), 0);
	check_int(catalog_queue_retry(catalog, 10, 9, 1, 6000, -EBADMSG, true, "x"), 0); /* no */
	check_int(catalog_barrier(catalog), 0);
	check_int(catalog_queue_totals(catalog, 2, &totals), 0);
	check_int(totals.files, 1);
	check_int(totals.bytes, 100);
	check_int(totals.poison, 1);
	check_int(catalog_queue_totals(catalog, 0, &totals), 0);
	check_int(totals.files, 3);
	check_int(totals.poison, 1);
	check_int(catalog_queue_why(catalog, 11, 2, &why), 1);
	check_str(why, "no (Why)");
	check_int(catalog_queue_why(catalog, 10, 2, &none), 0);
	check_int(catalog_queue_why(catalog, 10, 1, &none), 0);
	check_int(catalog_queue_next(catalog, 2, UINT_MAX, 9999, rows, 4), 1);
	check_int(rows[0].attempts, 1);
	check_int(rows[0].error, -EHOSTDOWN);
	check_int(rows[0].due_ns, 5000);
	check_int(catalog_each_queued(catalog, count_row, &count), 0);
	check_int(count, 4);
	check_int(catalog_dequeue(catalog, 10, 7, 1), 0); /* no */
	check_int(catalog_dequeue(catalog, 10, 1, 1), 0);
	check_int(catalog_remove_name(catalog, 1, "f11"), 0); /* takes its rows along */
	check_int(catalog_barrier(catalog), 0);
	check_int(catalog_queue_why(catalog, 11, 2, &none), 0);
	check_int(catalog_queue_totals(catalog, 0, &totals), 0);
	check_int(totals.files, 1);
	check_int(totals.bytes, 100);
	check_int(totals.poison, 0);
	check_int(catalog_queue_totals(catalog, 9, &totals), 0);
	check_int(totals.files, 0);
}

TEST(every_queue_row_is_told_across_pages)
{
	cleanup_scratch struct scratch *dir = scratch_new();
	cleanup_catalog struct catalog *catalog = open_catalog(dir);
	struct queue_row row;
	int count = 0;

	for (uint64_t id = 10; id < 310; id++) {
		(void)add_file(catalog, id);
		row = queue_row(id, 1);
		check_int(catalog_enqueue(catalog, &row, 0), 0);
		row = queue_row(id, 2);
		check_int(catalog_enqueue(catalog, &row, 0), 0);
	}
	check_int(catalog_barrier(catalog), 0);
	check_int(catalog_each_queued(catalog, count_row, &count), 0);
	check_int(count, 600);
}

TEST(a_file_is_stored_when_no_tier_waits_for_it)
{
	cleanup_scratch struct scratch *dir = scratch_new();
	cleanup_catalog struct catalog *catalog = open_catalog(dir);
	struct queue_row row = queue_row(10, 1), rows[4];
	struct copy_row copy;

	copy = copy_of(add_file(catalog, 10), 1, 10);
	check_int(catalog_enqueue(catalog, &row, 0), 0);
	row.tier = 2;
	check_int(catalog_enqueue(catalog, &row, 0), 0);
	check_int(catalog_set_state(catalog, 10, 1, FILE_UPLOADING, STEP_WAIT), 0);
	check_int(catalog_set_stored(catalog, 10, 1, &copy, catalog_told(catalog), 0), 0);
	check_int(state_of(catalog, 10), FILE_QUEUED);
	check_int(catalog_queue_next(catalog, 1, UINT_MAX, 9999, rows, 4), 0);
	copy.tier = 2;
	check_int(catalog_set_stored(catalog, 10, 1, &copy, catalog_told(catalog), 0), 0);
	check_int(state_of(catalog, 10), FILE_STORED);
	check_int(catalog_queue_next(catalog, 2, UINT_MAX, 9999, rows, 4), 0);
}

/* Its object is in the tier: to forget that would let somebody write over it. */
TEST(a_copy_is_recorded_when_the_file_moved_on)
{
	cleanup_scratch struct scratch *dir = scratch_new();
	cleanup_catalog struct catalog *catalog = open_catalog(dir);
	struct queue_row row = queue_row(10, 1);
	struct copy_row copy;
	uint64_t content;

	copy = copy_of(add_file(catalog, 10), 1, 10);
	check_int(catalog_enqueue(catalog, &row, 0), 0);
	check_int(catalog_begin_generation(catalog, 10, 2), 0);
	check_int(catalog_set_stored(catalog, 10, 1, &copy, catalog_told(catalog), 0), -ESTALE);
	check_int(state_of(catalog, 10), FILE_RECEIVING);
	check_int(catalog_find_key(catalog, 1, "k", &content), 1);
	check_int(content, copy.content);
}

TEST(a_damaged_file_never_becomes_stored_by_its_upload)
{
	cleanup_scratch struct scratch *dir = scratch_new();
	cleanup_catalog struct catalog *catalog = open_catalog(dir);
	struct queue_row row = queue_row(10, 1);
	struct queue_totals totals;
	struct copy_row copy;

	copy = copy_of(add_file(catalog, 10), 1, 10);
	check_int(catalog_enqueue(catalog, &row, 0), 0);
	check_int(catalog_set_damaged(catalog, 10, 1, -EBADMSG, 0), 0);
	check_int(catalog_barrier(catalog), 0);
	check_int(catalog_queue_totals(catalog, 1, &totals), 0);
	check_int(totals.files, 0); /* never sent */
	check_int(catalog_set_stored(catalog, 10, 1, &copy, catalog_told(catalog), 0), -ESTALE);
	check_int(state_of(catalog, 10), FILE_DAMAGED);
}

TEST(a_new_generation_empties_the_queue_of_the_old)
{
	cleanup_scratch struct scratch *dir = scratch_new();
	cleanup_catalog struct catalog *catalog = open_catalog(dir);
	struct queue_row row = queue_row(10, 1);
	struct queue_totals totals;
	struct node_row node;

	(void)add_file(catalog, 10);
	(void)add_file(catalog, 11);
	check_int(catalog_enqueue(catalog, &row, 0), 0);
	row.id = 11;
	check_int(catalog_enqueue(catalog, &row, 0), 0);
	check_int(catalog_begin_generation(catalog, 10, 2), 0);
	node = file_row(11, 100);
	node.generation = 2;
	check_int(catalog_put_node(catalog, &node), 0);
	check_int(catalog_barrier(catalog), 0);
	check_int(catalog_queue_totals(catalog, 1, &totals), 0);
	check_int(totals.files, 0);
}
