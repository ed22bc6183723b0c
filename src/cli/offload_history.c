/* SPDX-License-Identifier: Apache-2.0 */
#include <string.h>

#include "cli/offload.h"
#include "manifest/history.h"
#include "manifest/list.h"
#include "util/xml.h"
#include "util/cleanup.h"
#include "util/io.h"

static int read_chain(int fd, const char *path, struct chain *ret_chain)
{
	cleanup_free char *bytes = NULL;
	unsigned long line;
	const char *why;
	size_t length;
	int r = read_file(fd, path, XML_DOCUMENT_MAX, &bytes, &length);

	return r < 0 ? r : chain_read(bytes, length, ret_chain, &why, &line);
}

static bool goes_on(const struct chain *older, const struct chain *newer)
{
	if (newer->count < older->count)
		return false;
	for (size_t i = 0; i < older->count; i++) {
		const struct chain_entry *a = &older->entries[i], *b = &newer->entries[i];

		if (strcmp(a->path, b->path) != 0 || !a->has_c4 || !b->has_c4 ||
		    memcmp(a->c4, b->c4, sizeof(a->c4)) != 0)
			return false;
	}
	return true;
}

bool offload_history_goes_on(const struct offload_card *card, const char *path)
{
	cleanup_with(chain_fini) struct chain older = { 0 }, newer = { 0 };
	size_t length = strlen(path);
	static const char name[] = HISTORY_FOLDER "/" CHAIN_NAME;

	if (length < strlen(name) || strcmp(path + length - strlen(name), name) != 0 ||
	    (length > strlen(name) && path[length - strlen(name) - 1] != '/'))
		return false;
	return read_chain(card->source.fd, path, &older) == 0 &&
	       read_chain(card->to_fd, path, &newer) == 0 && goes_on(&older, &newer);
}
