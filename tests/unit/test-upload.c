/* SPDX-License-Identifier: Apache-2.0 */
#include <sys/statvfs.h>

#include <limits.h>

#include "image.h"
#include "transfer_help.h"

#define MB (1u << 20)

static struct copy_row copy_of(struct bench *bench, uint64_t id, uint32_t tier)
{
	struct copy_row *rows = NULL, found = { 0 };
	size_t count = 0;

	check_int(catalog_get_copies(bench->catalog, node_of(bench, id).content, &rows, &count), 0);
	for (size_t i = 0; i < count; i++) {
		if (rows[i].tier == tier && !found.key)
			found = rows[i];
		else
			copy_row_fini(&rows[i]);
	}
	free(rows);
	return found;
}
#define cleanup_copy cleanup_with(copy_row_fini)

TEST(a_verified_file_is_stored_under_its_own_name)
{
	cleanup_bench struct bench *bench = bench_new(1);
	uint64_t id = add_file(bench, "clip.mov", 9 * MB + 5, 1);
	cleanup_copy struct copy_row copy = { 0 };

	queue_file(bench, id, "clip.mov");
	check_int(state_of(bench, id), FILE_QUEUED);
	(void)run_lane(bench->lane);
	check_int(state_of(bench, id), FILE_STORED);
	check(is_file(one(bench, "clip.mov"), 9 * MB + 5, 1));
	copy = copy_of(bench, id, bench->lane->tier.id);
	check_str(copy.key, "clip.mov");
	check(!copy.bad && copy.confirmed_ns > 0);
	check_int(bench->stored, id);
	check_int(events_of(bench, "stored"), 1);
}

TEST(an_empty_file_is_stored_too)
{
	cleanup_bench struct bench *bench = bench_new(1);
	uint64_t id = add_file(bench, "empty.xml", 0, 1);

	queue_file(bench, id, "empty.xml");
	(void)run_lane(bench->lane);
	check_int(state_of(bench, id), FILE_STORED);
	check(is_file(one(bench, "empty.xml"), 0, 1));
}

TEST(a_flipped_bit_never_leaves)
{
	cleanup_bench struct bench *bench = bench_new(1);
	uint64_t id = add_file(bench, "clip.mov", 9 * MB, 1);

	queue_file(bench, id, "clip.mov");
	flip_byte(tree_file(bench, "clip.mov"), 5 * MB);
	(void)run_lane(bench->lane);
	check_int(state_of(bench, id), FILE_DAMAGED);
	check_int(node_of(bench, id).error, -EBADMSG);
	check(access(one(bench, "clip.mov"), F_OK) < 0);
	check_int(bench->damaged, id);
	check_int(bench->damaged_block, 1);
	check_int(bench->stored, 0);
	check_int(events_of(bench, "damaged"), 1);
	check_int(events_of(bench, "stored"), 0);
}

TEST(a_file_cut_short_is_damaged_and_never_leaves)
{
	cleanup_bench struct bench *bench = bench_new(1);
	uint64_t id = add_file(bench, "clip.mov", 5 * MB, 1);

	queue_file(bench, id, "clip.mov");
	check_int(truncate(tree_file(bench, "clip.mov"), 5 * MB - 1), 0);
	(void)run_lane(bench->lane);
	check_int(state_of(bench, id), FILE_DAMAGED);
	check(access(one(bench, "clip.mov"), F_OK) < 0);
}

TEST(a_file_rewritten_meanwhile_is_not_called_damaged)
{
	cleanup_bench struct bench *bench = bench_new(1);
	uint64_t id = add_file(bench, "clip.mov", 5 * MB, 1);

	queue_file(bench, id, "clip.mov");
	check_int(catalog_begin_generation(bench->catalog, id, 2), 0);
	fill(tree_file(bench, "clip.mov"), 5 * MB, 2);
	(void)run_lane(bench->lane);
	check_int(state_of(bench, id), FILE_RECEIVING);
	check_int(events_of(bench, "damaged"), 0);
	check(access(one(bench, "clip.mov"), F_OK) < 0);

	set_verified(bench, id, 2, 5 * MB, 2);
	queue_file(bench, id, "clip.mov");
	(void)run_lane(bench->lane);
	check_int(state_of(bench, id), FILE_STORED);
	check(is_file(one(bench, "clip.mov"), 5 * MB, 2));
}

TEST(a_file_that_is_just_being_cut_is_not_called_damaged)
{
	cleanup_bench struct bench *bench = bench_new(1);
	uint64_t id = add_file(bench, "clip.mov", 5 * MB, 1);

	queue_file(bench, id, "clip.mov");
	check_int(truncate(tree_file(bench, "clip.mov"), 0), 0);
	bench->rewritten = id;
	(void)run_lane(bench->lane);
	check_int(state_of(bench, id), FILE_RECEIVING);
	check_int(events_of(bench, "damaged"), 0);
}

TEST(a_renamed_file_is_found_by_its_number)
{
	cleanup_bench struct bench *bench = bench_new(1);
	uint64_t id = add_file(bench, "old.mov", 100, 1);

	queue_file(bench, id, "old.mov");
	check_int(rename(tree_file(bench, "old.mov"), tree_file(bench, "new.mov")), 0);
	fill(tree_file(bench, "old.mov"), 100, 9); /* another inode under the old name */
	(void)run_lane(bench->lane);
	check(state_of(bench, id) != FILE_STORED);
	check(access(one(bench, "old.mov"), F_OK) < 0);
	check_int(events_of(bench, "damaged"), 0);

	check_int(catalog_move_name(bench->catalog, CATALOG_ROOT, "old.mov", CATALOG_ROOT,
				    "new.mov", 0),
		  0);
	queue_file(bench, id, "new.mov");
	(void)run_lane(bench->lane);
	check_int(state_of(bench, id), FILE_STORED);
	check(is_file(one(bench, "new.mov"), 100, 1));
}

TEST(what_the_tier_has_under_that_name_is_never_overwritten)
{
	cleanup_bench struct bench *bench = bench_new(1);
	uint64_t id = add_file(bench, "clip.mov", 5 * MB, 1);
	cleanup_copy struct copy_row copy = { 0 };
	char hex[DIGEST_HEX_SIZE], name[64];

	fill(one(bench, "clip.mov"), 5 * MB, 7);
	queue_file(bench, id, "clip.mov");
	(void)run_lane(bench->lane);
	check_int(state_of(bench, id), FILE_STORED);
	check(is_file(one(bench, "clip.mov"), 5 * MB, 7));
	copy = copy_of(bench, id, bench->lane->tier.id);
	digest_hex(&copy.digest, hex);
	(void)snprintf(name, sizeof(name), "clip~%.8s.mov", hex);
	check_str(copy.key, name);
	check(is_file(one(bench, name), 5 * MB, 1));
}

TEST(a_folder_with_that_name_is_no_obstacle)
{
	cleanup_bench struct bench *bench = bench_new(1);
	uint64_t id = add_file(bench, "clip.mov", 100, 1);
	cleanup_copy struct copy_row copy = { 0 };

	check_int(mkdir(one(bench, "clip.mov"), 0777), 0);
	queue_file(bench, id, "clip.mov");
	(void)run_lane(bench->lane);
	check_int(state_of(bench, id), FILE_STORED);
	copy = copy_of(bench, id, bench->lane->tier.id);
	check(is_file(one(bench, copy.key), 100, 1));
}

TEST(what_was_sent_before_a_crash_is_not_sent_again)
{
	cleanup_bench struct bench *bench = bench_new(1);
	uint64_t id = add_file(bench, "clip.mov", 5 * MB, 1);

	queue_file(bench, id, "clip.mov");
	check_int(catalog_set_state(bench->catalog, id, 1, FILE_UPLOADING, STEP_WAIT), 0);
	fill(one(bench, "clip.mov"), 5 * MB, 1); /* put, and then the daemon died */
	bench_restart(bench);
	(void)run_lane(bench->lane);
	check_int(state_of(bench, id), FILE_STORED);
	check(access(one(bench, "clip.mov"), F_OK) == 0);
	{
		cleanup_copy struct copy_row copy = copy_of(bench, id, bench->lane->tier.id);

		check_str(copy.key, "clip.mov");
	}
}

TEST(equal_bytes_are_sent_once)
{
	cleanup_bench struct bench *bench = bench_new(1);
	uint64_t first = add_file(bench, "a.mov", 5 * MB, 1);
	uint64_t second = add_file(bench, "b.mov", 5 * MB, 1);

	queue_file(bench, first, "a.mov");
	queue_file(bench, second, "b.mov");
	(void)run_lane(bench->lane);
	check_int(state_of(bench, first), FILE_STORED);
	check_int(state_of(bench, second), FILE_STORED);
	check_int((access(one(bench, "a.mov"), F_OK) == 0) +
			  (access(one(bench, "b.mov"), F_OK) == 0),
		  1);
	check_int(events_of(bench, "stored"), 2);
}

TEST(a_tier_that_went_away_costs_no_file_an_attempt)
{
	cleanup_bench struct bench *bench = bench_new(1);
	struct transfer_status status;
	struct queue_row row;
	uint64_t id;

	(void)run_lane(bench->lane); /* it becomes ours */
	id = add_file(bench, "clip.mov", 100, 1);
	check_int(rename(scratch_file(bench->dir, "one"), scratch_file(bench->dir, "gone")), 0);
	check_int(mkdir(scratch_file(bench->dir, "one"), 0777), 0); /* an empty mount point */
	queue_file(bench, id, "clip.mov");
	for (unsigned i = 0; i < 2 * POISON_ATTEMPTS; i++) {
		check(run_lane(bench->lane) > realtime_ns());
		end_pause(bench->lane);
	}
	check_int(state_of(bench, id), FILE_QUEUED);
	check_int(catalog_queue_next(bench->catalog, bench->lane->tier.id, UINT_MAX, INT64_MAX,
				     &row, 1),
		  1);
	check_int(row.attempts, 0);
	check(access(one(bench, "clip.mov"), F_OK) < 0);
	transfer_get_status(bench->transfer, &status);
	check(status.tier_down);
	check_int(status.tier_error, -EHOSTDOWN);

	check_int(rmdir(scratch_file(bench->dir, "one")), 0);
	check_int(rename(scratch_file(bench->dir, "gone"), scratch_file(bench->dir, "one")), 0);
	end_pause(bench->lane);
	(void)run_lane(bench->lane);
	check_int(state_of(bench, id), FILE_STORED);
	transfer_get_status(bench->transfer, &status);
	check(!status.tier_down);
}

TEST(a_wake_asks_a_tier_that_is_away_at_once)
{
	cleanup_bench struct bench *bench = bench_new(1);
	int64_t until_ns;

	check_int(rename(scratch_file(bench->dir, "one"), scratch_file(bench->dir, "gone")), 0);
	check(run_lane(bench->lane) > realtime_ns());
	check_int(rename(scratch_file(bench->dir, "gone"), scratch_file(bench->dir, "one")), 0);
	(void)lane_step(bench->lane, &until_ns);
	check_int(bench->lane->condition, -EHOSTDOWN);
	transfer_wake(bench->transfer);
	(void)run_lane(bench->lane);
	check_int(bench->lane->condition, 0);
}

TEST(pauses_grow_up_to_retry_max)
{
	cleanup_bench struct bench *bench = bench_new(1);
	int64_t longest = 0;

	check_int(rmdir(scratch_file(bench->dir, "one")), 0);
	for (unsigned i = 0; i < 12; i++) {
		int64_t pause = run_lane(bench->lane) - realtime_ns();

		longest = pause > longest ? pause : longest;
		check(pause <= bench->values[SETTING_RETRY_MAX] * 5 / 4);
		end_pause(bench->lane);
	}
	check(longest > bench->values[SETTING_RETRY_MAX] / 2);
}

TEST(a_file_that_is_not_where_the_catalog_has_it_holds_up_nobody)
{
	cleanup_bench struct bench *bench = bench_new(1);
	uint64_t lost = add_file(bench, "lost.txt", 100, 1), good;
	struct queue_totals totals;

	check_int(rename(tree_file(bench, "lost.txt"), tree_file(bench, "elsewhere")), 0);
	queue_file(bench, lost, "lost.txt");
	good = add_file(bench, "good.mov", 100, 2);
	queue_file(bench, good, "good.mov");
	check(run_lane(bench->lane) > realtime_ns());
	check_int(state_of(bench, good), FILE_STORED);
	check_int(state_of(bench, lost), FILE_QUEUED);
	check_int(catalog_queue_totals(bench->catalog, bench->lane->tier.id, &totals), 0);
	check_int(totals.files, 1);
	check_int(totals.poison, 0);
}

TEST(classes_go_in_their_order)
{
	cleanup_bench struct bench *bench = bench_new(1);
	static const char *const names[] = { "clip.mov", "proxy_proxy.mp4", "sound.wav",
					     "notes.txt" };
	uint64_t ids[4], order[4];

	for (unsigned i = 0; i < 4; i++) {
		ids[i] = add_file(bench, names[i], 100 + i, i);
		queue_file(bench, ids[i], names[i]);
	}
	for (unsigned i = 0; i < 4;) {
		int64_t until_ns;

		bench->stored = 0;
		check_int(lane_step(bench->lane, &until_ns), LANE_AGAIN);
		if (bench->stored)
			order[i++] = bench->stored;
	}
	for (unsigned i = 0; i < 4; i++)
		check_int(order[i], ids[3 - i]);
}

TEST(a_file_waits_until_it_has_settled_a_small_one_a_fifth_of_that)
{
	static const struct {
		uint64_t size;
		int64_t settles_ns;
	} files[] = {
		{ BLOCK_BYTES, 3000 * NS_PER_SEC },
		{ BLOCK_BYTES - 1, 600 * NS_PER_SEC },
	};

	for (size_t i = 0; i < ARRAY_SIZE(files); i++) {
		cleanup_bench struct bench *bench = bench_new(1);
		uint64_t id = add_file(bench, "clip.mov", files[i].size, 1);
		int64_t pause_ns;

		bench->values[SETTING_SETTLE] = 3000 * NS_PER_SEC;
		queue_file(bench, id, "clip.mov");
		pause_ns = run_lane(bench->lane) - transfer_now_ns(bench->transfer);
		check_int(state_of(bench, id), FILE_QUEUED);
		check(pause_ns > files[i].settles_ns - 100 * NS_PER_SEC);
		check(pause_ns <= files[i].settles_ns);
	}
}

TEST(ignored_files_stay_verified_and_are_queued_when_no_rule_keeps_them)
{
	cleanup_bench struct bench *bench = bench_new(1);
	uint64_t id = add_file(bench, "clip.mov.part", 100, 1);

	queue_file(bench, id, "clip.mov.part");
	(void)run_lane(bench->lane);
	check_int(state_of(bench, id), FILE_VERIFIED);
	check_int(rename(tree_file(bench, "clip.mov.part"), tree_file(bench, "clip.mov")), 0);
	check_int(catalog_move_name(bench->catalog, CATALOG_ROOT, "clip.mov.part", CATALOG_ROOT,
				    "clip.mov", 0),
		  0);
	transfer_wake(bench->transfer);
	(void)run_lane(bench->lane);
	check_int(state_of(bench, id), FILE_STORED);
}

TEST(a_rule_that_comes_later_holds_back_what_is_queued)
{
	cleanup_bench struct bench *bench = bench_new(1);
	uint64_t id = add_file(bench, "clip.mov", 100, 1);
	struct queue_totals totals;

	queue_file(bench, id, "clip.mov");
	bench->ignore = "*.mov";
	transfer_wake(bench->transfer);
	(void)run_lane(bench->lane);
	check_int(state_of(bench, id), FILE_VERIFIED);
	check_int(catalog_queue_totals(bench->catalog, 0, &totals), 0);
	check_int(totals.files, 0);
	check(access(one(bench, "clip.mov"), F_OK) < 0);
}

TEST(what_is_verified_and_not_queued_is_queued_at_start)
{
	cleanup_bench struct bench *bench = bench_new(1);
	uint64_t id = add_file(bench, "clip.mov", 100, 1);

	bench_restart(bench);
	(void)run_lane(bench->lane);
	check_int(state_of(bench, id), FILE_STORED);
}

TEST(paused_sends_nothing_and_resumed_sends_at_once)
{
	cleanup_bench struct bench *bench = bench_new(1);
	uint64_t id = add_file(bench, "clip.mov", 100, 1);

	bench->values[SETTING_PAUSE] = 1;
	transfer_wake(bench->transfer);
	queue_file(bench, id, "clip.mov");
	(void)run_lane(bench->lane);
	check_int(state_of(bench, id), FILE_QUEUED);
	bench->values[SETTING_PAUSE] = 0;
	transfer_wake(bench->transfer);
	(void)run_lane(bench->lane);
	check_int(state_of(bench, id), FILE_STORED);
}

TEST(two_tiers_get_a_copy_each_and_stored_means_both)
{
	cleanup_bench struct bench *bench = bench_new(2);
	uint64_t id = add_file(bench, "clip.mov", 5 * MB, 1);

	queue_file(bench, id, "clip.mov");
	(void)run_lane(bench->transfer->lanes[1]);
	check(state_of(bench, id) != FILE_STORED);
	(void)run_lane(bench->transfer->lanes[0]);
	check_int(state_of(bench, id), FILE_STORED);
	check(is_file(scratch_file(bench->dir, "one/clip.mov"), 5 * MB, 1));
	check(is_file(scratch_file(bench->dir, "two/clip.mov"), 5 * MB, 1));
}

TEST(a_new_tier_gets_what_the_others_have)
{
	cleanup_bench struct bench *bench = bench_new(1);
	uint64_t id = add_file(bench, "clip.mov", 100, 1);
	char text[8192];
	char *message = NULL;

	queue_file(bench, id, "clip.mov");
	(void)run_lane(bench->lane);
	check_int(state_of(bench, id), FILE_STORED);
	(void)snprintf(text, sizeof(text),
		       "[tier one]\nurl = file://%s\n[tier two]\nurl = file://%s\n",
		       scratch_file(bench->dir, "one"), scratch_file(bench->dir, "two"));
	settings_free(bench->settings);
	check_int(settings_parse(text, strlen(text), &bench->settings, &message), 0);
	bench_restart(bench);
	(void)run_lane(bench->lane);
	(void)run_lane(bench->transfer->lanes[1]);
	check_int(state_of(bench, id), FILE_STORED);
	check(is_file(scratch_file(bench->dir, "two/clip.mov"), 100, 1));
}

TEST(a_tier_taken_out_of_the_settings_keeps_no_file_waiting)
{
	cleanup_bench struct bench *bench = bench_new(2);
	uint64_t id = add_file(bench, "clip.mov", 100, 1);
	struct queue_totals totals;
	char text[8192];
	char *message = NULL;

	queue_file(bench, id, "clip.mov");
	(void)run_lane(bench->lane); /* stored in one, waiting for two */
	check(state_of(bench, id) != FILE_STORED);
	(void)snprintf(text, sizeof(text), "[tier one]\nurl = file://%s\n",
		       scratch_file(bench->dir, "one"));
	settings_free(bench->settings);
	check_int(settings_parse(text, strlen(text), &bench->settings, &message), 0);
	bench_restart(bench);
	(void)run_lane(bench->lane);
	check_int(state_of(bench, id), FILE_STORED);
	check_int(catalog_queue_totals(bench->catalog, 0, &totals), 0);
	check_int(totals.files, 0);
}

/* The tier is a disk of 16 MiB from now on; NULL: none can be had here. */
static struct image *move_to_small_disk(struct bench *bench)
{
	struct image *image = image_new(bench->dir, "ext4", 16);
	char text[4200];
	char *message = NULL;

	if (!image)
		return NULL;
	(void)snprintf(text, sizeof(text), "[tier one]\nurl = file://%s\n", image->mount);
	settings_free(bench->settings);
	check_int(settings_parse(text, strlen(text), &bench->settings, &message), 0);
	bench_restart(bench);
	return image;
}

TEST(a_full_tier_waits_and_takes_what_fits)
{
	cleanup_bench struct bench *bench = bench_new(1);
	cleanup_with(image_free_slot) struct image *image = NULL;
	uint64_t large, small;

	image = move_to_small_disk(bench);
	if (!image)
		return;

	large = add_file(bench, "large.wav", 40 * MB, 1);
	small = add_file(bench, "small.mov", MB, 2);
	queue_file(bench, large, "large.wav");
	queue_file(bench, small, "small.mov");
	check(run_lane(bench->lane) > realtime_ns());
	check_int(bench->lane->condition, -ENOSPC);
	check_int(state_of(bench, small), FILE_STORED);
	check_int(state_of(bench, large), FILE_QUEUED);
	transfer_free(bench->transfer);
	bench->transfer = NULL;
}

TEST(a_file_waits_when_what_others_write_leaves_no_room)
{
	cleanup_bench struct bench *bench = bench_new(1);
	cleanup_with(image_free_slot) struct image *image = NULL;
	struct sender *other;
	struct tier *tier;
	uint64_t id, free_bytes, total;

	image = move_to_small_disk(bench);
	if (!image)
		return;
	tier = bench->lane->tier.tier;
	check_int(tier->backend->space(tier, &free_bytes, &total), 0);
	other = &bench->lane->senders[0];
	other->row = (struct queue_row){ .id = UINT64_MAX, .size = free_bytes - 2 * MB };
	other->state = SENDER_BUSY;
	id = add_file(bench, "small.mov", 3 * MB, 1);
	queue_file(bench, id, "small.mov");
	(void)run_lane(bench->lane);
	check_int(state_of(bench, id), FILE_QUEUED);
	check_int(bench->lane->condition, 0);

	other->path_done = other->row.size - MB; /* and it is the place that counts the rest */
	(void)run_lane(bench->lane);
	check_int(state_of(bench, id), FILE_STORED);
	other->state = SENDER_IDLE;
	transfer_free(bench->transfer);
	bench->transfer = NULL;
}
