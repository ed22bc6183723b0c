/* SPDX-License-Identifier: Apache-2.0 */
#include "card/rules.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "util/conf.h"
#include "util/error.h"
#include "util/io.h"

#define COMMON "common" /* the section that is no family */

static const char *const role_keys[ROLE_COUNT] = {
	[ROLE_MARKER] = "marker",
	[ROLE_MARKER_FILE] = "marker-file",
	[ROLE_MARKER_NAME] = "marker-name",
	[ROLE_LOOSE] = "loose",
	[ROLE_MEDIA] = "media",
	[ROLE_REQUIRED] = "required",
	[ROLE_SIDECAR] = "sidecar",
	[ROLE_KNOWN] = "known",
};

/* A zeroed element more at the end of *@list; NULL without memory. */
static void *grow(void *list, size_t *count, size_t size)
{
	void **slot = list;
	void *grown = reallocarray(*slot, *count + 1, size);

	if (!grown)
		return NULL;
	*slot = grown;
	return memset((char *)grown + (*count)++ * size, 0, size);
}

static void family_fini(struct card_family *family)
{
	for (size_t i = 0; i < family->count; i++)
		pattern_fini(&family->rules[i].pattern);
	free(family->rules);
	free(family->name);
	free(family->title);
}

struct card_rules *card_rules_new(void)
{
	return calloc(1, sizeof(struct card_rules));
}

void card_rules_free(struct card_rules *rules)
{
	if (!rules)
		return;
	for (size_t i = 0; i < rules->count; i++)
		family_fini(&rules->families[i]);
	for (size_t i = 0; i < rules->junk_count; i++)
		pattern_fini(&rules->junk[i]);
	for (size_t i = 0; i < rules->nameless_count; i++)
		pattern_fini(&rules->nameless[i]);
	for (size_t i = 0; i < rules->error_count; i++)
		free(rules->errors[i]);
	free(rules->families);
	free(rules->junk);
	free(rules->nameless);
	free(rules->errors);
	free(rules);
}

/* One file ------------------------------------------------------------------------------ */

struct reading {
	struct card_rules *rules; /* what this file brings */
	char *message;            /* owned; with the line */
};

static int complain(struct reading *reading, unsigned line, const char *what, const char *text)
{
	if (asprintf(&reading->message, "line %u: %s%s%s", line, what, *text ? ": " : "", text) < 0)
		reading->message = NULL;
	return reading->message ? -EINVAL : -ENOMEM;
}

static int take_pattern(struct reading *reading, const struct conf_item *item,
			struct pattern *ret_pattern)
{
	cleanup_free char *message = NULL;
	int r = pattern_compile(item->value, ret_pattern, &message);

	return r == -EINVAL && message ? complain(reading, item->line, item->key, message) : r;
}

static int take_common(struct reading *reading, const struct conf_item *item)
{
	struct card_rules *rules = reading->rules;
	bool junk = strcmp(item->key, "junk") == 0;
	struct pattern pattern, *slot;
	int r;

	if (!junk && strcmp(item->key, "nameless") != 0)
		return complain(reading, item->line, "[common] has no such key", item->key);
	r = take_pattern(reading, item, &pattern);
	if (r < 0)
		return r;
	slot = junk ? grow(&rules->junk, &rules->junk_count, sizeof(*slot))
		    : grow(&rules->nameless, &rules->nameless_count, sizeof(*slot));
	if (!slot) {
		pattern_fini(&pattern);
		return -ENOMEM;
	}
	*slot = pattern;
	return 0;
}

/* Without a name for the clip a file belongs to none. */
static int check_role(struct reading *reading, const struct conf_item *item,
		      const struct card_rule *rule)
{
	const unsigned clip = 1u << GROUP_CLIP;

	switch (rule->role) {
	case ROLE_MEDIA:
	case ROLE_REQUIRED:
	case ROLE_SIDECAR:
		return rule->pattern.has & clip
			       ? 0
			       : complain(reading, item->line,
					  "there must be a group (?<clip>...) in", item->value);
	default:
		return 0;
	}
}

static int take_rule(struct reading *reading, struct card_family *family, enum card_role role,
		     const struct conf_item *item)
{
	struct card_rule rule = { .role = role }, *slot;
	int r = take_pattern(reading, item, &rule.pattern);

	if (r < 0)
		return r;
	r = check_role(reading, item, &rule);
	slot = r < 0 ? NULL : grow(&family->rules, &family->count, sizeof(*slot));
	if (!slot) {
		pattern_fini(&rule.pattern);
		return r < 0 ? r : -ENOMEM;
	}
	*slot = rule;
	family->roles |= 1u << role;
	return 0;
}

static struct card_family *find_family(const struct card_rules *rules, const char *name)
{
	for (size_t i = 0; i < rules->count; i++) {
		if (strcmp(rules->families[i].name, name) == 0)
			return &rules->families[i];
	}
	return NULL;
}

static int begin_family(struct reading *reading, const struct conf_item *item)
{
	struct card_rules *rules = reading->rules;
	struct card_family *family;

	if (strcmp(item->section, COMMON) == 0)
		return 0;
	if (find_family(rules, item->section))
		return complain(reading, item->line, "the section is there twice", item->section);
	family = grow(&rules->families, &rules->count, sizeof(*family));
	if (!family)
		return -ENOMEM;
	family->line = item->line;
	family->name = strdup(item->section);
	family->title = strdup(item->section);
	return family->name && family->title ? 0 : -ENOMEM;
}

static int take_item(void *arg, const struct conf_item *item)
{
	struct reading *reading = arg;
	struct card_family *family;

	if (!item->key)
		return begin_family(reading, item);
	if (!*item->section)
		return complain(reading, item->line, "a key before the first [family]", item->key);
	if (strcmp(item->section, COMMON) == 0)
		return take_common(reading, item);
	family = &reading->rules->families[reading->rules->count - 1];
	if (strcmp(item->key, "title") == 0) {
		free(family->title);
		family->title = strdup(item->value);
		return family->title ? 0 : -ENOMEM;
	}
	if (strcmp(item->key, "off") == 0) {
		family->off = strcmp(item->value, "yes") == 0;
		return family->off || strcmp(item->value, "no") == 0
			       ? 0
			       : complain(reading, item->line, "off is yes or no, not",
					  item->value);
	}
	for (enum card_role role = 0; role < ROLE_COUNT; role++) {
		if (strcmp(item->key, role_keys[role]) == 0)
			return take_rule(reading, family, role, item);
	}
	return complain(reading, item->line, "a family has no such key", item->key);
}

/* A family that nothing can say or that has no media would never be seen: its file is wrong. */
static int check_families(struct reading *reading)
{
	const unsigned marks = 1u << ROLE_MARKER | 1u << ROLE_MARKER_FILE | 1u << ROLE_MARKER_NAME |
			       1u << ROLE_LOOSE;

	for (size_t i = 0; i < reading->rules->count; i++) {
		const struct card_family *family = &reading->rules->families[i];
		const char *what = family->off ? NULL
				   : !(family->roles & marks)
					   ? "the family has neither marker nor loose"
				   : !(family->roles & 1u << ROLE_MEDIA) ? "the family has no media"
									 : NULL;

		if (what)
			return complain(reading, family->line, what, family->name);
	}
	return 0;
}

static int add_error(struct card_rules *rules, const char *file, const char *message)
{
	char **slot = grow(&rules->errors, &rules->error_count, sizeof(*slot));

	if (!slot || asprintf(slot, "%s: %s", file, message) < 0) {
		rules->error_count -= slot != NULL;
		return -ENOMEM;
	}
	return 0;
}

static int move_patterns(struct pattern **to, size_t *to_count, struct pattern *from,
			 size_t *from_count)
{
	struct pattern *slot;

	for (; *from_count; (*from_count)--) {
		slot = grow(to, to_count, sizeof(*slot));
		if (!slot)
			return -ENOMEM;
		*slot = from[*from_count - 1];
	}
	return 0;
}

static int move_rules(struct card_rules *to, struct card_rules *from)
{
	int r = move_patterns(&to->junk, &to->junk_count, from->junk, &from->junk_count);

	if (r == 0)
		r = move_patterns(&to->nameless, &to->nameless_count, from->nameless,
				  &from->nameless_count);
	for (size_t i = 0; r == 0 && i < from->count; i++) {
		struct card_family *slot = find_family(to, from->families[i].name);

		if (slot)
			family_fini(slot);
		else
			slot = grow(&to->families, &to->count, sizeof(*slot));
		if (!slot)
			return -ENOMEM;
		*slot = from->families[i];
		from->families[i] = (struct card_family){ 0 };
	}
	return r;
}

int card_rules_add(struct card_rules *rules, const char *file, const char *text, size_t length)
{
	cleanup_with(card_rules_free_slot) struct card_rules *more = card_rules_new();
	struct reading reading = { .rules = more };
	cleanup_free char *scan_message = NULL;
	int r;

	if (!more)
		return -ENOMEM;
	r = conf_scan(text, length, take_item, &reading, &scan_message);
	if (r == 0)
		r = check_families(&reading);
	if (r == -EINVAL) {
		const char *message = reading.message ? reading.message : scan_message;

		if (add_error(rules, file, message ? message : "cannot be read") < 0)
			r = -ENOMEM;
	}
	free(reading.message);
	return r < 0 ? r : move_rules(rules, more);
}

/* Folders ------------------------------------------------------------------------------- */

static int is_conf(const struct dirent *entry)
{
	const char *dot = strrchr(entry->d_name, '.');

	return dot && entry->d_name[0] != '.' && strcmp(dot, ".conf") == 0;
}

static int load_file(struct card_rules *rules, const char *folder, const char *name)
{
	cleanup_free char *path = path_join(folder, name);
	cleanup_free char *text = NULL;
	size_t length;
	int r;

	if (!path)
		return -ENOMEM;
	r = read_file(AT_FDCWD, path, CONF_MAX_BYTES, &text, &length);
	if (r < 0 && r != -ENOMEM)
		return add_error(rules, path, error_text(r));
	if (r == 0)
		r = card_rules_add(rules, path, text, length);
	return r == -EINVAL ? 0 : r;
}

static int load_folder(struct card_rules *rules, const char *folder)
{
	struct dirent **entries;
	int count = scandir(folder, &entries, is_conf, alphasort);
	int r = 0;

	if (count < 0)
		return errno == ENOENT   ? 0
		       : errno == ENOMEM ? -ENOMEM
					 : add_error(rules, folder, error_text(-errno));
	for (int i = 0; i < count; i++) {
		if (r == 0)
			r = load_file(rules, folder, entries[i]->d_name);
		free(entries[i]);
	}
	free(entries);
	return r;
}

/* The folder of the rules that mediafs brings: beside a program that is not installed, they are in
 * its build. Caller frees; NULL without memory. */
static char *brought_folder(void)
{
	const char *given = secure_getenv("MEDIAFS_CARDS");
	char program[PATH_MAX];
	ssize_t length = readlink("/proc/self/exe", program, sizeof(program) - 1);
	char *slash, *folder;

	if (given)
		return strdup(given);
	program[length > 0 ? length : 0] = '\0';
	slash = strrchr(program, '/');
	if (slash) {
		*slash = '\0';
		if (asprintf(&folder, "%s/../card/cards", program) < 0)
			return NULL;
		if (access(folder, F_OK) == 0)
			return folder;
		free(folder);
	}
	return strdup(MEDIAFS_CARDS_DIR);
}

int card_rules_load(const char *more, struct card_rules **ret_rules)
{
	cleanup_with(card_rules_free_slot) struct card_rules *rules = card_rules_new();
	cleanup_free char *brought = brought_folder();
	int r = rules && brought ? 0 : -ENOMEM;

	if (r == 0)
		r = load_folder(rules, brought);
	if (r == 0)
		r = load_folder(rules, CARD_RULES_LOCAL);
	if (r == 0 && more)
		r = load_folder(rules, more);
	if (r == 0)
		*ret_rules = take_ptr(rules);
	return r;
}
