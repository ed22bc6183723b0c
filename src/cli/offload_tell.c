/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "cli/offload.h"
#include "control/card_json.h"
#include "control/protocol.h"
#include "util/cleanup.h"
#include "util/clock.h"
#include "util/error.h"
#include "util/units.h"

#define SHOW_AFTER_NS (500 * NS_PER_MS)

/* What became of the files of a card, or of all. */
struct tally {
	uint64_t files[ITEM_FAILED + 1];
	uint64_t bytes;            /* of what is in the volume now, wherever */
	uint64_t unlisted;         /* folders and names that could not be looked at */
	uint64_t odd;              /* neither files, folders nor links */
	uint64_t equal, different; /* to the card's manifests */
	uint64_t manifest_faults;
	uint64_t cached;
	uint64_t gone;     /* cards that vanished */
	uint64_t unclosed; /* all is there, but the folder could not be finished */
};

/* Words for programs, and for people. */
static const char *const words[] = {
	[ITEM_WAITS] = "left",      [ITEM_COPIED] = "left",         [ITEM_DONE] = "copied",
	[ITEM_THERE] = "there",     [ITEM_ELSEWHERE] = "elsewhere", [ITEM_OTHER] = "other",
	[ITEM_DIFFERS] = "differs", [ITEM_FAILED] = "failed",
};

static bool is_in_volume(enum item_state state)
{
	return state == ITEM_DONE || state == ITEM_THERE || state == ITEM_ELSEWHERE;
}

static void tell_json(struct offload *offload, const struct offload_card *card,
		      const struct item *item)
{
	bool read = is_in_volume(item->state) || item->state == ITEM_DIFFERS;
	char hex[DIGEST_HEX_SIZE];
	json_t *object;

	digest_hex(&item->digest, hex);
	object = json_pack("{s:o,s:o,s:s,s:I,s:o}", "card", json_path(card->source.top), "path",
			   json_path(item->entry->path), "result", words[item->state], "size",
			   (json_int_t)item->entry->size, "digest",
			   read ? json_string(hex) : json_null());
	if (object && item->manifest)
		(void)json_object_set_new(
			object, "manifest",
			json_string(item->manifest == MANIFEST_EQUAL ? "equal" : "different"));
	if (object && item->manifest_why)
		(void)json_object_set_new(object, "manifest_why", json_path(item->manifest_why));
	if (object && item->as)
		(void)json_object_set_new(object, "as", json_path(item->as));
	if (object && item->state == ITEM_FAILED) {
		(void)json_object_set_new(object, "error", json_string(error_text(item->error)));
		(void)json_object_set_new(object, "errno", json_string(errno_name(item->error)));
		(void)json_object_set_new(object, "doing", json_string(item->doing));
	}
	(void)cli_print_json(offload->cli, object, 0);
}

void offload_tell_manifest(const struct offload_card *card, const char *path, const char *text)
{
	struct cli *cli = card->offload->cli;
	cleanup_free char *shown = printable(path), *words_shown = printable(text);

	if (cli->json)
		(void)cli_print_json(cli,
				     json_pack("{s:o,s:o,s:s,s:o}", "card",
					       json_path(card->source.top), "path", json_path(path),
					       "result", "manifest", "error", json_path(text)),
				     0);
	else
		cli_note(cli, "%s/%s: %s", card->source.top, shown ? shown : "?",
			 words_shown ? words_shown : "?");
}

static const char *other_text(const struct offload *offload)
{
	return offload->replace ? "its name is a folder's there, or a link's"
				: "other bytes have its name there, or somebody still writes to "
				  "it: left as it is (--replace puts the card's there)";
}

void offload_tell_item(struct offload *offload, const struct offload_card *card,
		       const struct item *item)
{
	cleanup_free char *path = printable(item->entry->path);
	cleanup_free char *top = printable(card->source.top);
	cleanup_free char *as = item->as ? printable(item->as) : NULL;

	if (offload->cli->json) {
		tell_json(offload, card, item);
		return;
	}
	if (!path || !top)
		return;
	if (item->manifest_why)
		cli_note(offload->cli, "%s/%s: the card's own manifest does not agree: %s", top,
			 path, item->manifest_why);
	if (item->cached)
		cli_note(offload->cli,
			 "%s/%s: read again from memory only: that proves nothing about the card",
			 top, path);
	if (item->state == ITEM_ELSEWHERE)
		cli_note(offload->cli, "%s/%s: already here as %s", top, path, as ? as : "?");
	else if (item->state == ITEM_OTHER)
		cli_note(offload->cli, "%s/%s: not copied: %s", top, path, other_text(offload));
	else if (item->state == ITEM_DIFFERS)
		cli_note(offload->cli,
			 "%s/%s: not copied: what was read back from the volume is not what the "
			 "card gave. Run this again; when it comes again, suspect the memory or "
			 "the disk",
			 top, path);
	else if (item->state == ITEM_FAILED)
		cli_note(offload->cli, "%s/%s: cannot %s: %s", top, path, item->doing,
			 error_text(item->error));
}

void offload_tell_progress(struct offload *offload)
{
	int64_t spent_ns = monotonic_ns() - offload->start_ns;
	char line[480];
	size_t used = 0;

	if (spent_ns < SHOW_AFTER_NS)
		return;
	line[0] = '\0';
	for (size_t i = 0; i < offload->count && used < sizeof(line); i++) {
		struct offload_card *card = &offload->cards[i];
		uint64_t seen = atomic_load(&card->seen_bytes);
		double rate = (double)seen * 1e9 / (double)(spent_ns + 1);
		cleanup_free char *name = printable(card->name);
		char now[32], all[32], speed[32], left[32] = "?";
		size_t done;
		bool ended;

		mutex_lock(&card->lock);
		done = card->done;
		ended = card->running == 0;
		mutex_unlock(&card->lock);
		if (seen > card->bytes)
			seen = card->bytes;
		if (rate >= 1)
			(void)format_duration((int64_t)((double)(card->bytes - seen) / rate * 1e9),
					      left, sizeof(left));
		if (ended)
			used += (size_t)snprintf(line + used, sizeof(line) - used,
						 "%s%s: read, verifying", used ? "; " : "",
						 name ? name : "?");
		else
			used += (size_t)snprintf(line + used, sizeof(line) - used,
						 "%s%s: %zu of %zu files, %s of %s, %s/s, %s left",
						 used ? "; " : "", name ? name : "?", done,
						 card->count, format_bytes(seen, now, sizeof(now)),
						 format_bytes(card->bytes, all, sizeof(all)),
						 format_bytes((uint64_t)rate, speed, sizeof(speed)),
						 left);
	}
	cli_progress(offload->cli, "%s", line);
}

/* The end ----------------------------------------------------------------------------------- */

static void tell_unlisted(struct offload *offload, const struct offload_card *card,
			  const struct source_entry *entry)
{
	cleanup_free char *path = printable(entry->path);
	const char *why = entry->error == -EXDEV ? "another file system is mounted there"
						 : error_text(entry->error);

	if (offload->cli->json)
		(void)cli_print_json(offload->cli,
				     json_pack("{s:o,s:o,s:s,s:s,s:s}", "card",
					       json_path(card->source.top), "path",
					       json_path(entry->path), "result", "failed", "error",
					       why, "errno", errno_name(entry->error)),
				     0);
	else
		cli_note(offload->cli, "%s/%s: %s: %s", card->source.top, path ? path : "?",
			 entry->litter ? "not copied, and no camera made it" : "cannot be listed",
			 why);
}

static void count(struct offload *offload, const struct offload_card *card, struct tally *tally)
{
	for (size_t i = 0; i < card->count; i++) {
		const struct item *item = &card->items[i];

		tally->files[item->state]++;
		if (is_in_volume(item->state))
			tally->bytes += item->entry->size;
		tally->equal += item->manifest == MANIFEST_EQUAL;
		tally->different += item->manifest == MANIFEST_DIFFERENT;
		tally->cached += item->cached;
	}
	tally->manifest_faults = card->manifest_faults;
	for (size_t i = 0; i < card->source.count; i++) {
		const struct source_entry *entry = &card->source.entries[i];

		if (entry->error) {
			tell_unlisted(offload, card, entry);
			tally->unlisted += !entry->litter;
		} else if (!S_ISREG(entry->mode) && !S_ISDIR(entry->mode) &&
			   !S_ISLNK(entry->mode)) {
			tally->odd++;
		}
	}
	tally->gone += card->gone;
}

static void add(struct tally *all, const struct tally *more)
{
	for (size_t i = 0; i <= ITEM_FAILED; i++)
		all->files[i] += more->files[i];
	all->bytes += more->bytes;
	all->equal += more->equal;
	all->different += more->different;
	all->manifest_faults += more->manifest_faults;
	all->cached += more->cached;
	all->unlisted += more->unlisted;
	all->odd += more->odd;
	all->gone += more->gone;
	all->unclosed += more->unclosed;
}

static uint64_t left(const struct tally *tally)
{
	return tally->files[ITEM_WAITS] + tally->files[ITEM_COPIED];
}

/* All of the card is in the volume; whether the card itself is good is another question. */
static bool is_whole(const struct tally *tally)
{
	return left(tally) + tally->files[ITEM_OTHER] + tally->files[ITEM_DIFFERS] +
		       tally->files[ITEM_FAILED] + tally->unlisted ==
	       0;
}

/* What is worst decides. */
static int code_of(const struct offload *offload, const struct tally *tally)
{
	if (tally->files[ITEM_DIFFERS] || tally->files[ITEM_OTHER] || tally->different ||
	    tally->manifest_faults)
		return MEDIAFS_EXIT_DAMAGED;
	if (atomic_load(&offload->volume_gone))
		return MEDIAFS_EXIT_OFFLINE;
	if (tally->files[ITEM_FAILED] || tally->unlisted || tally->gone || tally->unclosed ||
	    tally->cached)
		return MEDIAFS_EXIT_FAILED;
	return left(tally) ? MEDIAFS_EXIT_PENDING : MEDIAFS_EXIT_OK;
}

static int add_tally(json_t *object, const struct tally *tally)
{
	const struct {
		const char *name;
		uint64_t count;
	} more[] = {
		{ "left", left(tally) },
		{ "unlisted", tally->unlisted },
		{ "manifest_equal", tally->equal },
		{ "manifest_different", tally->different },
		{ "manifest_faults", tally->manifest_faults },
		{ "read_again_from_memory", tally->cached },
	};
	int r = 0;

	for (size_t i = ITEM_DONE; i <= ITEM_FAILED; i++)
		r |= json_object_set_new(object, words[i],
					 json_integer((json_int_t)tally->files[i]));
	for (size_t i = 0; i < ARRAY_SIZE(more); i++)
		r |= json_object_set_new(object, more[i].name,
					 json_integer((json_int_t)more[i].count));
	return r < 0 ? -ENOMEM : 0;
}

static void tell_card_json(struct offload *offload, const struct offload_card *card,
			   const struct tally *tally)
{
	const struct source_identity *it = &card->identity;
	json_t *known = card->card ? card_json(card->card, false) : json_null();
	json_t *object = json_pack(
		"{s:o,s:o,s:o,s:I,s:I,s:I,s:b,s:b,s:o,s:o,s:I,s:o}", "summary",
		json_path(card->source.top), "name", json_path(card->name), "to",
		json_path(card->to), "files", (json_int_t)card->count, "bytes",
		(json_int_t)card->bytes, "attributes_lost", (json_int_t)card->attributes_lost,
		"gone", card->gone, "whole", is_whole(tally) && !tally->unclosed, "label",
		it->is_whole && *it->label ? json_path(it->label) : json_null(), "uuid",
		it->is_whole && *it->uuid ? json_path(it->uuid) : json_null(), "device_bytes",
		(json_int_t)it->device_bytes, "known", known);

	if (object && add_tally(object, tally) < 0) {
		json_decref(object);
		object = NULL;
	}
	(void)cli_print_json(offload->cli, object, 0);
}

static void print_known(const struct card *card)
{
	(void)printf("  %s", card->families[0]->title);
	for (size_t i = 0; i < card->reel_count; i++) {
		cleanup_free char *reel = printable(card->reels[i]);

		(void)printf("%s%s", i ? ", " : ", reel ", reel ? reel : "?");
	}
	if (*card->camera)
		(void)printf(", camera %s", card->camera);
	(void)printf(", %zu clip%s\n", card->clip_count, card->clip_count == 1 ? "" : "s");
	for (size_t i = 0; i < card->warning_count; i++) {
		cleanup_free char *text = printable(card->warnings[i].text);

		(void)printf("  %swarning:%s %s\n", paint(PAINT_BAD), paint(PAINT_NONE),
			     text ? text : "?");
	}
	if (card->warnings_more)
		(void)printf("  %swarning:%s %" PRIu64 " more\n", paint(PAINT_BAD),
			     paint(PAINT_NONE), card->warnings_more);
}

static void print_tally(const struct tally *tally)
{
	static const char *const texts[] = {
		[ITEM_DONE] = "copied and verified",
		[ITEM_THERE] = "there already, and equal",
		[ITEM_ELSEWHERE] = "already here elsewhere",
		[ITEM_OTHER] = "not copied: other bytes have the name",
		[ITEM_DIFFERS] = "NOT EQUAL to the card when read back",
		[ITEM_FAILED] = "FAILED",
	};

	for (size_t i = ITEM_DONE; i <= ITEM_FAILED; i++) {
		if (tally->files[i])
			(void)printf("  %" PRIu64 " %s\n", tally->files[i], texts[i]);
	}
	if (left(tally))
		(void)printf("  %" PRIu64 " left: not copied, or not verified yet\n", left(tally));
	if (tally->equal || tally->different || tally->manifest_faults)
		(void)printf("  by the card's own manifests: %" PRIu64 " as recorded, %" PRIu64
			     " not, %" PRIu64 " files or manifests missing or unusable\n",
			     tally->equal, tally->different, tally->manifest_faults);
	if (tally->odd)
		(void)printf("  %" PRIu64 " neither files nor folders: nothing to copy\n",
			     tally->odd);
}

static void print_card(struct offload *offload, const struct offload_card *card,
		       const struct tally *tally)
{
	int64_t spent_ns = monotonic_ns() - offload->start_ns;
	cleanup_free char *top = printable(card->source.top), *to = printable(card->to);
	char bytes[32], spent[32], rate[32];

	(void)printf("%s -> %s: %zu file%s, %s in %s (%s/s)\n", top ? top : "?", to ? to : "?",
		     card->count, card->count == 1 ? "" : "s",
		     format_bytes(card->bytes, bytes, sizeof(bytes)),
		     format_duration(spent_ns, spent, sizeof(spent)),
		     format_bytes((uint64_t)((double)tally->bytes * 1e9 / (double)(spent_ns + 1)),
				  rate, sizeof(rate)));
	if (card->card)
		print_known(card->card);
	else
		(void)puts("  no card that is known (mediafs-cards(5))");
	print_tally(tally);
	if (card->attributes_lost)
		(void)printf("  %" PRIu64 " extended attributes could not be kept\n",
			     card->attributes_lost);
	if (card->gone)
		(void)printf("  %sthe card is gone%s\n", paint(PAINT_BAD), paint(PAINT_NONE));
	if (!is_whole(tally) || tally->unclosed)
		(void)printf("%sNOT all of it is there%s: put right what is named above and run "
			     "this again\n",
			     paint(PAINT_BAD), paint(PAINT_NONE));
	else if (tally->different || tally->manifest_faults || tally->cached)
		(void)printf("%sall of it is there as the card has it, but the card is in doubt%s: "
			     "see what is named above\n",
			     paint(PAINT_BAD), paint(PAINT_NONE));
	else if (!card->count)
		(void)printf("%sthere is nothing on it%s to copy: is it the right one, is it "
			     "mounted?\n",
			     paint(PAINT_BAD), paint(PAINT_NONE));
	else
		(void)printf("%sall of it is there, verified and equal to the card%s. May it be "
			     "formatted? mediafs safe %s\n",
			     paint(PAINT_GOOD), paint(PAINT_NONE), top ? top : "?");
}

int offload_tell_end(struct offload *offload)
{
	struct tally all = { 0 };
	int code;

	for (size_t i = 0; i < offload->count; i++) {
		struct offload_card *card = &offload->cards[i];
		struct tally tally = { 0 };
		int r = 0;

		count(offload, card, &tally);
		if (is_whole(&tally))
			r = offload_close(card);
		if (r < 0) {
			tally.unclosed++;
			(void)cli_fail_errno(offload->cli, r, "cannot finish the folder %s",
					     card->to);
		}
		cli_progress_end(offload->cli);
		if (offload->cli->json)
			tell_card_json(offload, card, &tally);
		else
			print_card(offload, card, &tally);
		add(&all, &tally);
	}
	code = code_of(offload, &all);
	if (atomic_load(&offload->volume_gone))
		return cli_fail(
			offload->cli, code,
			"the volume is gone: was it unmounted, or did its daemon end? Mount "
			"it and run this again");
	if (offload->cli->json)
		return cli_print_json(offload->cli, json_pack("{s:i}", "code", code), code);
	return fflush(stdout) == 0 ? code : MEDIAFS_EXIT_FAILED;
}
