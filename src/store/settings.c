/* SPDX-License-Identifier: Apache-2.0 */
#include "store/settings.h"

#include <assert.h>
#include <errno.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "store/settings_parts.h"
#include "store/settings_table.h"
#include "util/cleanup.h"
#include "util/conf.h"

#define URL_MAX 2048

/* -EINVAL, with a message for a person. */
__attribute__((format(printf, 2, 3))) static int refuse(char **ret_message, const char *format, ...)
{
	va_list ap;
	int r;

	va_start(ap, format);
	r = vasprintf(ret_message, format, ap);
	va_end(ap);
	if (r < 0) {
		*ret_message = NULL;
		return -ENOMEM;
	}
	return -EINVAL;
}

/* Keys ------------------------------------------------------------------------------- */

static int check_url(const char *key, const char *url, char **ret_message)
{
	if (strlen(url) > URL_MAX)
		return refuse(ret_message, "%s: longer than %d bytes", key, URL_MAX);
	if (*url != '/' && !strstr(url, "://"))
		return refuse(ret_message, "%s = %s: must be an absolute path or a URL", key, url);
	return 0;
}

/* tier.NAME.offsite, tier.NAME.uplink. */
static const struct setting_row tier_switch = {
	.id = -1, .type = TYPE_SWITCH, .max = 1, .allowed = "yes or no"
};

/* *ret_row is NULL for a tier. */
static int check_value(const char *key, const char *value, const struct setting_row **ret_row,
		       int64_t *ret_value, char **ret_message)
{
	const struct setting_row *row;
	int r;

	*ret_row = NULL;
	*ret_value = 0;
	if (key_is_url(key))
		return check_url(key, value, ret_message);
	row = key_tier_part(key) ? &tier_switch : setting_find(key);
	if (!row)
		return -ENOENT;
	*ret_row = row == &tier_switch ? NULL : row;
	r = setting_value(row, value, ret_value);
	if (r == -EINVAL)
		return refuse(ret_message, "%s = %s: must be %s%s", key, value,
			      row->type == TYPE_CHOICE ? "one of " : "", row->allowed);
	return r;
}

/* Entries ---------------------------------------------------------------------------- */

struct entry *settings_find(const struct settings *settings, const char *key)
{
	for (size_t i = 0; i < settings->entry_count; i++) {
		if (strcmp(settings->entries[i].key, key) == 0)
			return &settings->entries[i];
	}
	return NULL;
}

/* @value NULL: taken out. */
static int put_entry(struct settings *settings, const char *key, const char *value, bool changed)
{
	struct entry *entry = settings_find(settings, key);
	cleanup_free char *copy = value ? strdup(value) : NULL;
	struct entry *grown;

	if (value && !copy)
		return -ENOMEM;
	if (!entry) {
		grown = reallocarray(settings->entries, settings->entry_count + 1,
				     sizeof(*settings->entries));
		if (!grown)
			return -ENOMEM;
		settings->entries = grown;
		entry = &grown[settings->entry_count];
		*entry = (struct entry){ .key = strdup(key) };
		if (!entry->key)
			return -ENOMEM;
		settings->entry_count++;
	}
	free(entry->value);
	entry->value = take_ptr(copy);
	entry->changed = changed;
	return 0;
}

static size_t count_tiers(const struct settings *settings)
{
	size_t count = 0;

	for (size_t i = 0; i < settings->entry_count; i++)
		count += key_is_url(settings->entries[i].key) && settings->entries[i].value;
	return count;
}

static void free_tiers(struct settings *settings)
{
	for (size_t i = 0; i < settings->tier_count; i++) {
		free(settings->tiers[i].name);
		free(settings->tiers[i].url);
	}
	free(take_ptr(settings->tiers));
	settings->tier_count = 0;
}

/* 1 yes, 0 no, -1 not said; -ENOMEM. @url: the tier's key for that, @part that of the switch. */
static int find_switch(const struct settings *settings, const char *url, const char *part,
		       int *ret_state)
{
	cleanup_free char *key = key_of_tier(url, part);
	const struct entry *entry = key ? settings_find(settings, key) : NULL;
	int64_t value = -1;

	if (entry && entry->value)
		(void)setting_value(&tier_switch, entry->value, &value); /* was checked */
	*ret_state = (int)value;
	return key ? 0 : -ENOMEM;
}

static int collect_tiers(struct settings *settings)
{
	int r = 0;

	free_tiers(settings);
	settings->tiers = calloc(settings->entry_count + 1, sizeof(*settings->tiers));
	if (!settings->tiers)
		return -ENOMEM;
	for (size_t i = 0; i < settings->entry_count; i++) {
		const struct entry *entry = &settings->entries[i];
		struct settings_tier *tier = &settings->tiers[settings->tier_count];

		if (!key_is_url(entry->key) || !entry->value)
			continue;
		settings->tier_count++;
		tier->name = strndup(entry->key + 5, strcspn(entry->key + 5, "."));
		tier->url = strdup(entry->value);
		r = tier->name && tier->url
			    ? find_switch(settings, entry->key, "offsite", &tier->offsite)
			    : -ENOMEM;
		if (r == 0)
			r = find_switch(settings, entry->key, "uplink", &tier->uplink);
		if (r < 0)
			return r;
	}
	return r;
}

/* What is said of a tier that is not there would hold for the next one of that name. */
static int check_tiers(const struct settings *settings, char **ret_message)
{
	for (size_t i = 0; i < settings->entry_count; i++) {
		const char *key = settings->entries[i].key;
		cleanup_free char *url = key_tier_part(key) ? key_of_tier(key, "url") : NULL;

		if (url && !settings_find(settings, url))
			return refuse(ret_message, "%s is given without %s", key, url);
	}
	return 0;
}

/* @text was checked and means @value. @row NULL: a tier. */
static int take_value(struct settings *settings, const struct setting_row *row, const char *text,
		      int64_t value)
{
	if (row && row->type == TYPE_TIMETABLE)
		return timetable_parse(text, &settings->timetable);
	if (row && row->id >= 0)
		settings->values[row->id] = value;
	return 0;
}

/* Parse ------------------------------------------------------------------------------ */

struct parser {
	struct settings *settings;
	char **ret_message;
};

static bool section_known(const char *section)
{
	size_t length = strlen(section);

	if (strncmp(section, "tier ", 5) == 0)
		return tier_name_ok(section + 5, length - 5);
	for (size_t i = 0; i < setting_row_count && length; i++) {
		if (strcspn(setting_rows[i].key, ".") == length &&
		    strncmp(setting_rows[i].key, section, length) == 0)
			return true;
	}
	return false;
}

static int parse_value(struct parser *parser, const struct conf_item *item, const char *key)
{
	struct settings *settings = parser->settings;
	cleanup_free char *message = NULL;
	const struct setting_row *row;
	int64_t value;
	int r;

	if (settings_find(settings, key))
		return refuse(parser->ret_message, "line %u: %s is given twice", item->line, key);
	r = check_value(key, item->value, &row, &value, &message);
	if (r == -ENOENT)
		return refuse(parser->ret_message, "line %u: [%s] has no key %s", item->line,
			      item->section, item->key);
	if (r == -EINVAL)
		return refuse(parser->ret_message, "line %u: %s", item->line, message);
	if (r < 0)
		return r;

	r = put_entry(settings, key, item->value, false);
	if (r < 0)
		return r;
	r = take_value(settings, row, item->value, value);
	if (r < 0)
		return r;
	if (count_tiers(settings) > SETTINGS_TIERS_MAX)
		return refuse(parser->ret_message, "line %u: more than %d tiers", item->line,
			      SETTINGS_TIERS_MAX);
	return 0;
}

static int parse_item(void *arg, const struct conf_item *item)
{
	struct parser *parser = arg;
	cleanup_free char *key = NULL;
	bool tier = strncmp(item->section, "tier ", 5) == 0;

	if (!*item->section)
		return refuse(parser->ret_message, "line %u: %s stands before any [section]",
			      item->line, item->key);
	if (!section_known(item->section))
		return refuse(parser->ret_message, "line %u: no such section [%s]%s", item->line,
			      item->section,
			      tier ? " (a tier's name has letters, digits, - and _)" : "");
	if (!item->key)
		return 0;
	if (asprintf(&key, tier ? "tier.%s.%s" : "%s.%s", item->section + (tier ? 5 : 0),
		     item->key) < 0) {
		key = NULL;
		return -ENOMEM;
	}
	return parse_value(parser, item, key);
}

int settings_parse(const char *text, size_t length, struct settings **ret_settings,
		   char **ret_message)
{
	cleanup_with(settings_free_slot) struct settings *settings = calloc(1, sizeof(*settings));
	struct parser parser = { .settings = settings, .ret_message = ret_message };
	int r;

	*ret_message = NULL;
	if (!settings)
		return -ENOMEM;
	for (size_t i = 0; i < setting_row_count; i++) {
		const struct setting_row *row = &setting_rows[i];
		int64_t value = 0;

		r = setting_value(row, row->fallback, &value);
		if (r == -ENOMEM)
			return r;
		assert(r == 0);
		if (row->id >= 0)
			settings->values[row->id] = value;
	}
	r = conf_scan(text, length, parse_item, &parser, ret_message);
	if (r == 0)
		r = check_tiers(settings, ret_message);
	if (r == 0)
		r = collect_tiers(settings);
	if (r < 0)
		return r;
	*ret_settings = take_ptr(settings);
	return 0;
}

int settings_copy(const struct settings *settings, struct settings **ret_copy)
{
	cleanup_with(settings_free_slot) struct settings *copy = calloc(1, sizeof(*copy));
	int r = copy ? 0 : -ENOMEM;

	for (size_t i = 0; r == 0 && i < settings->entry_count; i++) {
		const struct entry *entry = &settings->entries[i];

		r = put_entry(copy, entry->key, entry->value, entry->changed);
	}
	if (r == 0)
		r = collect_tiers(copy);
	if (r < 0)
		return r;
	for (size_t i = 0; i < SETTING_COUNT; i++)
		copy->values[i] = settings->values[i];
	copy->timetable = settings->timetable;
	*ret_copy = take_ptr(copy);
	return 0;
}

/* The numbers one by one: they are read without any lock. */
void settings_become(struct settings *settings, struct settings *other)
{
	struct entry *entries = settings->entries;
	struct settings_tier *tiers = settings->tiers;
	size_t entry_count = settings->entry_count, tier_count = settings->tier_count;

	for (size_t i = 0; i < SETTING_COUNT; i++)
		settings->values[i] = other->values[i];
	settings->timetable = other->timetable;
	settings->entries = other->entries;
	settings->entry_count = other->entry_count;
	settings->tiers = other->tiers;
	settings->tier_count = other->tier_count;
	other->entries = entries;
	other->entry_count = entry_count;
	other->tiers = tiers;
	other->tier_count = tier_count;
	settings_free(other);
}

void settings_free(struct settings *settings)
{
	if (!settings)
		return;
	free_tiers(settings);
	for (size_t i = 0; i < settings->entry_count; i++) {
		free(settings->entries[i].key);
		free(settings->entries[i].value);
	}
	free(settings->entries);
	free(settings);
}

/* Values ----------------------------------------------------------------------------- */

int64_t settings_get(const struct settings *settings, enum setting setting)
{
	return settings->values[setting];
}

int settings_get_text(const struct settings *settings, const char *key, char **ret_value)
{
	const struct setting_row *row = setting_find(key);
	const struct entry *entry = settings_find(settings, key);
	const char *value = entry && entry->value ? entry->value : row ? row->fallback : NULL;
	char *copy;

	if (!value)
		return -ENOENT;
	copy = strdup(value);
	if (!copy)
		return -ENOMEM;
	*ret_value = copy;
	return 0;
}

/* "" means the default, and no tier. */
static int check_set(const struct settings *settings, const char *key, const char *value,
		     const struct setting_row **ret_row, int64_t *ret_number, char **ret_message)
{
	const struct setting_row *row = setting_find(key);
	const struct entry *entry = settings_find(settings, key);
	bool known = entry && entry->value;

	if (!conf_value_ok(value))
		return refuse(ret_message,
			      "%s: a value has no quotes, control characters or spaces around it",
			      key);
	if (key_tier_part(key) && !key_is_url(key)) {
		cleanup_free char *url = key_of_tier(key, "url");
		const struct entry *tier = url ? settings_find(settings, url) : NULL;

		if (!tier || !tier->value)
			return url ? -ENOENT : -ENOMEM;
	}
	if (!*value && key_is_tier(key)) {
		*ret_row = NULL;
		return known ? 0 : -ENOENT;
	}
	if (key_is_url(key) && !known && count_tiers(settings) >= SETTINGS_TIERS_MAX)
		return refuse(ret_message, "%s: more than %d tiers", key, SETTINGS_TIERS_MAX);
	return check_value(key, !*value && row ? row->fallback : value, ret_row, ret_number,
			   ret_message);
}

/* The tier with the URL @url is gone. */
static int forget_switches(struct settings *settings, const char *url)
{
	static const char *const parts[] = { "offsite", "uplink" };
	int r = 0;

	for (size_t i = 0; r == 0 && i < ARRAY_SIZE(parts); i++) {
		cleanup_free char *key = key_of_tier(url, parts[i]);

		if (!key)
			return -ENOMEM;
		if (settings_find(settings, key))
			r = put_entry(settings, key, NULL, true);
	}
	return r;
}

int settings_set_text(struct settings *settings, const char *key, const char *value,
		      char **ret_message)
{
	const struct setting_row *row;
	int64_t number = 0;
	int r;

	*ret_message = NULL;
	r = check_set(settings, key, value, &row, &number, ret_message);
	if (r == 0)
		r = put_entry(settings, key, *value ? value : NULL, true);
	if (r == 0 && !*value && key_is_url(key))
		r = forget_switches(settings, key);
	if (r < 0)
		return r;
	if (!row)
		return collect_tiers(settings);
	return take_value(settings, row, *value ? value : row->fallback, number);
}

int settings_override(struct settings *settings, const char *key, const char *value,
		      char **ret_message)
{
	int r = settings_set_text(settings, key, value, ret_message);

	if (r == 0)
		settings_find(settings, key)->changed = false;
	return r;
}

size_t settings_tier_count(const struct settings *settings)
{
	return settings->tier_count;
}

const struct settings_tier *settings_tier(const struct settings *settings, size_t index)
{
	return index < settings->tier_count ? &settings->tiers[index] : NULL;
}

const char *settings_rule(const struct settings *settings, const char *name)
{
	for (size_t i = 0; i < settings->entry_count; i++) {
		const struct entry *entry = &settings->entries[i];

		if (strncmp(entry->key, "rules.", 6) == 0 && strcmp(entry->key + 6, name) == 0)
			return entry->value && *entry->value ? entry->value : NULL;
	}
	return NULL;
}

struct limit_now settings_limit(const struct settings *settings, int64_t realtime_ns)
{
	struct limit_now now = {
		.per_second = (uint64_t)settings_get(settings, SETTING_LIMIT),
		.rule = LIMIT_BY_SETTING,
	};

	if (timetable_at(&settings->timetable, realtime_ns, &now.per_second))
		now.rule = LIMIT_BY_TIMETABLE;
	return now;
}

int64_t settings_limit_until(const struct settings *settings, int64_t realtime_ns)
{
	return timetable_until(&settings->timetable, realtime_ns);
}

int settings_describe(size_t index, const char **ret_key, const char **ret_default,
		      const char **ret_help)
{
	if (index >= setting_row_count)
		return -ENOENT;
	*ret_key = setting_rows[index].key;
	*ret_default = setting_rows[index].fallback;
	*ret_help = setting_rows[index].help;
	return 0;
}
