/* SPDX-License-Identifier: Apache-2.0 */
#include "store/identity.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "util/cleanup.h"
#include "util/io.h"
#include "util/json.h"

#define IDENTITY_NAME "store.json"
#define IDENTITY_MAX_BYTES 65536

bool site_name_ok(const char *name)
{
	static const char allowed[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
				      "0123456789_.-";
	size_t length = strlen(name);

	return length > 0 && length < sizeof(((struct store *)0)->site_name) && name[0] != '.' &&
	       strspn(name, allowed) == length;
}

bool store_is_at(const char *path)
{
	cleanup_free char *name = NULL;

	return asprintf(&name, "%s/" IDENTITY_NAME, path) >= 0 && access(name, F_OK) == 0;
}

int identity_read(struct store *store)
{
	cleanup_free char *text = NULL;
	cleanup_json json_t *root = NULL;
	const char *site, *volume, *name;
	size_t length;
	int64_t format;
	int r;

	r = read_file(store->root_fd, IDENTITY_NAME, IDENTITY_MAX_BYTES, &text, &length);
	if (r == -EFBIG || r == -EISDIR)
		return -EUCLEAN;
	if (r < 0)
		return r;
	root = json_loadb(text, length, JSON_REJECT_DUPLICATES, NULL);
	format = json_int_or(root, "format", 0);
	if (format > STORE_FORMAT_VERSION)
		return -EPROTONOSUPPORT;
	if (format != STORE_FORMAT_VERSION)
		return -EUCLEAN;
	site = json_string_or(root, "site", "");
	volume = json_string_or(root, "volume", "");
	name = json_string_or(root, "name", "");
	if (!uuid_ok(site) || !uuid_ok(volume) || !site_name_ok(name))
		return -EUCLEAN;
	memcpy(store->site_uuid, site, sizeof(store->site_uuid));
	memcpy(store->volume_uuid, volume, sizeof(store->volume_uuid));
	memcpy(store->site_name, name, strlen(name) + 1);
	store->joined = json_is_true(json_object_get(root, "joined"));
	return 0;
}

int identity_write(int root_fd, const struct store_identity *identity)
{
	char site[37], volume[37];
	cleanup_json json_t *root = NULL;
	cleanup_free char *text = NULL;
	int r;

	r = uuid_make(site);
	if (r >= 0)
		r = uuid_make(volume);
	if (r < 0)
		return r;
	root = json_pack("{s:i, s:s, s:s, s:s, s:b}", "format", STORE_FORMAT_VERSION, "site", site,
			 "name", identity->site_name, "volume",
			 identity->volume_uuid ? identity->volume_uuid : volume, "joined",
			 identity->joined);
	text = root ? json_dumps(root, JSON_INDENT(2)) : NULL;
	if (!text)
		return -ENOMEM;
	return write_file(root_fd, IDENTITY_NAME, text, strlen(text), 0644);
}
