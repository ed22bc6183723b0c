/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "card/card.h"
#include "cli/cli.h"
#include "cli/source.h"
#include "cli/target.h"
#include "control/card_json.h"
#include "util/units.h"

/* Fewer bytes than a camera's lists and settings have may lie on an empty card. */
#define LISTS_BYTES (1u << 20)

/* What lies on the card, as the rules want it. Owned, and the paths. */
struct names {
	struct card_entry *list;
	size_t count;
};

static void names_fini(struct names *names)
{
	for (size_t i = 0; i < names->count; i++)
		free((char *)names->list[i].path);
	free(names->list);
}

static int take_names(const struct source *source, struct names *names)
{
	names->list = calloc(source->count + 1, sizeof(*names->list));
	if (!names->list)
		return -ENOMEM;
	for (size_t i = 0; i < source->count; i++) {
		const struct source_entry *entry = &source->entries[i];
		bool folder = S_ISDIR(entry->mode);
		char *path;

		if (!folder && !S_ISREG(entry->mode))
			continue;
		if (asprintf(&path, "%s%s", entry->path, folder ? "/" : "") < 0)
			return -ENOMEM;
		names->list[names->count++] = (struct card_entry){ path, entry->size };
	}
	return 0;
}

static int read_names(struct cli *cli, const char *top, const struct card_rules *rules,
		      struct names *names)
{
	cleanup_with(source_close) struct source source = { .fd = -1 };
	int r = source_open(top, rules, &source);

	if (r == -E2BIG)
		return cli_fail(cli, MEDIAFS_EXIT_USAGE,
				"%s holds too many names: name the folder of one card", top);
	/* A card that cannot be read whole must not look like one that is. */
	for (size_t i = 0; r == 0 && i < source.count; i++) {
		const struct source_entry *entry = &source.entries[i];

		if (entry->error && entry->error != -EXDEV && !entry->litter)
			return cli_fail_errno(cli, entry->error, "cannot read %s/%s", top,
					      entry->path);
	}
	if (r == 0)
		r = take_names(&source, names);
	return r < 0 ? cli_fail_errno(cli, r, "cannot read %s", top) : 0;
}

static void print_clip(const struct card_clip *clip)
{
	cleanup_free char *name = printable(clip->name);
	char size[32];

	(void)printf("  %-36s %10s  %" PRIu64 " file%s", name ? name : "?",
		     format_bytes(clip->bytes, size, sizeof(size)), clip->files,
		     clip->files == 1 ? "" : "s");
	if (clip->segments > 1)
		(void)printf(", %" PRIu64 " segments", clip->segments);
	if (clip->frames)
		(void)printf(", %" PRIu64 " frames", clip->frames);
	(void)putchar('\n');
}

static void print_reels(const struct card *card)
{
	static const char *const source_texts[] = {
		[REEL_FROM_FOLDER] = "from the card's folder",
		[REEL_FROM_CLIPS] = "from the clips' names",
		[REEL_FROM_NAME] = "from the name of the folder",
	};

	(void)printf("reel:     ");
	for (size_t i = 0; i < card->reel_count; i++) {
		cleanup_free char *reel = printable(card->reels[i]);

		(void)printf("%s%s", i ? ", " : "", reel ? reel : "?");
	}
	if (card->reel_count)
		(void)printf(" (%s)\n", source_texts[card->reel_source]);
	else
		(void)puts("unknown");
	if (*card->camera)
		(void)printf("camera:   %s\n", card->camera);
}

static bool looks_empty(const struct card *card)
{
	return !card->other_files && card->bytes < LISTS_BYTES;
}

static void print_card(const struct card *card)
{
	char size[32];

	(void)printf("family:   ");
	for (size_t i = 0; i < card->family_count; i++)
		(void)printf("%s%s", i ? ", " : "", card->families[i]->title);
	(void)putchar('\n');
	print_reels(card);
	(void)printf("files:    %" PRIu64 ", %s", card->files,
		     format_bytes(card->bytes, size, sizeof(size)));
	if (card->other_files)
		(void)printf("; %" PRIu64 " unknown to the family", card->other_files);
	if (card->junk_files)
		(void)printf("; and %" PRIu64 " that a computer left there", card->junk_files);
	(void)printf("\nclips:    %zu%s\n", card->clip_count,
		     card->clip_count    ? ""
		     : looks_empty(card) ? " (the card is empty)"
					 : " (what is on it is of no clip that the rules know)");
	for (size_t i = 0; i < card->clip_count; i++)
		print_clip(&card->clips[i]);
	for (size_t i = 0; i < card->warning_count; i++) {
		cleanup_free char *text = printable(card->warnings[i].text);

		(void)printf("%swarning:%s  %s\n", paint(PAINT_BAD), paint(PAINT_NONE),
			     text ? text : "?");
	}
	if (card->warnings_more)
		(void)printf("%swarning:%s  %" PRIu64 " more\n", paint(PAINT_BAD),
			     paint(PAINT_NONE), card->warnings_more);
}

static int print_json(struct cli *cli, const struct card *card, const struct card_rules *rules,
		      const char *path, int code)
{
	json_t *object = card ? card_json(card, true) : json_object();
	json_t *errors = json_array();

	for (size_t i = 0; i < rules->error_count; i++)
		(void)json_array_append_new(errors, json_path(rules->errors[i]));
	if (object) {
		(void)json_object_set_new(object, "card", json_boolean(card != NULL));
		(void)json_object_set_new(object, "path", json_path(path));
		(void)json_object_set_new(object, "code", json_integer(code));
	}
	if (!object || json_object_set_new(object, "rule_errors", errors) < 0) {
		json_decref(object);
		object = NULL;
	}
	return cli_print_json(cli, object, code);
}

/* The rules, with those of the store that @path or --store means. */
static int load_rules(struct cli *cli, const char *path, struct card_rules **ret_rules)
{
	const char *given = cli->options.value[OPT_STORE];
	cleanup_free char *store = given ? strdup(given) : target_store_of(path);
	cleanup_free char *folder = NULL;
	int r = 0;

	if (store && asprintf(&folder, "%s/cards.d", store) < 0)
		r = -ENOMEM;
	if (r == 0)
		r = card_rules_load(folder, ret_rules);
	if (r < 0)
		return cli_fail_errno(cli, r, "cannot read the card rules");
	for (size_t i = 0; i < (*ret_rules)->error_count; i++)
		cli_note(cli, "mediafs card: rules left out: %s", (*ret_rules)->errors[i]);
	if ((*ret_rules)->count == 0)
		return cli_fail(cli, MEDIAFS_EXIT_CONFIG,
				"there are no rules for cards: install mediafs whole, or put files "
				"into %s (mediafs-cards(5))",
				CARD_RULES_LOCAL);
	return 0;
}

static int look(struct cli *cli, char *top)
{
	cleanup_with(card_rules_free_slot) struct card_rules *rules = NULL;
	cleanup_with(card_free_slot) struct card *card = NULL;
	cleanup_with(names_fini) struct names names = { 0 };
	const char *slash = strrchr(top, '/');
	int code = load_rules(cli, top, &rules);
	int r;

	if (code == 0)
		code = read_names(cli, top, rules, &names);
	if (code)
		return code;
	r = card_look(rules, slash ? slash + 1 : top, names.list, names.count, &card);
	if (r < 0)
		return cli_fail_errno(cli, r, "cannot look at %s", top);
	code = !card                 ? MEDIAFS_EXIT_NO_ENTRY
	       : card->warning_count ? MEDIAFS_EXIT_DAMAGED
				     : MEDIAFS_EXIT_OK;
	if (cli->json)
		return print_json(cli, card, rules, top, code);
	if (!card)
		return cli_fail(cli, code,
				"%s is no card that is known; mediafs-cards(5) says what is looked "
				"for and how to add to it",
				top);
	print_card(card);
	return code;
}

static int run(struct cli *cli)
{
	cleanup_free char *top = realpath(cli->options.args[0], NULL);
	struct stat st;

	if (!top || stat(top, &st) < 0)
		return cli_fail_errno(cli, -errno, "cannot look at %s", cli->options.args[0]);
	if (!S_ISDIR(st.st_mode))
		return cli_fail_errno(cli, -ENOTDIR, "%s is no card", cli->options.args[0]);
	return look(cli, top);
}

static const struct option_spec options[] = {
	{ OPT_END, 0, NULL, NULL, NULL },
};

const struct command cmd_card = {
	.name = "card",
	.args = "PATH",
	.help = "what card a folder is: family, reel, clips, and what is missing",
	.text = "PATH is a mounted card or any copy of one; no volume is needed, and only names "
		"and\n"
		"sizes are looked at. Exit code 5 when something is missing or empty, 8 when it is "
		"no\n"
		"card that is known.\n",
	.min_args = 1,
	.max_args = 1,
	.options = options,
	.run = run,
};
