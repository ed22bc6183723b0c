/* SPDX-License-Identifier: Apache-2.0 */
#include "transfer_help.h"

#define MB (1u << 20)
#define SIZE (9u * MB + 5)

/* "clip.mov", stored in every tier. */
static uint64_t stored_file(struct bench *bench)
{
	uint64_t id = add_file(bench, "clip.mov", SIZE, 1);

	for (size_t i = 0; i < bench->transfer->lane_count; i++)
		(void)run_lane(bench->transfer->lanes[i]);
	for (size_t i = 0; i < bench->transfer->lane_count; i++)
		(void)run_lane(bench->transfer->lanes[i]);
	check_int(state_of(bench, id), FILE_STORED);
	return id;
}

static int fetch(struct bench *bench, const struct content_row *content, uint64_t offset,
		 size_t length)
{
	cleanup_free uint8_t *bytes = calloc(1, length + 1);
	int r = transfer_fetch(bench->transfer, content, offset, bytes, length, FETCH_URGENT, NULL);

	for (size_t i = 0; r == 0 && i < length; i++)
		check_int(bytes[i], byte_at(offset + i, 1));
	return r;
}

static int good_copies(struct bench *bench, const struct content_row *content)
{
	struct transfer_count count;

	check_int(transfer_recheck(bench->transfer, content, &count), 0);
	check_int(count.unsettled, 0);
	return count.good;
}

static const char *in_tier(const struct bench *bench, const char *tier)
{
	char path[64];

	(void)snprintf(path, sizeof(path), "%s/clip.mov", tier);
	return scratch_file(bench->dir, path);
}

static bool is_bad(struct bench *bench, const struct content_row *content, uint32_t tier)
{
	struct copy_row *rows = NULL;
	size_t count = 0;
	bool bad = false;

	check_int(catalog_barrier(bench->catalog), 0);
	check_int(catalog_get_copies(bench->catalog, content->id, &rows, &count), 0);
	for (size_t i = 0; i < count; i++) {
		bad |= rows[i].tier == tier && rows[i].bad;
		copy_row_fini(&rows[i]);
	}
	free(rows);
	return bad;
}

TEST(blocks_come_back_as_they_were)
{
	cleanup_bench struct bench *bench = bench_new(1);
	cleanup_content struct content_row content = content_of(bench, stored_file(bench));

	check_int(fetch(bench, &content, 0, SIZE), 0);
	check_int(fetch(bench, &content, 0, BLOCK_BYTES), 0);
	check_int(fetch(bench, &content, 2 * BLOCK_BYTES, SIZE - 2 * BLOCK_BYTES), 0);
	check_int(fetch(bench, &content, SIZE, 0), -EINVAL); /* not a block's start */
	check_int(fetch(bench, &content, 1, BLOCK_BYTES), -EINVAL);
	check_int(fetch(bench, &content, 0, 100), -EINVAL);
	check_int(fetch(bench, &content, BLOCK_BYTES, SIZE), -EINVAL);
}

TEST(a_flipped_bit_in_the_only_copy_is_never_served)
{
	cleanup_bench struct bench *bench = bench_new(1);
	cleanup_content struct content_row content = content_of(bench, stored_file(bench));

	flip_byte(in_tier(bench, "one"), 5 * MB);
	check_int(fetch(bench, &content, 0, BLOCK_BYTES), 0);
	check_int(fetch(bench, &content, BLOCK_BYTES, BLOCK_BYTES), -EBADMSG);
	check(is_bad(bench, &content, bench->lane->tier.id));
	check_int(events_of(bench, "damaged copy"), 1);
	/* Its other blocks are better than nothing. */
	check_int(fetch(bench, &content, 0, BLOCK_BYTES), 0);
	check_int(fetch(bench, &content, BLOCK_BYTES, BLOCK_BYTES), -EBADMSG);
	check_int(events_of(bench, "damaged copy"), 1);
}

TEST(another_copy_stands_in_for_a_bad_one)
{
	cleanup_bench struct bench *bench = bench_new(2);
	cleanup_content struct content_row content = content_of(bench, stored_file(bench));

	flip_byte(in_tier(bench, "one"), 5 * MB);
	flip_byte(in_tier(bench, "two"), 100);
	check_int(fetch(bench, &content, 0, SIZE), 0);
	check(is_bad(bench, &content, bench->lane->tier.id));
}

TEST(a_copy_that_is_gone_is_noted_and_the_other_is_used)
{
	cleanup_bench struct bench *bench = bench_new(2);
	cleanup_content struct content_row content = content_of(bench, stored_file(bench));

	check_int(unlink(in_tier(bench, "one")), 0);
	check_int(fetch(bench, &content, 0, SIZE), 0);
	check(is_bad(bench, &content, bench->lane->tier.id));
	check_int(unlink(in_tier(bench, "two")), 0);
	check_int(fetch(bench, &content, 0, SIZE), -ENOENT);
}

TEST(a_tier_that_is_away_makes_no_copy_bad)
{
	cleanup_bench struct bench *bench = bench_new(1);
	cleanup_content struct content_row content = content_of(bench, stored_file(bench));

	check_int(rename(scratch_file(bench->dir, "one"), scratch_file(bench->dir, "gone")), 0);
	check_int(mkdir(scratch_file(bench->dir, "one"), 0777), 0);
	check_int(fetch(bench, &content, 0, SIZE), -EHOSTDOWN);
	check(!is_bad(bench, &content, bench->lane->tier.id));
	check_int(bench->lane->condition, -EHOSTDOWN);
	check_int(good_copies(bench, &content), 0);
	check(!is_bad(bench, &content, bench->lane->tier.id));
}

TEST(what_was_never_stored_is_told_so)
{
	cleanup_bench struct bench *bench = bench_new(1);
	uint64_t id = add_file(bench, "clip.mov", SIZE, 1);
	cleanup_content struct content_row content = content_of(bench, id);

	check_int(fetch(bench, &content, 0, SIZE), -ENOENT);
	check_int(good_copies(bench, &content), 0);
}

TEST(a_recheck_reads_every_copy)
{
	cleanup_bench struct bench *bench = bench_new(2);
	cleanup_content struct content_row content = content_of(bench, stored_file(bench));

	check_int(good_copies(bench, &content), 2);
	flip_byte(in_tier(bench, "two"), SIZE - 1);
	check_int(good_copies(bench, &content), 1);
	check(is_bad(bench, &content, bench->transfer->lanes[1]->tier.id));
	flip_byte(in_tier(bench, "two"), SIZE - 1);
	check_int(good_copies(bench, &content), 2);
	check(!is_bad(bench, &content, bench->transfer->lanes[1]->tier.id));
	check_int(truncate(in_tier(bench, "one"), SIZE - 1), 0);
	check_int(good_copies(bench, &content), 1);
}

TEST(what_leaves_counts_no_more_and_is_still_read)
{
	cleanup_bench struct bench *bench = bench_new(2);
	cleanup_content struct content_row content = content_of(bench, stored_file(bench));

	transfer_tier_leaves(bench->transfer, "two", true);
	check_int(good_copies(bench, &content), 1);
	check_int(unlink(in_tier(bench, "one")), 0);
	check_int(good_copies(bench, &content), 0);
	check_int(fetch(bench, &content, 0, SIZE), 0);
	transfer_tier_leaves(bench->transfer, "two", false);
	check_int(good_copies(bench, &content), 1);
}

TEST(what_a_tier_alone_had_goes_elsewhere_also_after_a_kill)
{
	cleanup_bench struct bench *bench = bench_new(2);
	uint64_t id = stored_file(bench);
	cleanup_content struct content_row content = content_of(bench, id);
	char *message = NULL;

	check_int(unlink(in_tier(bench, "one")), 0);
	check_int(good_copies(bench, &content), 1);
	check_int(transfer_drop_tier(bench->transfer, "two"), 0);
	check_int(settings_set_text(bench->settings, "tier.two.url", "", &message), 0);
	bench_restart(bench); /* before the first lane could do anything about it */
	check_int(state_of(bench, id), FILE_STORED);
	(void)run_lane(bench->lane);
	check_int(good_copies(bench, &content), 1);
	check_int(state_of(bench, id), FILE_STORED);
}

TEST(a_reader_does_not_wait_behind_uploads_and_they_pay_for_it)
{
	cleanup_bench struct bench *bench = bench_new(1);
	cleanup_content struct content_row content = content_of(bench, stored_file(bench));

	bench->values[SETTING_LIMIT] = 1; /* a byte a second */
	bench->uplink = 1;
	transfer_wake(bench->transfer);
	check_int(transfer_pace(bench->transfer, MB), 0); /* deep in debt now */
	check_int(fetch(bench, &content, 0, BLOCK_BYTES), 0);
	check_int(bench->transfer->debt, BLOCK_BYTES);
	bench->values[SETTING_LIMIT] = 0;
	transfer_wake(bench->transfer);
	check_int(transfer_pace(bench->transfer, MB), 0);
	check_int(bench->transfer->debt, 0);
	bench->values[SETTING_LIMIT] = 1;
	bench->uplink = 0;
	transfer_wake(bench->transfer);
	check_int(transfer_pace(bench->transfer, MB), 0);
	check_int(transfer_pace(bench->transfer, MB), 0); /* it is not meant */
	check_int(fetch(bench, &content, 0, BLOCK_BYTES), 0);
	check_int(bench->transfer->debt, 0);
}

TEST(stopping_ends_every_wait)
{
	cleanup_bench struct bench *bench = bench_new(1);
	cleanup_content struct content_row content = content_of(bench, stored_file(bench));

	transfer_stop(bench->transfer);
	check_int(fetch(bench, &content, 0, BLOCK_BYTES), -ECANCELED);
	check_int(transfer_pace(bench->transfer, 1), -ECANCELED);
}
