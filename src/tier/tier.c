/* SPDX-License-Identifier: Apache-2.0 */
#include "tier/tier.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "tier/internal.h"
#include "util/cleanup.h"
#include "util/io.h"
#include "util/json.h"

static const struct tier_backend *const backends[] = { &dir_backend, &s3_backend };

int identity_parse(const void *bytes, size_t length, struct tier_identity *ret_identity)
{
	cleanup_json json_t *root = json_loadb(bytes, length, JSON_REJECT_DUPLICATES, NULL);
	const char *tier = json_string_or(root, "tier", "");
	const char *volume = json_string_or(root, "volume", "");
	int64_t format = json_int_or(root, "format", 0);

	if (format > TIER_FORMAT_VERSION)
		return -EPROTONOSUPPORT;
	if (format != TIER_FORMAT_VERSION || !uuid_ok(tier) || !uuid_ok(volume))
		return -EUCLEAN;
	memcpy(ret_identity->tier_uuid, tier, sizeof(ret_identity->tier_uuid));
	memcpy(ret_identity->volume_uuid, volume, sizeof(ret_identity->volume_uuid));
	return 0;
}

char *identity_format(const struct tier_identity *identity)
{
	cleanup_json json_t *root =
		json_pack("{s:i, s:s, s:s}", "format", TIER_FORMAT_VERSION, "tier",
			  identity->tier_uuid, "volume", identity->volume_uuid);

	return root ? json_dumps(root, JSON_INDENT(2)) : NULL;
}

static const struct tier_backend *find_backend(const char *url)
{
	const char *scheme = *url == '/' ? "file" : url;
	size_t length = *url == '/' ? strlen("file") : strcspn(url, ":");

	for (size_t i = 0; i < ARRAY_SIZE(backends); i++) {
		if (strlen(backends[i]->scheme) == length &&
		    strncmp(backends[i]->scheme, scheme, length) == 0)
			return backends[i];
	}
	return NULL;
}

int tier_open(const char *name, const char *url, struct tier **ret_tier)
{
	cleanup_with(tier_close_slot) struct tier *tier = NULL;
	const struct tier_backend *backend;
	int r;

	if (*url != '/' && !strstr(url, "://"))
		return -EINVAL;
	backend = find_backend(url);
	if (!backend)
		return -EPROTONOSUPPORT;
	r = backend->open(url, &tier);
	if (r < 0)
		return r;
	tier->backend = backend;
	tier->name = strdup(name);
	tier->url = strdup(url);
	if (!tier->name || !tier->url)
		return -ENOMEM;
	*ret_tier = take_ptr(tier);
	return 0;
}

bool tier_may_overwrite(struct tier *tier, uint64_t size)
{
	return tier->backend->may_overwrite && tier->backend->may_overwrite(tier, size);
}

unsigned tier_parallel(struct tier *tier)
{
	return tier->backend->parallel ? tier->backend->parallel(tier) : 0;
}

void tier_set_owner(struct tier *tier, const char *site_uuid)
{
	if (uuid_ok(site_uuid))
		memcpy(tier->owner, site_uuid, sizeof(tier->owner));
}

void tier_close(struct tier *tier)
{
	if (!tier)
		return;
	free(tier->name);
	free(tier->url);
	free(atomic_load(&tier->expected));
	tier->backend->close(tier);
}

void tier_stop(struct tier *tier)
{
	if (tier->backend->stop)
		tier->backend->stop(tier);
}

const char *tier_why(struct tier *tier, char *buffer, size_t size)
{
	buffer[0] = 0;
	if (tier->backend->why)
		tier->backend->why(tier, buffer, size);
	return buffer;
}

int tier_read_back(struct tier *tier, const char *key, const struct tier_object *object,
		   const struct tier_source *pace)
{
	struct digest digest;
	uint64_t size;
	int r = tier->backend->check(tier, key, pace, &digest, &size);

	if (r < 0)
		return r;
	return size == object->size && digest_equal(&digest, &object->digest) ? 0 : -EBADMSG;
}

int tier_verify(struct tier *tier, const char *key, const struct tier_object *object,
		const struct tier_source *pace)
{
	int r = tier->backend->confirm ? tier->backend->confirm(tier, key, object) : -ENOTSUP;

	return r == -ENOTSUP ? tier_read_back(tier, key, object, pace) : r;
}

static int read_identity(struct tier *tier, struct tier_identity *ret_identity)
{
	cleanup_free void *bytes = NULL;
	size_t length;
	int r;

	r = tier->backend->get_small(tier, TIER_IDENTITY_KEY, TIER_IDENTITY_MAX, &bytes, &length);
	if (r < 0)
		return r;
	return identity_parse(bytes, length, ret_identity);
}

static int write_identity(struct tier *tier, const char *volume_uuid)
{
	struct tier_identity identity;
	cleanup_free char *text = NULL;
	int r;

	memcpy(identity.volume_uuid, volume_uuid, sizeof(identity.volume_uuid));
	r = uuid_make(identity.tier_uuid);
	if (r < 0)
		return r;
	text = identity_format(&identity);
	if (!text)
		return -ENOMEM;
	return tier->backend->put_small(tier, TIER_IDENTITY_KEY, text, strlen(text), 0);
}

int tier_claim(struct tier *tier, const char *volume_uuid, char ret_tier_uuid[37])
{
	struct tier_identity identity;
	int r;

	if (!uuid_ok(volume_uuid))
		return -EINVAL;
	r = read_identity(tier, &identity);
	if (r == -ENOENT) {
		r = write_identity(tier, volume_uuid);
		if (r < 0 && r != -EEXIST)
			return r;
		/* Ours, or that of another site that was faster. */
		r = read_identity(tier, &identity);
	}
	if (r < 0)
		return r;
	if (strcmp(identity.volume_uuid, volume_uuid) != 0)
		return -EMEDIUMTYPE;
	memcpy(ret_tier_uuid, identity.tier_uuid, sizeof(identity.tier_uuid));
	return 0;
}

int tier_expect(struct tier *tier, const char *tier_uuid)
{
	char *copy, *none = NULL;

	if (!uuid_ok(tier_uuid))
		return -EINVAL;
	copy = strdup(tier_uuid);
	if (!copy)
		return -ENOMEM;
	if (atomic_compare_exchange_strong(&tier->expected, &none, copy))
		return 0;
	free(copy);
	return strcmp(none, tier_uuid) == 0 ? 0 : -EBUSY;
}

int tier_volume(struct tier *tier, char ret_volume_uuid[37])
{
	struct tier_identity identity;
	int r = read_identity(tier, &identity);

	if (r < 0)
		return r;
	memcpy(ret_volume_uuid, identity.volume_uuid, sizeof(identity.volume_uuid));
	return 0;
}
