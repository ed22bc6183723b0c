/* SPDX-License-Identifier: Apache-2.0 */
#include "manifest/list.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "util/cleanup.h"
#include "util/clock.h"

/* Room for one more of @size bytes in *@array; grows by doubling. False without memory. */
static bool grow(void *array, size_t count, size_t size)
{
	void **slot = array, *moved;

	if (count & (count - 1)) /* doubled at each power of two */
		return true;
	moved = reallocarray(*slot, count ? count * 2 : 1, size);
	if (!moved)
		return false;
	*slot = moved;
	return true;
}

void list_record_fini(struct list_record *record)
{
	free(record->path);
	free(record->previous);
	free(record->hashes);
	free(record->structure);
	*record = (struct list_record){ 0 };
}

void list_fini(struct list *list)
{
	for (size_t i = 0; i < list->record_count; i++)
		list_record_fini(&list->records[i]);
	list_record_fini(&list->root);
	for (size_t i = 0; i < list->ignore_count; i++)
		free(list->ignore[i]);
	for (size_t i = 0; i < list->reference_count; i++)
		free(list->references[i].path);
	free(list->records);
	free(list->ignore);
	free(list->references);
	free(list->comment);
	*list = (struct list){ 0 };
}

struct list_record *list_add(struct list *list)
{
	struct list_record *record;

	if (!grow(&list->records, list->record_count, sizeof(*list->records)))
		return NULL;
	record = &list->records[list->record_count++];
	*record = (struct list_record){ .size = -1, .mtime_ns = NO_TIME };
	return record;
}

int list_add_hash(struct list_hash **hashes, size_t *count, const struct list_hash *hash)
{
	if (!grow(hashes, *count, sizeof(**hashes)))
		return -ENOMEM;
	(*hashes)[(*count)++] = *hash;
	return 0;
}

int list_add_ignore(struct list *list, const char *pattern)
{
	char *copy;

	for (size_t i = 0; i < list->ignore_count; i++) {
		if (strcmp(list->ignore[i], pattern) == 0)
			return 0;
	}
	copy = strdup(pattern);
	if (!copy || !grow(&list->ignore, list->ignore_count, sizeof(*list->ignore))) {
		free(copy);
		return -ENOMEM;
	}
	list->ignore[list->ignore_count++] = copy;
	return 0;
}

int list_add_reference(struct list *list, const char *path, const uint8_t *c4)
{
	char *copy = strdup(path);
	struct list_reference *reference;

	if (!copy || !grow(&list->references, list->reference_count, sizeof(*reference))) {
		free(copy);
		return -ENOMEM;
	}
	reference = &list->references[list->reference_count++];
	reference->path = copy;
	memcpy(reference->c4, c4, sizeof(reference->c4));
	return 0;
}

bool list_hash_agrees(const struct list_hash *recorded, const uint8_t *bytes, bool *ret_turned)
{
	size_t length = hash_bytes(recorded->format);
	bool turned = recorded->swapped;

	if (memcmp(recorded->bytes, bytes, length) == 0)
		return true;
	for (size_t i = 0; turned && i < length; i++)
		turned = recorded->bytes[i] == bytes[length - 1 - i];
	*ret_turned = *ret_turned || turned;
	return turned;
}

const struct list_hash *list_good_hash(const struct list_record *record, enum hash_format format)
{
	for (size_t i = 0; i < record->hash_count; i++) {
		if (record->hashes[i].format == format && record->hashes[i].action != ACTION_FAILED)
			return &record->hashes[i];
	}
	return NULL;
}

void chain_fini(struct chain *chain)
{
	for (size_t i = 0; i < chain->count; i++)
		free(chain->entries[i].path);
	free(chain->entries);
	*chain = (struct chain){ 0 };
}

int chain_add(struct chain *chain, const char *path, const uint8_t *c4)
{
	char *copy = strdup(path);
	struct chain_entry *entry;

	if (!copy || !grow(&chain->entries, chain->count, sizeof(*entry))) {
		free(copy);
		return -ENOMEM;
	}
	entry = &chain->entries[chain->count++];
	*entry = (struct chain_entry){ .path = copy, .sequence = (int64_t)chain->count };
	if (c4) {
		memcpy(entry->c4, c4, sizeof(entry->c4));
		entry->has_c4 = true;
	}
	return 0;
}

/* "+01:00", "-0800", "Z", "" behind a time: seconds east of UTC. False when it is none. */
static bool parse_zone(const char *text, int64_t *ret_seconds)
{
	int hours, minutes, used = 0;
	char sign;

	*ret_seconds = 0;
	if (!*text || strcmp(text, "Z") == 0)
		return true;
	if (sscanf(text, "%c%2d:%2d%n", &sign, &hours, &minutes, &used) != 3 &&
	    sscanf(text, "%c%2d%2d%n", &sign, &hours, &minutes, &used) != 3)
		return false;
	if ((sign != '+' && sign != '-') || text[used] || hours < 0 || hours > 14 || minutes < 0 ||
	    minutes > 59)
		return false;
	*ret_seconds = (sign == '-' ? -1 : 1) * (hours * 3600 + minutes * 60);
	return true;
}

int64_t date_parse(const char *text)
{
	struct tm tm = { 0 };
	int64_t zone, fraction = 0, scale = NS_PER_SEC / 10, seconds;
	int used = 0;

	/* Drafts of legacy MHL wrote "2012-11-24 10-32-36". */
	if (sscanf(text, "%4d-%2d-%2d%*[T ]%2d%*[:-]%2d%*[:-]%2d%n", &tm.tm_year, &tm.tm_mon,
		   &tm.tm_mday, &tm.tm_hour, &tm.tm_min, &tm.tm_sec, &used) != 6 ||
	    !used)
		return NO_TIME;
	text += used;
	if (*text == '.') {
		for (text++; *text >= '0' && *text <= '9'; text++, scale /= 10)
			fraction += (*text - '0') * scale;
	}
	if (!parse_zone(text, &zone))
		return NO_TIME;
	/* What int64_t nanoseconds can hold. */
	if (tm.tm_year < 1700 || tm.tm_year > 2200 || tm.tm_mon < 1 || tm.tm_mon > 12)
		return NO_TIME;
	tm.tm_year -= 1900;
	tm.tm_mon -= 1;
	seconds = (int64_t)timegm(&tm) - zone;
	return seconds * NS_PER_SEC + fraction;
}

char *date_format(int64_t ns, enum date_form form, char buffer[DATE_SIZE])
{
	struct timespec ts = ns_timespec(ns);
	char fraction[24] = "";
	struct tm tm;

	(void)gmtime_r(&ts.tv_sec, &tm);
	if (form == DATE_NAME) {
		(void)strftime(buffer, DATE_SIZE, "%Y-%m-%d_%H%M%S", &tm);
		return buffer;
	}
	(void)strftime(buffer, DATE_SIZE, "%Y-%m-%dT%H:%M:%S", &tm);
	if (form == DATE_MICROS && ts.tv_nsec >= 1000)
		(void)snprintf(fraction, sizeof(fraction), ".%06ld", (long)ts.tv_nsec / 1000);
	(void)strcat(strcat(buffer, fraction), form == DATE_ZULU ? "Z" : "+00:00");
	return buffer;
}
