/* SPDX-License-Identifier: Apache-2.0 */
#include "card/card.h"

#include <errno.h>
#include <stdlib.h>

#include "test.h"

static const char rules_text[] =
	"[cam]\n"
	"marker = CAM/\n"
	"known = CAM/index\n"
	"media = CAM/(?<clip>(?<reel>(?<camera>[A-Z])[0-9])C[0-9]+_(?<reel>[A-Z]+))_"
	"(?<segment>[0-9]+)\\.mov\n"
	"media = CAM/(?<in>[a-z]+)/(?<clip>[^/]+)\\.(?<frame>[0-9]{4})\\.dpx\n"
	"required = CAM/(?<clip>[^/]+)\\.xml\n"
	"[common]\njunk = (.*/)?\\._[^/]*\n";

static struct card_rules *rules_of(const char *text)
{
	struct card_rules *rules = card_rules_new();

	check(rules);
	check_int(card_rules_add(rules, "test.conf", text, strlen(text)), 0);
	return rules;
}

TEST(groups_of_one_name_are_joined_and_brackets_are_left_alone)
{
	struct pattern pattern;
	struct found found;
	char *message, text[16];

	check_int(pattern_compile("(?<reel>A[]()?0-9]+)[^](]C\\((x|y)(?<reel>[A-Z]+)", &pattern,
				  &message),
		  0);
	check(!pattern_matches(&pattern, "A001-C(xZ1", &found));
	check(pattern_matches(&pattern, "a0(1-c(yRq", &found));
	check_int(pattern_group(&pattern, &found, GROUP_REEL, "a0(1-c(yRq", text, sizeof(text)), 6);
	check_str(text, "a0(1Rq");
	check_int(pattern_group(&pattern, &found, GROUP_REEL, "a0(1-c(yRq", text, 4), 3);
	check_str(text, "a0(");
	check_int(pattern_group(&pattern, &found, GROUP_CLIP, "a0(1-c(yRq", text, sizeof(text)), 0);
	pattern_fini(&pattern);
}

TEST(what_could_take_all_memory_is_refused)
{
	static const char *const texts[] = {
		"(a{2}){3}", "a{2}{3}", "a+{3}", "a{256}", "a{1,256}",
		"(a)\\1",    "(a)+",    "a++",   "a*?",    "a{99999}"
	};
	struct pattern pattern;
	char *message;

	for (size_t i = 0; i < ARRAY_SIZE(texts); i++) {
		check_int(pattern_compile(texts[i], &pattern, &message), -EINVAL);
		check(message);
		free(message);
	}
	check_int(pattern_compile("[0-9]{3}a{1,255}(b|c+)*\\++", &pattern, &message), 0);
	pattern_fini(&pattern);
}

/* As Finder, cp and rsync bring a card: in any order, and in part. */
TEST(the_order_of_names_does_not_matter)
{
	static const struct card_entry entries[] = {
		{ "CAM/A1C2_XY_2.mov", 5 },
		{ "CAM/shot/x.0003.dpx", 1 },
		{ "CAM/A1C2_XY.xml", 1 },
		{ "CAM/index", 1 },
		{ "CAM/shot/x.0001.dpx", 1 },
		{ "CAM/._A1C2_XY_1.mov", 9 },
		{ "CAM/", 0 },
		{ "CAM/A1C2_XY_4.mov", 7 },
		{ "CAM/shot/", 0 },
		{ "other", 3 },
	};
	cleanup_with(card_rules_free_slot) struct card_rules *rules = rules_of(rules_text);
	struct card_entry turned[ARRAY_SIZE(entries)];

	for (size_t turn = 0; turn < ARRAY_SIZE(entries); turn++) {
		cleanup_with(card_free_slot) struct card *card = NULL;

		for (size_t i = 0; i < ARRAY_SIZE(entries); i++)
			turned[i] = entries[(i + turn) % ARRAY_SIZE(entries)];
		check_int(card_look(rules, "", turned, ARRAY_SIZE(turned), &card), 1);
		check_int(card->clip_count, 2);
		check_str(card->clips[0].name, "A1C2_XY");
		check_int(card->clips[0].files, 3);
		check_int(card->clips[0].bytes, 13);
		check_int(card->clips[0].segments, 2);
		check_str(card->clips[1].name, "x");
		check_str(card->clips[1].in, "shot");
		check_int(card->clips[1].frames, 2);
		check_int(card->reel_count, 1);
		check_str(card->reels[0], "A1XY");
		check_str(card->camera, "A");
		check_int(card->files, 7);
		check_int(card->bytes, 19);
		check_int(card->other_files, 1);
		check_int(card->junk_files, 1);
		check_int(card->warning_count, 3);
		check_int(card->warnings[0].kind, CARD_MISSING_SEGMENT);
		check_str(card->warnings[0].text, "clip A1C2_XY lacks segment 1, 3");
		check_int(card->warnings[1].kind, CARD_MISSING_FRAMES);
		check_str(card->warnings[1].text, "clip x lacks 1 frame: 2");
		check_int(card->warnings[2].kind, CARD_MISSING_SIDECAR);
	}
}

TEST(a_frame_of_another_width_or_clip_is_not_the_next_one)
{
	static const struct card_entry entries[] = {
		{ "CAM/", 0 },
		{ "CAM/a/x.0009.dpx", 1 },
		{ "CAM/a/x.0010.dpx", 1 },
		{ "CAM/a/x.00a1.dpx", 1 },
		{ "CAM/a/y.0010.dpx", 1 },
		{ "CAM/b/x.0011.dpx", 1 },
	};
	cleanup_with(card_rules_free_slot) struct card_rules *rules = rules_of(rules_text);
	cleanup_with(card_free_slot) struct card *card = NULL;

	check_int(card_look(rules, "", entries, ARRAY_SIZE(entries), &card), 1);
	check_int(card->clip_count, 3);
	check_int(card->clips[0].frames, 2);
	check_str(card->clips[0].in, "a");
	check_int(card->clips[1].frames, 1);
	check_str(card->clips[1].in, "b");
	check_int(card->other_files, 1);
}

TEST(a_later_family_of_one_name_takes_its_place)
{
	static const struct card_entry entries[] = { { "CAM/", 0 }, { "NEW/", 0 } };
	cleanup_with(card_rules_free_slot) struct card_rules *rules = rules_of(rules_text);
	cleanup_with(card_free_slot) struct card *card = NULL;
	static const char more[] = "[cam]\nmarker = NEW/\nmedia = (?<clip>.*)\ntitle = New\n";
	static const char wrong[] = "[cam]\nmarker = CAM/\nmedia = (?<clip>.*\n";

	check_int(card_rules_add(rules, "more.conf", more, strlen(more)), 0);
	check_int(card_look(rules, "", entries, 1, &card), 0);
	check_int(card_rules_add(rules, "wrong.conf", wrong, strlen(wrong)), -EINVAL);
	check_int(rules->error_count, 1);
	check_int(card_look(rules, "", entries, 2, &card), 1);
	check_str(card->families[0]->title, "New");
}

TEST(nothing_is_no_card)
{
	cleanup_with(card_rules_free_slot) struct card_rules *rules = rules_of(rules_text);
	struct card *card = NULL;

	check_int(card_look(rules, "", NULL, 0, &card), 0);
	check_int(card_look(rules, "CAM", NULL, 0, &card), 1);
	check_int(card->clip_count, 0);
	card_free(card);
}
