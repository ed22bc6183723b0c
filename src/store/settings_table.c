/* SPDX-License-Identifier: Apache-2.0 */
#include "store/settings_table.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "hash/formats.h"
#include "util/cleanup.h"
#include "util/clock.h"
#include "util/timetable.h"
#include "util/units.h"

#define SECONDS NS_PER_SEC
#define HOURS (3600 * NS_PER_SEC)
#define DAYS (24 * HOURS)
#define RATE_MAX (1ll << 50)
#define TIER_NAME_MAX 63

const struct setting_row setting_rows[] = {
	{ SETTING_VERIFY, TYPE_CHOICE, "ingest.verify", "async", 0, 1, "async|close",
	  "async: files are read back in the background; close: close() waits for it and fails "
	  "with EIO when the bytes differ (local use only, never under Samba)" },
	{ SETTING_VERIFY_RATE, TYPE_RATE, "ingest.verify_rate", "0", 0, RATE_MAX,
	  "a rate such as 200M, 0 for no limit", "read-back at most this fast, bytes per second" },
	{ SETTING_SCRUB_INTERVAL, TYPE_DURATION, "ingest.scrub_interval", "30d", 0, 3650 * DAYS,
	  "a duration up to 3650d, 0 for never",
	  "every file is read and checked again once in this time, when the disk is idle" },
	{ SETTING_SETTLE, TYPE_DURATION, "ingest.settle", "5s", 0, DAYS, "a duration up to 1d",
	  "a closed file is left alone this long before it is sent, a small one a fifth of it" },
	{ SETTING_EVICT_ABOVE, TYPE_PERCENT, "space.evict_above", "80%", 0, 1000,
	  "a percentage, 0% for never",
	  "blocks of stored files are freed while the disk is fuller than this" },
	{ SETTING_RESERVE, TYPE_PERCENT, "space.reserve", "5%", 0, 500, "a percentage up to 50%",
	  "kept free for the catalog: writers get ENOSPC before" },
	{ SETTING_LIMIT, TYPE_RATE, "transfer.limit", "0", 0, RATE_MAX,
	  "a rate such as 20M, 0 for no limit", "up and down together, bytes per second" },
	{ -1, TYPE_TIMETABLE, "transfer.timetable", "", 0, 0,
	  "entries such as \"mon-fri 07:00-19:00 20M\" with commas between",
	  "limits by the hours of the week, in local time; the first that holds rules, "
	  "and limit where none does" },
	{ SETTING_METERED, TYPE_SWITCH, "transfer.metered", "no", 0, 1, "yes or no",
	  "the line costs by the byte: originals wait, all else is sent, readers are served" },
	{ SETTING_LOWER_EFFORT, TYPE_SWITCH, "transfer.lower_effort", "yes", 0, 1, "yes or no",
	  "what carries originals to a bucket is marked (DSCP LE): routers that know it let all "
	  "else go first" },
	{ SETTING_PAUSE, TYPE_SWITCH, "transfer.pause", "no", 0, 1, "yes or no",
	  "nothing is sent; readers who wait are still served" },
	{ SETTING_RETRY_MAX, TYPE_DURATION, "transfer.retry_max", "10min", 100 * NS_PER_MS, DAYS,
	  "a duration from 100ms to 1d", "longest pause between two attempts" },
	{ SETTING_REQUIRED_COPIES, TYPE_COUNT, "transfer.required_copies", "1", 1, 16,
	  "a number from 1 to 16", "verified copies elsewhere before a block may be freed" },
	{ SETTING_OVERWRITE_WAIT, TYPE_DURATION, "transfer.overwrite_wait", "10min", 0, DAYS,
	  "a duration up to 1d; less than 10min only where no other site writes",
	  "where a server cannot refuse to write over an object, a copy counts this long after it "
	  "was stored, for eviction and for safe" },
	{ SETTING_HYDRATE_TIMEOUT, TYPE_DURATION, "transfer.hydrate_timeout", "60s",
	  100 * NS_PER_MS, DAYS, "a duration from 100ms to 1d",
	  "a reader of absent blocks waits this long, then gets an error" },
	{ SETTING_READ_AHEAD, TYPE_BYTES, "transfer.read_ahead", "32M", 0, 1ll << 30,
	  "a size up to 1G", "fetched ahead of a reader" },
	{ SETTING_SAFE_COPIES, TYPE_COUNT, "safe.copies", "2", 1, 16, "a number from 1 to 16",
	  "good copies that a card's files must have before it may be formatted; a whole file in "
	  "the store counts as one" },
	{ SETTING_SAFE_OFFSITE, TYPE_COUNT, "safe.offsite", "1", 0, 16, "a number from 0 to 16",
	  "so many of them in tiers that are another place (tier.NAME.offsite)" },
	{ SETTING_SAFE_DISTINCT, TYPE_SWITCH, "safe.distinct_devices", "yes", 0, 1, "yes or no",
	  "copies on one disk count as one" },
	{ SETTING_SYNC_POLL, TYPE_DURATION, "sync.poll", "2s", 100 * NS_PER_MS, HOURS,
	  "a duration from 100ms to 1h", "other sites are looked at once in this time" },
	{ SETTING_SYNC_FLUSH, TYPE_DURATION, "sync.flush", "1s", 10 * NS_PER_MS, HOURS,
	  "a duration from 10ms to 1h",
	  "other sites are told at most once in this time, of all that changed" },
	{ SETTING_MANIFEST_KIND, TYPE_CHOICE, "manifest.kind", "asc", 0, MANIFEST_NONE,
	  "asc|legacy|both|none",
	  "what is written into the folder of a card when all of it is verified: a history (ASC "
	  "MHL), a list (MHL 1.1), both or nothing" },
	{ SETTING_MANIFEST_HASH, TYPE_HASHES, "manifest.hash", "xxh128", 1,
	  HASH_BIT(HASH_XXH32) - 1,
	  "some of c4, md5, sha1, xxh128, xxh3 and xxh64, with commas between",
	  "the hashes in it, made while files are read back; a list takes md5, sha1 and xxh64, and "
	  "xxh64 if none of them is asked for" },
	{ SETTING_MANIFEST_SEAL, TYPE_SWITCH, "manifest.seal", "yes", 0, 1, "yes or no",
	  "with its manifest the folder is sealed: what is there can no longer be changed, renamed "
	  "or "
	  "removed" },
	{ SETTING_MANIFEST_SETTLE, TYPE_DURATION, "manifest.settle", "1min", 0, DAYS,
	  "a duration up to 1d",
	  "the folder of a card is left alone this long after its last file was verified" },
	{ -1, TYPE_GLOBS, "rules.ignore", "", 0, 0, "globs separated by spaces",
	  "files that never leave this machine (empty: the built-in list)" },
	{ -1, TYPE_GLOBS, "rules.priority.notes", "", 0, 0, "globs separated by spaces",
	  "sent first: notes, reports, sidecars (empty: the built-in list)" },
	{ -1, TYPE_GLOBS, "rules.priority.sound", "", 0, 0, "globs separated by spaces",
	  "sent next: sound (empty: the built-in list)" },
	{ -1, TYPE_GLOBS, "rules.priority.proxies", "", 0, 0, "globs separated by spaces",
	  "sent before originals: proxies (empty: the built-in list)" },
	{ -1, TYPE_GLOBS, "rules.priority.originals", "", 0, 0, "globs separated by spaces",
	  "sent last, with all that no other rule names (empty: the built-in list)" },
};
const size_t setting_row_count = ARRAY_SIZE(setting_rows);

const struct setting_row *setting_find(const char *key)
{
	for (size_t i = 0; i < setting_row_count; i++) {
		if (strcmp(setting_rows[i].key, key) == 0)
			return &setting_rows[i];
	}
	return NULL;
}

static int find_word(const char *words, const char *text, int64_t *ret_index)
{
	size_t length = strlen(text);
	int64_t index = 0;

	for (const char *word = words;; word++, index++) {
		size_t word_length = strcspn(word, "|");

		if (word_length == length && strncmp(word, text, length) == 0) {
			*ret_index = index;
			return 0;
		}
		word += word_length;
		if (!*word)
			return -EINVAL;
	}
}

static int parse_switch(const char *text, int64_t *ret_value)
{
	static const char *const off[] = { "no", "false", "off", "0" };
	static const char *const on[] = { "yes", "true", "on", "1" };

	for (size_t i = 0; i < ARRAY_SIZE(on); i++) {
		if (strcmp(text, on[i]) != 0 && strcmp(text, off[i]) != 0)
			continue;
		*ret_value = strcmp(text, on[i]) == 0;
		return 0;
	}
	return -EINVAL;
}

static int parse_count(const char *text, int64_t *ret_value)
{
	int64_t value = 0;

	if (!*text || strlen(text) > 9)
		return -EINVAL;
	for (; *text; text++) {
		if (*text < '0' || *text > '9')
			return -EINVAL;
		value = value * 10 + (*text - '0');
	}
	*ret_value = value;
	return 0;
}

static int parse_hashes(const char *text, int64_t *ret_formats)
{
	int64_t formats = 0;

	for (;; text++) {
		enum hash_format format;
		size_t length;

		text += strspn(text, " ");
		length = strcspn(text, ", ");
		if (hash_format_parse(text, length, &format) < 0)
			return -EINVAL;
		formats |= HASH_BIT(format);
		text += length;
		text += strspn(text, " ");
		if (!*text) {
			*ret_formats = formats;
			return 0;
		}
		if (*text != ',')
			return -EINVAL;
	}
}

int setting_value(const struct setting_row *row, const char *text, int64_t *ret_value)
{
	struct timetable table;
	uint64_t bytes = 0;
	int64_t value = 0;
	int r = -EINVAL;

	switch (row->type) {
	case TYPE_CHOICE:
		r = find_word(row->allowed, text, &value);
		break;
	case TYPE_SWITCH:
		r = parse_switch(text, &value);
		break;
	case TYPE_COUNT:
		r = parse_count(text, &value);
		break;
	case TYPE_BYTES:
	case TYPE_RATE:
		r = row->type == TYPE_RATE ? parse_rate(text, &bytes) : parse_bytes(text, &bytes);
		value = bytes > INT64_MAX ? INT64_MAX : (int64_t)bytes;
		break;
	case TYPE_DURATION:
		r = parse_duration(text, &value);
		break;
	case TYPE_PERCENT:
		r = strcmp(text, "0") == 0 ? 0 : parse_percent(text, &value);
		break;
	case TYPE_HASHES:
		r = parse_hashes(text, &value);
		break;
	case TYPE_TIMETABLE:
		r = timetable_parse(text, &table);
		break;
	case TYPE_GLOBS:
		r = 0;
		break;
	}
	if (r < 0)
		return r;
	if (value < row->min || value > row->max)
		return -EINVAL;
	*ret_value = value;
	return 0;
}

bool key_is_tier(const char *key)
{
	return strncmp(key, "tier.", 5) == 0;
}

bool tier_name_ok(const char *name, size_t length)
{
	static const char allowed[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
				      "0123456789_-";

	return length > 0 && length <= TIER_NAME_MAX && strspn(name, allowed) >= length;
}

const char *key_tier_part(const char *key)
{
	const char *dot = key_is_tier(key) ? strchr(key + 5, '.') : NULL;

	if (!dot || !tier_name_ok(key + 5, (size_t)(dot - key - 5)))
		return NULL;
	return strcmp(dot, ".url") == 0 || strcmp(dot, ".offsite") == 0 ||
			       strcmp(dot, ".uplink") == 0
		       ? dot + 1
		       : NULL;
}

bool key_is_url(const char *key)
{
	const char *part = key_tier_part(key);

	return part && strcmp(part, "url") == 0;
}

int settings_tier_name(const char *key, char **ret_name)
{
	char *name;

	if (!key_is_url(key))
		return 0;
	name = strndup(key + 5, strcspn(key + 5, "."));
	if (!name)
		return -ENOMEM;
	*ret_name = name;
	return 1;
}

char *key_of_tier(const char *key, const char *part)
{
	int length = (int)(key_tier_part(key) - key);
	char *other;

	return asprintf(&other, "%.*s%s", length, key, part) < 0 ? NULL : other;
}
