/* SPDX-License-Identifier: Apache-2.0 */
#include "manifest/list.h"

/*
 * Reading. ASC MHL: namespace urn:ASC:MHL:v2.0, version 2.0; chain: urn:ASC:MHL:DIRECTORY:v2.0;
 * legacy MHL: no namespace, version 1.0 or 1.1. Source: ASC MHL Specification v1.0, sections 6 and
 * 7; MediaHashList_v1_1.xsd. What is unknown is passed over, what is known has to be right.
 */
#include <endian.h>
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "util/xml.h"
#include "util/cleanup.h"
#include "util/io.h"

#define ASC_NAMESPACE "urn:ASC:MHL:v2.0"
#define CHAIN_NAMESPACE "urn:ASC:MHL:DIRECTORY:v2.0"

struct reading {
	struct list *list;
	struct list_record *record; /* of the list, being read; NULL */
	bool null;                  /* legacy: says that it has no hash */
	struct list_hash hash;      /* attributes of the element being read */
	char *reference;            /* owned: path of the reference being read */
	struct chain *chain;
	int64_t sequence;
	char *entry; /* owned: path of the chain's entry being read */
	struct chain_entry value;
	const char *why;
};

static int refuse(struct reading *reading, const char *why)
{
	reading->why = why;
	return -EPROTO;
}

static bool is_space(char c)
{
	return c == ' ' || c == '\t' || c == '\n' || c == '\r';
}

/* @text without white space around it, in @buffer; NULL when it does not fit. */
static char *trim(const char *text, char *buffer, size_t size)
{
	size_t length;

	while (is_space(*text))
		text++;
	length = strlen(text);
	while (length && is_space(text[length - 1]))
		length--;
	if (length >= size)
		return NULL;
	memcpy(buffer, text, length);
	buffer[length] = '\0';
	return buffer;
}

/* Decimal without sign; -1 when it is none. */
static int64_t parse_number(const char *text)
{
	char buffer[32], *end;
	int64_t value;

	if (!text || !trim(text, buffer, sizeof(buffer)) || buffer[0] < '0' || buffer[0] > '9')
		return -1;
	errno = 0;
	value = strtoll(buffer, &end, 10);
	return *end || errno ? -1 : value;
}

/* A path as it may be used: relative, downwards; some programs end those of folders with '/'. */
static int take_path(struct reading *reading, const char *text, char **ret_path)
{
	char *path = strdup(text);
	size_t length = path ? strlen(path) : 0;

	if (!path)
		return -ENOMEM;
	if (length > 1 && path[length - 1] == '/')
		path[length - 1] = '\0';
	if (!path_ok(path)) {
		free(path);
		return refuse(reading, "a path in it leads out of the folder, or is none");
	}
	free(*ret_path);
	*ret_path = path;
	return 0;
}

static void take_dates(struct list_record *record, const struct xml_element *element)
{
	const char *size = xml_attribute(element, "size");
	const char *mtime = xml_attribute(element, "lastmodificationdate");

	if (size)
		record->size = parse_number(size);
	if (mtime)
		record->mtime_ns = date_parse(mtime);
}

/* ASC MHL ------------------------------------------------------------------------------- */

static void start_hash(struct reading *reading, const struct xml_element *element)
{
	const char *action = xml_attribute(element, "action");
	const char *date = xml_attribute(element, "hashdate");

	reading->hash = (struct list_hash){ .date_ns = date ? date_parse(date) : NO_TIME };
	if (!action)
		return;
	if (strcmp(action, "original") == 0)
		reading->hash.action = ACTION_ORIGINAL;
	else if (strcmp(action, "verified") == 0)
		reading->hash.action = ACTION_VERIFIED;
	else if (strcmp(action, "failed") == 0)
		reading->hash.action = ACTION_FAILED;
}

/* The end of an element "…/md5": into @hashes; what is no hash is passed over. */
static int end_hash(struct reading *reading, const char *name, const char *text,
		    struct list_hash **hashes, size_t *count)
{
	char value[HASH_TEXT_SIZE];

	if (hash_format_parse(name, strlen(name), &reading->hash.format) < 0 ||
	    reading->hash.format == HASH_XXH32)
		return 0;
	if (!trim(text, value, sizeof(value)) ||
	    hash_parse(reading->hash.format, value, reading->hash.bytes) < 0)
		return refuse(reading, "a hash in it is not written as its format wants");
	return list_add_hash(hashes, count, &reading->hash);
}

/* What is below "hash" or "directoryhash" ("path", "content/md5"). */
static int record_element(struct reading *reading, const char *name,
			  const struct xml_element *element)
{
	struct list_record *record = reading->record;
	const char *slash = strchr(name, '/');

	if (!element->text) {
		if (strcmp(name, "path") == 0)
			take_dates(record, element);
		else
			start_hash(reading, element);
		return 0;
	}
	if (strcmp(name, "path") == 0)
		return take_path(reading, element->text, &record->path);
	if (strcmp(name, "previousPath") == 0)
		return take_path(reading, element->text, &record->previous);
	if (!slash)
		return record->folder ? 0
				      : end_hash(reading, name, element->text, &record->hashes,
						 &record->hash_count);
	if (record->folder && strncmp(name, "content/", 8) == 0)
		return end_hash(reading, slash + 1, element->text, &record->hashes,
				&record->hash_count);
	if (record->folder && strncmp(name, "structure/", 10) == 0)
		return end_hash(reading, slash + 1, element->text, &record->structure,
				&record->structure_count);
	return 0;
}

static int begin_record(struct reading *reading, bool folder)
{
	reading->record = list_add(reading->list);
	if (!reading->record)
		return -ENOMEM;
	reading->record->folder = folder;
	reading->null = false;
	return 0;
}

static int end_record(struct reading *reading)
{
	bool bare = reading->list->kind == LIST_LEGACY && !reading->null &&
		    reading->record->hash_count == 0;

	if (!reading->record->path)
		return refuse(reading, "an entry in it has no path");
	if (bare)
		return refuse(reading, "an entry in it has no hash that is known");
	reading->record = NULL;
	return 0;
}

static int reference_element(struct reading *reading, const char *name,
			     const struct xml_element *element)
{
	char text[HASH_TEXT_SIZE];
	uint8_t c4[HASH_MAX_BYTES];

	if (!element->text)
		return 0;
	if (strcmp(name, "path") == 0)
		return take_path(reading, element->text, &reading->reference);
	if (strcmp(name, "c4") != 0)
		return 0;
	if (!reading->reference || !trim(element->text, text, sizeof(text)) ||
	    hash_parse(HASH_C4, text, c4) < 0)
		return refuse(reading, "a reference in it has no path or no C4");
	return list_add_reference(reading->list, reading->reference, c4);
}

static int take_process(struct reading *reading, const char *text)
{
	char word[16];

	if (!trim(text, word, sizeof(word)))
		return refuse(reading, "its process is unknown");
	if (strcmp(word, "transfer") == 0)
		reading->list->process = PROCESS_TRANSFER;
	else if (strcmp(word, "flatten") == 0)
		reading->list->process = PROCESS_FLATTEN;
	else if (strcmp(word, "in-place") == 0)
		reading->list->process = PROCESS_IN_PLACE;
	else
		return refuse(reading, "its process is unknown");
	return 0;
}

/* The rest of @path after @prefix; NULL when it does not begin with that. */
static const char *below(const char *path, const char *prefix)
{
	size_t length = strlen(prefix);

	return strncmp(path, prefix, length) == 0 ? path + length : NULL;
}

static int asc_element(struct reading *reading, const struct xml_element *element)
{
	const char *path = element->path, *name;
	struct list *list = reading->list;

	name = below(path, "hashlist/hashes/hash/");
	if (!name)
		name = below(path, "hashlist/hashes/directoryhash/");
	if (name)
		return record_element(reading, name, element);
	if (strcmp(path, "hashlist/hashes/hash") == 0 ||
	    strcmp(path, "hashlist/hashes/directoryhash") == 0)
		return element->text
			       ? end_record(reading)
			       : begin_record(reading, path[strlen("hashlist/hashes/")] == 'd');
	name = below(path, "hashlist/processinfo/roothash/");
	if (name) {
		reading->record = &list->root;
		return record_element(reading, name, element);
	}
	name = below(path, "hashlist/references/hashlistreference/");
	if (name)
		return reference_element(reading, name, element);
	if (!element->text)
		return 0;
	if (strcmp(path, "hashlist/processinfo/process") == 0)
		return take_process(reading, element->text);
	if (strcmp(path, "hashlist/processinfo/ignore/pattern") == 0)
		return list_add_ignore(list, element->text);
	if (strcmp(path, "hashlist/creatorinfo/creationdate") == 0)
		list->created_ns = date_parse(element->text);
	if (strcmp(path, "hashlist/creatorinfo/comment") == 0 && !list->comment) {
		list->comment = strdup(element->text);
		return list->comment ? 0 : -ENOMEM;
	}
	return 0;
}

/* Legacy MHL ---------------------------------------------------------------------------- */

static const struct {
	const char *name;
	enum hash_format format;
	bool swapped;
} legacy_hashes[] = {
	{ "md5", HASH_MD5, false },
	{ "sha1", HASH_SHA1, false },
	{ "xxhash", HASH_XXH32, false },
	{ "xxhash64", HASH_XXH64, true },
	{ "xxhash64be", HASH_XXH64, false },
	/* In no schema, but met. */
	{ "xxhash128", HASH_XXH128, false },
	{ "xxhash3_64", HASH_XXH3, false },
};

static void reverse(uint8_t *bytes, size_t length)
{
	for (size_t i = 0; i < length / 2; i++) {
		uint8_t kept = bytes[i];

		bytes[i] = bytes[length - 1 - i];
		bytes[length - 1 - i] = kept;
	}
}

static int legacy_hash(struct reading *reading, size_t kind, const char *text)
{
	struct list_hash hash = { .format = legacy_hashes[kind].format,
				  .date_ns = NO_TIME,
				  .swapped = legacy_hashes[kind].swapped };
	char value[HASH_TEXT_SIZE];
	bool good = trim(text, value, sizeof(value)) != NULL;

	if (good && hash.format == HASH_XXH32) {
		int64_t number = parse_number(value);
		uint32_t word = htobe32((uint32_t)number);

		good = number >= 0 && number <= UINT32_MAX;
		memcpy(hash.bytes, &word, sizeof(word));
	} else if (good) {
		good = hash_parse(hash.format, value, hash.bytes) == 0;
	}
	if (!good)
		return refuse(reading, "a hash in it is not written as its format wants");
	if (hash.swapped)
		reverse(hash.bytes, hash_bytes(hash.format));
	return list_add_hash(&reading->record->hashes, &reading->record->hash_count, &hash);
}

static int legacy_element(struct reading *reading, const struct xml_element *element)
{
	const char *path = element->path, *name;
	struct list_record *record = reading->record;

	if (strcmp(path, "hashlist/hash") == 0)
		return element->text ? end_record(reading) : begin_record(reading, false);
	name = below(path, "hashlist/hash/");
	if (!element->text || !name) {
		if (element->text && strcmp(path, "hashlist/creationdate") == 0)
			reading->list->created_ns = date_parse(element->text);
		return 0;
	}
	if (strcmp(name, "file") == 0)
		return take_path(reading, element->text, &record->path);
	if (strcmp(name, "null") == 0)
		reading->null = true;
	else if (strcmp(name, "size") == 0)
		record->size = parse_number(element->text);
	else if (strcmp(name, "lastmodificationdate") == 0)
		record->mtime_ns = date_parse(element->text);
	for (size_t i = 0; i < ARRAY_SIZE(legacy_hashes); i++) {
		if (strcmp(name, legacy_hashes[i].name) == 0)
			return legacy_hash(reading, i, element->text);
	}
	return 0;
}

/* Both ---------------------------------------------------------------------------------- */

static int root_element(struct reading *reading, const struct xml_element *element)
{
	const char *version = xml_attribute(element, "version");

	if (strcmp(element->path, "hashlist") != 0 || !version)
		return refuse(reading, "it is no hash list");
	if (strcmp(element->namespace, ASC_NAMESPACE) == 0) {
		reading->list->kind = LIST_ASC;
		return strcmp(version, "2.0") == 0
			       ? 0
			       : refuse(reading, "its version is newer than 2.0, or unknown");
	}
	reading->list->kind = LIST_LEGACY;
	if (*element->namespace)
		return refuse(reading, "it is no hash list");
	if (strcmp(version, "1.0") != 0 && strcmp(version, "1.1") != 0)
		return refuse(reading, "its version is neither 1.0 nor 1.1, nor is it ASC MHL");
	return 0;
}

static int list_element(void *arg, const struct xml_element *element)
{
	struct reading *reading = arg;

	if (!strchr(element->path, '/'))
		return element->text ? 0 : root_element(reading, element);
	return reading->list->kind == LIST_ASC ? asc_element(reading, element)
					       : legacy_element(reading, element);
}

static int by_path(const void *a, const void *b)
{
	const struct list_record *const *x = a, *const *y = b;

	return strcmp((*x)->path, (*y)->path);
}

/* ASC MHL forbids two records for one path; whichever counted, the other would be a lie. */
static int refuse_twice(struct reading *reading)
{
	const struct list *list = reading->list;
	cleanup_free const struct list_record **sorted = NULL;

	sorted = calloc(list->record_count + 1, sizeof(const struct list_record *));
	if (!sorted)
		return -ENOMEM;
	for (size_t i = 0; i < list->record_count; i++)
		sorted[i] = &list->records[i];
	qsort(sorted, list->record_count, sizeof(const struct list_record *), by_path);
	for (size_t i = 1; i < list->record_count; i++) {
		if (strcmp(sorted[i - 1]->path, sorted[i]->path) == 0)
			return refuse(reading, "it has two entries for one path");
	}
	return 0;
}

int list_read(const void *bytes, size_t length, struct list *ret_list, const char **ret_why,
	      unsigned long *ret_line)
{
	struct reading reading = { .list = ret_list, .why = "it is not well-formed XML" };
	int r;

	*ret_list = (struct list){ .created_ns = NO_TIME, .root = { .folder = true } };
	r = xml_read(bytes, length, list_element, &reading, ret_line);
	free(reading.reference);
	if (r == 0 && ret_list->kind == LIST_ASC) {
		*ret_line = 0;
		r = refuse_twice(&reading);
	} else if (r == 0 && ret_list->record_count == 0) {
		r = refuse(&reading, "it lists nothing");
	}
	*ret_why = reading.why;
	return r;
}

/* Chain --------------------------------------------------------------------------------- */

static int end_entry(struct reading *reading)
{
	struct chain *chain = reading->chain;
	int r;

	if (!reading->entry || strchr(reading->entry, '/'))
		return refuse(reading, "an entry in it names no file of this folder");
	if (reading->sequence != (int64_t)chain->count + 1)
		return refuse(reading, "its entries are not numbered 1, 2, 3 ...");
	r = chain_add(chain, reading->entry, reading->value.has_c4 ? reading->value.c4 : NULL);
	free(reading->entry);
	reading->entry = NULL;
	return r;
}

static int chain_element(void *arg, const struct xml_element *element)
{
	struct reading *reading = arg;
	const char *path = element->path, *number;
	char text[HASH_TEXT_SIZE];

	if (!strchr(path, '/') && !element->text &&
	    (strcmp(path, "ascmhldirectory") != 0 ||
	     strcmp(element->namespace, CHAIN_NAMESPACE) != 0))
		return refuse(reading, "it is no chain of ASC MHL");
	if (strcmp(path, "ascmhldirectory/hashlist") == 0) {
		if (element->text)
			return end_entry(reading);
		number = xml_attribute(element, "sequencenr");
		if (!number)
			number = xml_attribute(element, "sequencer");
		reading->sequence = parse_number(number);
		reading->value = (struct chain_entry){ 0 };
	} else if (element->text && strcmp(path, "ascmhldirectory/hashlist/path") == 0) {
		return take_path(reading, element->text, &reading->entry);
	} else if (element->text && strcmp(path, "ascmhldirectory/hashlist/c4") == 0) {
		reading->value.has_c4 = trim(element->text, text, sizeof(text)) &&
					hash_parse(HASH_C4, text, reading->value.c4) == 0;
	}
	return 0;
}

int chain_read(const void *bytes, size_t length, struct chain *ret_chain, const char **ret_why,
	       unsigned long *ret_line)
{
	struct reading reading = { .chain = ret_chain, .why = "it is not well-formed XML" };
	int r;

	*ret_chain = (struct chain){ 0 };
	r = xml_read(bytes, length, chain_element, &reading, ret_line);
	free(reading.entry);
	if (r == 0 && ret_chain->count == 0)
		r = refuse(&reading, "it lists nothing");
	*ret_why = reading.why;
	return r;
}
