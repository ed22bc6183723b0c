/* SPDX-License-Identifier: Apache-2.0 */
#include "transfer/rules.h"

#include "test.h"
#include "util/cleanup.h"

DEFINE_CLEANUP(struct rules *, rules_free)
#define scoped_rules cleanup_with(rules_free_slot) struct rules *

TEST(media_is_never_ignored)
{
	static const char *const media[] = {
		"A001/A001C001_260930_R1JL.mxf",
		"A001/CONTENTS/CLIP/0013MM.XML",
		"clip.mov",
		"B002/.sidecar",
		"S01T01.WAV",
		"DAY1/notes.txt",
		"tmp/clip.mov",
		"part/1.mov",
		"Icons",
		"DAY1/.Trash.mov",
		"A001/partial cut/x.mov",
		"B002/Trashes/x.mov",
		"show.tmp/clip.mov",
	};
	scoped_rules rules = rules_new(NULL, NULL);

	check(rules != NULL);
	for (size_t i = 0; i < ARRAY_SIZE(media); i++)
		check(rules_ignores(rules, media[i]) == NULL);
}

TEST(what_systems_leave_behind_stays_here)
{
	static const struct {
		const char *path, *glob;
	} junk[] = {
		{ ".DS_Store", ".DS_Store" },
		{ "A001/._clip.mov", "._*" },
		{ ".Trash-1000/files/clip.mov", "*/.Trash-*/*" },
		{ "A001/.Trashes/501/clip.mov", "*/.Trashes/*" },
		{ "A001/.Spotlight-V100/Store-V2/x", "*/.Spotlight-V100/*" },
		{ "DAY1/THUMBS.DB", "Thumbs.db" },
		{ "DAY1/.goutputstream-1ABCDE", ".goutputstream-*" },
		{ "DAY1/report.doc.tmp", "*.tmp" },
		{ "DAY1/clip.mov.part", "*.part" },
		{ "DAY1/.~lock.report.ods#", ".~lock.*" },
		{ "DAY1/.nfs000000000012345678901234", NULL },
		{ "DAY1/.nfs0123456789abcdef", ".nfs????????????????" },
		{ "System Volume Information/x", "*/System?Volume?Information/*" },
		{ "$RECYCLE.BIN/x", "*/$RECYCLE.BIN/*" },
		{ "DAY1/~$report.docx", "~$*" },
		{ "A001/Icon\r", "Icon[[:cntrl:]]" },
		{ "report.pages.sb-0123abcd-XyZ012", "*.sb-????????"
						     "-??????" },
		{ ".mediafs-new-1", ".mediafs-*" },
	};
	scoped_rules rules = rules_new(NULL, NULL);

	for (size_t i = 0; i < ARRAY_SIZE(junk); i++) {
		const char *glob = rules_ignores(rules, junk[i].path);

		if (junk[i].glob)
			check_str(glob, junk[i].glob);
		else
			check(glob == NULL);
	}
}

TEST(editorial_gets_what_it_needs_first)
{
	static const struct {
		const char *path;
		enum priority_class class;
	} files[] = {
		{ "DAY1/script notes.PDF", PRIORITY_NOTES },
		{ "A001/ascmhl/0001_A001.mhl", PRIORITY_NOTES },
		{ "A001/A247C001_260812ABM01.XML", PRIORITY_NOTES },
		{ "SOUND/25Y01M15/S01T01.WAV", PRIORITY_SOUND },
		{ "proxy/A001.mp4", PRIORITY_PROXIES },
		{ "B002/Proxy/A001_08151512_C001.mp4", PRIORITY_PROXIES },
		{ "DAY1 proxies/A001.mov", PRIORITY_PROXIES },
		{ "A_0001C001_CANON_Proxy.MP4", PRIORITY_PROXIES },
		{ "A001/A001_08151512_C001.braw", PRIORITY_ORIGINALS },
		{ "no extension", PRIORITY_ORIGINALS },
	};
	scoped_rules rules = rules_new(NULL, NULL);

	for (size_t i = 0; i < ARRAY_SIZE(files); i++)
		check_int(rules_class(rules, files[i].path), files[i].class);
}

TEST(a_persons_rules_replace_the_built_in_ones)
{
	const char *classes[PRIORITY_COUNT] = { [PRIORITY_SOUND] = " *.snd\n*.opus " };
	scoped_rules rules = rules_new("*.bak  SECRET/*", classes);

	check(rules_ignores(rules, ".DS_Store") == NULL);
	check_str(rules_ignores(rules, "a/b.bak"), "*.bak");
	check_str(rules_ignores(rules, "SECRET/a/b.mov"), "SECRET/*");
	check(rules_ignores(rules, "a/SECRET/b.mov") == NULL);
	check_int(rules_class(rules, "a.opus"), PRIORITY_SOUND);
	check_int(rules_class(rules, "a.wav"), PRIORITY_ORIGINALS);
	check_int(rules_class(rules, "a.txt"), PRIORITY_NOTES);
}

TEST(no_rule_ignores_nothing)
{
	scoped_rules rules = rules_new("", NULL);

	check(rules_ignores(rules, ".DS_Store") == NULL);
}

TEST(what_an_offload_has_not_finished_stays_here_whatever_the_rules_say)
{
	scoped_rules rules = rules_new("", NULL);

	check_str(rules_ignores(rules, "A001/.clip.mov.mediafs-part"), UNFINISHED_GLOB);
	check_str(rules_ignores(rules, "A001/" UNFINISHED_MARKER), UNFINISHED_GLOB);
	check(rules_ignores(rules, "A001/clip.mediafs-part") == NULL);
	check(rules_ignores(rules, "A001/.x.mediafs-part/clip.mov") == NULL);
}

TEST(every_class_has_a_name)
{
	check_str(priority_name(PRIORITY_READER), "reader");
	check_str(priority_name(PRIORITY_ORIGINALS), "originals");
	check_str(priority_name(PRIORITY_COUNT), "unknown");
}
