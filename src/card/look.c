/* SPDX-License-Identifier: Apache-2.0 */
/*
 * How: the entries are sorted, so that the frames of a clip follow each other, and only the first
 * of them meets the patterns (struct again). Then the families that a marker names are found, each
 * file is given to a clip of theirs, and last each clip is looked over.
 */
#include <ctype.h>
#include <errno.h>
#include <limits.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "card/look.h"
#include "util/table.h"

#define REELS_MAX 64

/* Without a marker, this many of a hundred files must be of one family. */
#define LOOSE_PERCENT 60

static int compare_entries(const void *a, const void *b)
{
	return strcmp((*(const struct card_entry *const *)a)->path,
		      (*(const struct card_entry *const *)b)->path);
}

static bool is_folder(const struct card_entry *entry)
{
	size_t length = strlen(entry->path);

	return length > 0 && entry->path[length - 1] == '/';
}

static bool any_matches(const struct pattern *patterns, size_t count, const char *path)
{
	for (size_t i = 0; i < count; i++) {
		if (pattern_matches(&patterns[i], path, NULL))
			return true;
	}
	return false;
}

bool card_path_is_junk(const struct card_rules *rules, const char *path)
{
	size_t length = strlen(path);
	char plain[PATH_MAX];

	/* Patterns for junk know no '/' at the end. */
	if (length == 0 || path[length - 1] != '/' || length >= sizeof(plain))
		return any_matches(rules->junk, rules->junk_count, path);
	memcpy(plain, path, length - 1);
	plain[length - 1] = '\0';
	return any_matches(rules->junk, rules->junk_count, plain);
}

/* The sorted entries without junk, into look->entries. */
static int sort_entries(struct look *look, const struct card_entry *entries, size_t count)
{
	bool sorted = true;
	size_t longest = 0;

	look->entries = calloc(count + 1, sizeof(*look->entries));
	look->owners = calloc(count + 1, sizeof(struct look_clip *));
	look->card->places = calloc(count + 1, sizeof(*look->card->places));
	if (!look->entries || !look->owners || !look->card->places)
		return -ENOMEM;
	look->given = entries;
	look->given_count = count;
	for (size_t i = 0; i < count; i++) {
		size_t length = strlen(entries[i].path);

		if (card_path_is_junk(look->rules, entries[i].path)) {
			look->card->junk_files += !is_folder(&entries[i]);
			continue;
		}
		longest = length > longest ? length : longest;
		if (look->count > 0 &&
		    strcmp(look->entries[look->count - 1]->path, entries[i].path) > 0)
			sorted = false;
		look->entries[look->count++] = &entries[i];
	}
	if (!sorted)
		qsort(look->entries, look->count, sizeof(struct card_entry *), compare_entries);
	look->scratch = malloc(longest + strlen(look->name) + 2);
	return look->scratch ? 0 : -ENOMEM;
}

/* The path as the patterns see it. */
static const char *view(struct look *look, const char *path)
{
	if (!look->prefix)
		return path;
	strcpy(mempcpy(look->scratch, look->name, look->prefix - 1), "/");
	strcpy(look->scratch + look->prefix, path);
	return look->scratch;
}

int look_warn(struct look *look, enum card_warning_kind kind, const char *format, ...)
{
	struct card *card = look->card;
	struct card_warning *grown;
	va_list ap;
	int r;

	if (look->warned[kind] == CARD_WARNINGS_MAX) {
		card->warnings_more++;
		return 0;
	}
	grown = reallocarray(card->warnings, card->warning_count + 1, sizeof(*grown));
	if (!grown)
		return -ENOMEM;
	card->warnings = grown;
	grown += card->warning_count;
	va_start(ap, format);
	r = vasprintf(&grown->text, format, ap);
	va_end(ap);
	if (r < 0)
		return -ENOMEM;
	grown->kind = kind;
	card->warning_count++;
	look->warned[kind]++;
	return 0;
}

/* What a pattern says of the card --------------------------------------------------------- */

static int add_reel(struct look *look, const char *reel, enum card_reel_source source)
{
	struct card *card = look->card;
	char **grown;

	/* What the folder says goes before what clips say. */
	if (!*reel || card->reel_count == REELS_MAX ||
	    (card->reel_count && source > card->reel_source))
		return 0;
	for (size_t i = card->reel_count; i-- > 0;) {
		if (strcmp(card->reels[i], reel) == 0)
			return 0;
	}
	grown = reallocarray(card->reels, card->reel_count + 1, sizeof(*grown));
	if (!grown)
		return -ENOMEM;
	card->reels = grown;
	grown[card->reel_count] = strdup(reel);
	if (!grown[card->reel_count])
		return -ENOMEM;
	card->reel_count++;
	card->reel_source = source;
	return 0;
}

static int take_reel(struct look *look, const struct pattern *pattern, const struct found *found,
		     const char *path, enum card_reel_source source)
{
	char reel[256];

	if (!*look->card->camera)
		(void)pattern_group(pattern, found, GROUP_CAMERA, path, look->card->camera,
				    sizeof(look->card->camera));
	(void)pattern_group(pattern, found, GROUP_REEL, path, reel, sizeof(reel));
	return add_reel(look, reel, source);
}

/* Families ------------------------------------------------------------------------------ */

/* 1: this marker says that it is the family. Markers that name a reel are asked for all of it. */
static int marker_says(struct look *look, const struct card_rule *rule)
{
	bool folders = rule->role == ROLE_MARKER;
	struct found found;
	int says = 0;
	int r;

	if (rule->role == ROLE_MARKER_NAME)
		return pattern_matches(&rule->pattern, look->name, NULL);
	/* The folder itself, when it is the one on the card. */
	for (size_t i = look->prefix ? 0 : 1; i <= look->count; i++) {
		const char *raw = i ? look->entries[i - 1]->path : "";
		const char *path;

		if (i && is_folder(look->entries[i - 1]) != folders)
			continue;
		if (!i && !folders)
			continue;
		path = view(look, raw);
		if (!pattern_matches(&rule->pattern, path, &found))
			continue;
		says = 1;
		if (!(rule->pattern.has & 1u << GROUP_REEL))
			return 1;
		r = take_reel(look, &rule->pattern, &found, path, REEL_FROM_FOLDER);
		if (r < 0)
			return r;
	}
	return says;
}

static int family_is_marked(struct look *look, const struct card_family *family)
{
	int says = 0;

	for (size_t i = 0; says >= 0 && i < family->count; i++) {
		const struct card_rule *rule = &family->rules[i];
		int r;

		if (rule->role > ROLE_MARKER_NAME)
			continue;
		if (says && !(rule->pattern.has & 1u << GROUP_REEL))
			continue;
		r = marker_says(look, rule);
		says = r < 0 ? r : says | r;
	}
	return says;
}

static void find_marked(struct look *look, int *ret_error)
{
	struct card *card = look->card;

	for (size_t i = 0; *ret_error == 0 && i < look->rules->count; i++) {
		const struct card_family *family = &look->rules->families[i];
		int r = family->off ? 0 : family_is_marked(look, family);

		if (r < 0)
			*ret_error = r;
		else if (r > 0)
			card->families[card->family_count++] = family;
	}
}

static uint64_t count_loose(struct look *look, const struct card_family *family,
			    uint64_t *ret_files)
{
	uint64_t loose = 0;

	*ret_files = 0;
	for (size_t i = 0; i < look->count; i++) {
		if (is_folder(look->entries[i]))
			continue;
		++*ret_files;
		for (size_t j = 0; j < family->count; j++) {
			if (family->rules[j].role == ROLE_LOOSE &&
			    pattern_matches(&family->rules[j].pattern, look->entries[i]->path,
					    NULL)) {
				loose++;
				break;
			}
		}
	}
	return loose;
}

/* Nothing marks it: what most of the files say. */
static void find_loose(struct look *look)
{
	struct card *card = look->card;
	uint64_t best = 0;

	for (size_t i = 0; i < look->rules->count; i++) {
		const struct card_family *family = &look->rules->families[i];
		uint64_t files, loose;

		if (family->off || !(family->roles & 1u << ROLE_LOOSE))
			continue;
		loose = count_loose(look, family, &files);
		if (loose > best && loose * 100 >= files * LOOSE_PERCENT) {
			best = loose;
			card->families[0] = family;
			card->family_count = 1;
		}
	}
}

static int find_families(struct look *look)
{
	struct card *card = look->card;
	int r = 0;

	card->families = calloc(look->rules->count + 1, sizeof(struct card_family *));
	if (!card->families)
		return -ENOMEM;
	find_marked(look, &r);
	if (r == 0 && card->family_count == 0 && *look->name) {
		look->prefix = strlen(look->name) + 1;
		find_marked(look, &r);
		if (card->family_count == 0)
			look->prefix = 0;
	}
	if (r == 0 && card->family_count == 0)
		find_loose(look);
	return r;
}

/* Files --------------------------------------------------------------------------------- */

/* FNV-1a; what has one hash is compared. Source: RFC 9923. */
static uint64_t clip_hash(const struct card_family *family, const char *name, const char *in)
{
	uint64_t hash = 0xcbf29ce484222325ull ^ (uintptr_t)family;

	for (; *name; name++)
		hash = (hash ^ (unsigned char)*name) * 0x100000001b3ull;
	for (; *in; in++)
		hash = (hash ^ (unsigned char)*in) * 0x100000001b3ull;
	return hash ? hash : 1;
}

static int get_clip(struct look *look, const struct card_family *family, const char *name,
		    const char *in, struct look_clip **ret_clip)
{
	uint64_t hash = clip_hash(family, name, in);
	struct look_clip *clip, *same = table_get(&look->by_hash, hash);

	for (clip = same; clip; clip = clip->same_hash) {
		if (clip->clip.family == family && strcmp(clip->clip.name, name) == 0 &&
		    strcmp(clip->clip.in, in) == 0) {
			*ret_clip = clip;
			return 0;
		}
	}
	clip = calloc(1, sizeof(*clip));
	if (!clip)
		return -ENOMEM;
	clip->next = look->clips;
	look->clips = clip;
	look->clip_count++;
	clip->clip.family = family;
	clip->clip.name = strdup(name);
	clip->clip.in = strdup(in);
	if (!clip->clip.name || !clip->clip.in)
		return -ENOMEM;
	clip->same_hash = same;
	*ret_clip = clip;
	return table_put(&look->by_hash, hash, clip);
}

/* The rule for @path: a clip's, else what only knows it; NULL for neither. */
static const struct card_rule *find_rule(struct look *look, const char *path,
					 const struct card_family **ret_family,
					 struct found *ret_found)
{
	const struct card_rule *known = NULL;

	for (size_t i = 0; i < look->card->family_count; i++) {
		const struct card_family *family = look->card->families[i];

		for (size_t j = 0; j < family->count; j++) {
			const struct card_rule *rule = &family->rules[j];

			if (rule->role < ROLE_MEDIA ||
			    !pattern_matches(&rule->pattern, path, ret_found))
				continue;
			*ret_family = family;
			if (rule->role != ROLE_KNOWN)
				return rule;
			known = rule;
			break;
		}
	}
	return known;
}

/* The digits of @path that name the frame of the file before are all that differs here. */
static bool is_next_frame(const struct look_again *again, const char *path)
{
	size_t length;

	if (!again->clip)
		return false;
	length = strlen(path);
	if (length != again->length || memcmp(path, again->path, again->start) != 0 ||
	    memcmp(path + again->end, again->path + again->end, length - again->end) != 0)
		return false;
	for (size_t i = again->start; i < again->end; i++) {
		if (!isdigit((unsigned char)path[i]))
			return false;
	}
	return true;
}

static void remember(struct look *look, const struct card_rule *rule, const struct found *found,
		     const char *raw, struct look_clip *clip)
{
	for (size_t i = 1; i <= rule->pattern.groups; i++) {
		const regmatch_t *span = &found->spans[i];

		if (rule->pattern.kinds[i] != GROUP_FRAME || span->rm_so < 0 ||
		    (size_t)span->rm_so < look->prefix)
			continue;
		look->again = (struct look_again){
			.clip = clip,
			.path = raw,
			.length = strlen(raw),
			.start = (size_t)span->rm_so - look->prefix,
			.end = (size_t)span->rm_eo - look->prefix,
		};
	}
}

static int take_media(struct look *look, const struct card_rule *rule, const struct found *found,
		      const char *path, struct look_clip *clip)
{
	char digits[32], reel[256];

	clip->clip.media++;
	if (pattern_group(&rule->pattern, found, GROUP_SEGMENT, path, digits, sizeof(digits))) {
		int r = look_add_segment(clip, strtoull(digits, NULL, 10));

		if (r < 0)
			return r;
	}
	if (pattern_group(&rule->pattern, found, GROUP_FRAME, path, digits, sizeof(digits))) {
		int r = look_add_frame(clip, strtoull(digits, NULL, 10));

		if (r < 0)
			return r;
	}
	if (!clip->clip.reel &&
	    pattern_group(&rule->pattern, found, GROUP_REEL, path, reel, sizeof(reel))) {
		clip->clip.reel = strdup(reel);
		if (!clip->clip.reel)
			return -ENOMEM;
	}
	return take_reel(look, &rule->pattern, found, path, REEL_FROM_CLIPS);
}

static int add_to_clip(struct look *look, const struct card_entry *entry, struct look_clip *clip,
		       bool media)
{
	look->owners[entry - look->given] = clip;
	look->card->places[entry - look->given].media = media;
	clip->clip.files++;
	clip->clip.bytes += entry->size;
	return entry->size ? 0 : look_warn(look, CARD_ZERO_BYTES, "%s is empty", entry->path);
}

static int take_frame(struct look *look, const struct card_entry *entry)
{
	const struct look_again *again = &look->again;
	char digits[32];
	size_t length = again->end - again->start;
	int r;

	if (length >= sizeof(digits))
		length = sizeof(digits) - 1;
	memcpy(digits, entry->path + again->start, length);
	digits[length] = '\0';
	again->clip->clip.media++;
	r = look_add_frame(again->clip, strtoull(digits, NULL, 10));
	return r < 0 ? r : add_to_clip(look, entry, again->clip, true);
}

static unsigned required_bit(const struct card_family *family, const struct card_rule *rule)
{
	unsigned bit = 0;

	for (const struct card_rule *at = family->rules; at < rule; at++)
		bit += at->role == ROLE_REQUIRED;
	return rule->role == ROLE_REQUIRED ? 1u << bit % 32 : 0;
}

static int take_file(struct look *look, const struct card_entry *entry)
{
	const struct card_family *family = NULL;
	const struct card_rule *rule;
	struct look_clip *clip;
	char name[PATH_MAX], in[PATH_MAX];
	struct found found;
	const char *path;
	int r;

	look->card->files++;
	look->card->bytes += entry->size;
	if (is_next_frame(&look->again, entry->path))
		return take_frame(look, entry);
	look->again.clip = NULL;
	path = view(look, entry->path);
	rule = find_rule(look, path, &family, &found);
	if (!rule || rule->role == ROLE_KNOWN) {
		look->card->other_files += !rule;
		return 0;
	}
	(void)pattern_group(&rule->pattern, &found, GROUP_CLIP, path, name, sizeof(name));
	(void)pattern_group(&rule->pattern, &found, GROUP_IN, path, in, sizeof(in));
	r = get_clip(look, family, name, in, &clip);
	if (r == 0 && rule->role == ROLE_MEDIA)
		r = take_media(look, rule, &found, path, clip);
	if (r < 0)
		return r;
	clip->required |= required_bit(family, rule);
	if (rule->role == ROLE_MEDIA)
		remember(look, rule, &found, entry->path, clip);
	return add_to_clip(look, entry, clip, rule->role == ROLE_MEDIA);
}

/* Together ------------------------------------------------------------------------------ */

static int compare_texts(const void *a, const void *b)
{
	return strcmp(*(char *const *)a, *(char *const *)b);
}

bool card_name_is_given(const struct card_rules *rules, const char *name)
{
	return *name && !any_matches(rules->nameless, rules->nameless_count, name);
}

bool card_knows(const struct card *card, const char *path)
{
	for (size_t i = 0; i < card->family_count; i++) {
		const struct card_family *family = card->families[i];

		for (size_t j = 0; j < family->count; j++) {
			if (family->rules[j].role == ROLE_KNOWN &&
			    pattern_matches(&family->rules[j].pattern, path, NULL))
				return true;
		}
	}
	return false;
}

static int finish_reels(struct look *look)
{
	struct card *card = look->card;
	cleanup_free char *list = NULL;

	if (card->reel_count == 0 && card_name_is_given(look->rules, look->name))
		return add_reel(look, look->name, REEL_FROM_NAME);
	if (card->reel_count < 2)
		return 0;
	qsort(card->reels, card->reel_count, sizeof(*card->reels), compare_texts);
	for (size_t i = 0; i < card->reel_count; i++) {
		char *longer;

		if (asprintf(&longer, "%s%s%s", list ? list : "", list ? ", " : "",
			     card->reels[i]) < 0)
			return -ENOMEM;
		free(list);
		list = longer;
	}
	return look_warn(look, CARD_TWO_REELS, "%zu reels on one card: %s", card->reel_count, list);
}

static void look_fini(struct look *look)
{
	struct look_clip *clip;

	while ((clip = look->clips)) {
		look->clips = clip->next;
		look_clip_free(clip);
	}
	table_fini(&look->by_hash);
	free(look->entries);
	free(look->owners);
	free(look->scratch);
}

/* 1 a card, 0 none. */
static int look_at(struct look *look, const struct card_entry *entries, size_t count)
{
	int r = sort_entries(look, entries, count);

	if (r == 0)
		r = find_families(look);
	if (r < 0 || look->card->family_count == 0)
		return r;
	for (size_t i = 0; r == 0 && i < look->count; i++) {
		if (!is_folder(look->entries[i]))
			r = take_file(look, look->entries[i]);
	}
	if (r == 0)
		r = look_finish_clips(look);
	if (r == 0)
		r = finish_reels(look);
	return r < 0 ? r : 1;
}

int card_look(const struct card_rules *rules, const char *name, const struct card_entry *entries,
	      size_t count, struct card **ret_card)
{
	cleanup_with(card_free_slot) struct card *card = calloc(1, sizeof(*card));
	struct look look = { .rules = rules, .name = name, .card = card };
	int r;

	if (!card)
		return -ENOMEM;
	table_init(&look.by_hash);
	r = look_at(&look, entries, count);
	look_fini(&look);
	if (pattern_error() < 0)
		return -ENOMEM;
	if (r > 0)
		*ret_card = take_ptr(card);
	return r;
}
