/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "cli/offload.h"
#include "transfer/rules.h"
#include "util/cleanup.h"

#define ANSWER_MS 60000

/* Items of which one request tells, in the order of the answers. */
struct asked {
	struct item *items[KNOWN_ITEMS_MAX];
	size_t count, answered;
};

static int take_size(void *arg, const json_t *line)
{
	struct asked *asked = arg;
	const json_t *known = json_object_get(line, "known");

	if (asked->answered == asked->count)
		return -EPROTO;
	asked->items[asked->answered++]->size_known =
		json_is_true(json_object_get(known, "size_known"));
	return 0;
}

/* Ask "known" of @list (reference taken). What cannot be had is as if nothing were known. */
static int ask(struct client *client, json_t *list, client_line_fn fn, void *arg)
{
	cleanup_json json_t *final = NULL;

	if (!list)
		return -ENOMEM;
	return client_call(client, json_pack("{s:s,s:o}", "request", "known", "items", list),
			   ANSWER_MS, fn, arg, &final);
}

int offload_known_sizes(struct offload_card *card)
{
	for (size_t i = 0; card->client && i < card->count;) {
		struct asked asked = { 0 };
		json_t *list = json_array();

		for (; i < card->count && asked.count < KNOWN_ITEMS_MAX; i++) {
			struct item *item = &card->items[i];

			if (item->entry->size < KNOWN_FROM_BYTES)
				continue;
			asked.items[asked.count++] = item;
			if (json_array_append_new(list, json_pack("{s:I}", "size",
								  (json_int_t)item->entry->size)) <
			    0) {
				json_decref(list);
				return -ENOMEM;
			}
		}
		if (asked.count == 0)
			json_decref(list);
		else if (ask(card->client, list, take_size, &asked) == -ENOMEM)
			return -ENOMEM;
	}
	return 0;
}

struct search {
	const struct offload_card *card;
	struct item *item;
};

static int take_file(void *arg, const json_t *line)
{
	struct search *search = arg;
	const json_t *files = json_object_get(json_object_get(line, "known"), "files"), *file;
	size_t i;

	json_array_foreach(files, i, file)
	{
		cleanup_free char *path = json_path_value(json_object_get(file, "path"));

		if (!path || search->item->as || rules_is_unfinished(path) ||
		    !json_is_true(json_object_get(file, "verified")) ||
		    strncmp(path, search->card->below, strlen(search->card->below)) == 0)
			continue;
		search->item->as = take_ptr(path);
	}
	return 0;
}

int offload_known(const struct offload_card *card, struct item *item)
{
	struct search search = { card, item };
	char hex[DIGEST_HEX_SIZE];
	int r;

	digest_hex(&item->digest, hex);
	r = ask(card->client,
		json_pack("[{s:I,s:s}]", "size", (json_int_t)item->entry->size, "digest", hex),
		take_file, &search);
	return r == -ENOMEM ? r : item->as != NULL;
}

struct parts {
	int *results;
	struct digest *digests;
	size_t count, answered;
};

static int judge_part(const json_t *known, struct digest *ret_digest)
{
	const json_t *file = json_array_get(json_object_get(known, "files"), 0);
	const char *hex = json_string_or(known, "digest", NULL);

	if (!file)
		return -ENOENT;
	if (json_is_true(json_object_get(file, "damaged")))
		return -EBADMSG;
	if (!json_is_true(json_object_get(file, "verified")) || !hex)
		return 0;
	return digest_parse(hex, ret_digest) < 0 ? -EPROTO : 1;
}

static int take_part(void *arg, const json_t *line)
{
	struct parts *parts = arg;
	size_t i = parts->answered++;

	if (i >= parts->count)
		return -EPROTO;
	parts->results[i] = judge_part(json_object_get(line, "known"), &parts->digests[i]);
	return 0;
}

int offload_known_parts(struct offload_card *card, struct item *const *items, size_t count,
			int *ret_results, struct digest *ret_digests)
{
	struct parts parts = { ret_results, ret_digests, count, 0 };
	json_t *list = json_array();
	int r;

	for (size_t i = 0; i < count; i++) {
		char part[OFFLOAD_PATH_MAX + 64];
		cleanup_free char *path = NULL;

		(void)offload_part(items[i]->entry->path, part, sizeof(part)); /* it did before */
		if (asprintf(&path, "%s%s", card->below, part) < 0)
			path = NULL;
		if (!path ||
		    json_array_append_new(list, json_pack("{s:o}", "path", json_path(path))) < 0) {
			json_decref(list);
			return -ENOMEM;
		}
	}
	r = ask(card->offload->client, list, take_part, &parts);
	return r == 0 && parts.answered != count ? -EPROTO : r;
}
