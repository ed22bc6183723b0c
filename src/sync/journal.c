/* SPDX-License-Identifier: Apache-2.0 */
#include "sync/journal.h"

#include <errno.h>
#include <inttypes.h>
#include <string.h>

#include "util/cleanup.h"
#include "util/io.h"

char *journal_segment_key(const char *site, uint64_t segment)
{
	char *key;

	return asprintf(&key, JOURNAL_ROOT "/%s/j/%020" PRIu64 ".zst", site, segment) < 0 ? NULL
											  : key;
}

char *journal_head_key(const char *site)
{
	char *key;

	return asprintf(&key, JOURNAL_ROOT "/%s/head.json", site) < 0 ? NULL : key;
}

struct site_walk {
	int (*fn)(void *arg, const char *site);
	void *arg;
};

static int visit_site(void *arg, const char *name, bool is_folder)
{
	struct site_walk *walk = arg;

	return is_folder && uuid_ok(name) ? walk->fn(walk->arg, name) : 0;
}

int journal_each_site(struct tier *tier, int (*fn)(void *arg, const char *site), void *arg)
{
	struct site_walk walk = { fn, arg };
	int r = tier->backend->list(tier, JOURNAL_ROOT, visit_site, &walk);

	return r == -ENOENT ? 0 : r;
}

int journal_get_head(struct tier *tier, const char *site, struct head *ret_head)
{
	cleanup_free char *key = journal_head_key(site);
	cleanup_free void *text = NULL;
	struct head head;
	size_t length;
	int r;

	if (!key)
		return -ENOMEM;
	r = tier->backend->get_small(tier, key, HEAD_MAX_BYTES, &text, &length);
	if (r < 0)
		return r;
	r = head_read(text, length, &head);
	if (r < 0)
		return r;
	if (strcmp(head.site, site) != 0)
		return -EINVAL;
	*ret_head = head;
	return 0;
}

int journal_put_head(struct tier *tier, const struct head *head)
{
	cleanup_free char *key = journal_head_key(head->site);
	cleanup_free char *text = NULL;
	int r;

	if (!key)
		return -ENOMEM;
	r = head_write(head, &text);
	if (r < 0)
		return r;
	return tier->backend->put_small(tier, key, text, strlen(text), PUT_REPLACE);
}

int journal_get_packed(struct tier *tier, const char *site, uint64_t segment, void **ret_packed,
		       size_t *ret_length)
{
	cleanup_free char *key = journal_segment_key(site, segment);

	if (!key)
		return -ENOMEM;
	return tier->backend->get_small(tier, key, SEGMENT_MAX_PACKED, ret_packed, ret_length);
}

int journal_put_packed(struct tier *tier, const char *site, uint64_t segment, const void *packed,
		       size_t length)
{
	cleanup_free char *key = journal_segment_key(site, segment);
	cleanup_free void *found = NULL;
	size_t found_length;
	int r;

	if (!key)
		return -ENOMEM;
	r = tier->backend->put_small(tier, key, packed, length, 0);
	if (r != -EEXIST)
		return r;
	r = tier->backend->get_small(tier, key, SEGMENT_MAX_PACKED, &found, &found_length);
	if (r < 0)
		return r;
	return found_length == length && memcmp(found, packed, length) == 0 ? 0 : -EEXIST;
}

static char *bundle_key(const char *site, uint64_t bundle)
{
	char *key;

	return asprintf(&key, JOURNAL_ROOT "/%s/b/%020" PRIu64, site, bundle) < 0 ? NULL : key;
}

int journal_get_bundle(struct tier *tier, const char *site, uint64_t bundle, void **ret_bytes,
		       size_t *ret_length)
{
	cleanup_free char *key = bundle_key(site, bundle);

	if (!key)
		return -ENOMEM;
	return tier->backend->get_small(tier, key, BUNDLE_MAX_BYTES, ret_bytes, ret_length);
}

int journal_put_bundle(struct tier *tier, const char *site, uint64_t bundle, const void *bytes,
		       size_t length)
{
	cleanup_free char *key = bundle_key(site, bundle);
	int r;

	if (!key)
		return -ENOMEM;
	r = tier->backend->put_small(tier, key, bytes, length, 0);
	return r == -EEXIST ? 0 : r;
}
