/* SPDX-License-Identifier: Apache-2.0 */
#include "sync/record.h"

#include <errno.h>
#include <string.h>

#include "sync/hex.h"
#include "tier/tier.h"
#include "util/io.h"
#include "util/json.h"

#define TARGET_MAX 4095u
/* Times that every struct timespec and file system we know can hold without wrapping. */
#define MTIME_LIMIT (INT64_MAX / 2)

static const char *const kind_names[] = {
	[VERSION_FILE] = "file",
	[VERSION_DIR] = "dir",
	[VERSION_LINK] = "link",
};

bool record_path_ok(const char *path)
{
	const char *part = path;

	if (!path_ok(path))
		return false;
	while (part) {
		/* Our own names: temporary files in the tree, the journal in the tier. */
		if (strncmp(part, ".mediafs", 8) == 0 &&
		    (part[8] == '\0' || part[8] == '/' || part[8] == '-'))
			return false;
		part = strchr(part, '/');
		part = part ? part + 1 : NULL;
	}
	return true;
}

bool record_body_ok(const struct version_body *body)
{
	uint32_t modes =
		body->kind == VERSION_DIR ? RECORD_DIR_MODES | VERSION_SEALED : RECORD_FILE_MODES;

	if (body->kind < VERSION_FILE || body->kind > VERSION_LINK)
		return false;
	if ((body->mode & ~modes) || body->mtime_ns > MTIME_LIMIT || body->mtime_ns < -MTIME_LIMIT)
		return false;
	if (body->kind == VERSION_LINK)
		return body->target && body->target[0] && strlen(body->target) <= TARGET_MAX;
	if (body->kind == VERSION_DIR)
		return true;
	if (body->size > INT64_MAX || body->map.size != body->size ||
	    blockmap_count(body->size) > RECORD_MAP_MAX / sizeof(uint64_t))
		return false;
	if (!body->key)
		return body->tier[0] == '\0';
	return tier_key_ok(body->key) && uuid_ok(body->tier);
}

static int set_new(json_t *object, const char *name, json_t *value)
{
	return json_object_set_new(object, name, value) < 0 ? -ENOMEM : 0;
}

static int write_map(json_t *object, const struct blockmap *map)
{
	size_t length = blockmap_packed_bytes(map);
	cleanup_free uint8_t *packed = malloc(length + 1);
	cleanup_free char *hex = malloc(2 * length + 1);

	if (!packed || !hex)
		return -ENOMEM;
	blockmap_pack(map, packed);
	hex_write(packed, length, hex);
	return set_new(object, "map", json_string(hex));
}

static int write_file_body(json_t *object, const struct version_body *body)
{
	char hex[DIGEST_HEX_SIZE];
	int r;

	digest_hex(&body->digest, hex);
	r = set_new(object, "size", json_integer((json_int_t)body->size));
	if (r == 0)
		r = set_new(object, "digest", json_string(hex));
	if (r == 0)
		r = write_map(object, &body->map);
	if (r == 0 && body->key)
		r = set_new(object, "tier", json_string(body->tier));
	if (r == 0 && body->key)
		r = set_new(object, "key", json_path(body->key));
	return r;
}

static int write_body(json_t *object, const struct version_body *body)
{
	int r;

	r = set_new(object, "kind", json_string(kind_names[body->kind]));
	if (r == 0)
		r = set_new(object, "mode", json_integer(body->mode & ~VERSION_SEALED));
	if (r == 0 && (body->mode & VERSION_SEALED))
		r = set_new(object, "sealed", json_true());
	if (r == 0)
		r = set_new(object, "mtime", json_integer(body->mtime_ns));
	if (r == 0 && body->kind == VERSION_FILE)
		r = write_file_body(object, body);
	if (r == 0 && body->kind == VERSION_LINK)
		r = set_new(object, "target", json_path(body->target));
	return r;
}

static json_t *base_json(const struct sync_record *record)
{
	json_t *base = json_array();

	for (size_t i = 0; base && i < record->base_count; i++) {
		json_t *pair =
			json_pack("[s, I]", record->base[i].site, (json_int_t)record->base[i].seq);

		if (json_array_append_new(base, pair) < 0) {
			json_decref(base);
			return NULL;
		}
	}
	return base;
}

int record_write(const struct sync_record *record, char **ret_line)
{
	cleanup_json json_t *object = json_object();
	bool is_put = record->verb == RECORD_PUT;
	char *line;
	int r;

	if (!record_path_ok(record->path) || record->base_count > RECORD_BASE_MAX ||
	    (is_put && !record_body_ok(&record->body)))
		return -EINVAL;
	r = set_new(object, "verb", json_string(is_put ? "put" : "del"));
	if (r == 0)
		r = set_new(object, "path", json_path(record->path));
	if (r == 0)
		r = set_new(object, "base", base_json(record));
	if (r == 0 && is_put)
		r = write_body(object, &record->body);
	if (r < 0)
		return r;
	line = json_dumps(object, JSON_COMPACT | JSON_PRESERVE_ORDER);
	if (!line)
		return -ENOMEM;
	*ret_line = line;
	return 0;
}

/* Reading ------------------------------------------------------------------------------ */

static const char *string_of(const json_t *object, const char *name)
{
	const json_t *value = json_object_get(object, name);
	const char *text = json_string_value(value);

	/* A NUL inside would make two readings of one string. */
	return text && strlen(text) == json_string_length(value) ? text : NULL;
}

static bool int_of(const json_t *object, const char *name, int64_t min, int64_t max,
		   int64_t *ret_value)
{
	const json_t *value = json_object_get(object, name);

	if (!json_is_integer(value))
		return false;
	*ret_value = json_integer_value(value);
	return *ret_value >= min && *ret_value <= max;
}

static const char *read_map(const json_t *object, struct version_body *body)
{
	const char *hex = string_of(object, "map");
	cleanup_free uint8_t *packed = NULL;
	size_t length;

	if (!hex)
		return "it has no block map";
	/* Before anything of a size that the record chose is allocated. */
	length = strlen(hex) / 2;
	if (length > RECORD_MAP_MAX || length != blockmap_count(body->size) * sizeof(uint64_t))
		return "its block map does not fit its size";
	packed = malloc(length + 1);
	if (!packed)
		return "there is no memory for its block map";
	if (!hex_read(hex, packed, length))
		return "its block map is not hexadecimal";
	if (blockmap_unpack(packed, length, body->size, &body->map) < 0)
		return "its block map does not fit its size";
	return NULL;
}

static const char *read_copy(const json_t *object, struct version_body *body)
{
	const char *tier = string_of(object, "tier");

	if (!json_object_get(object, "tier") && !json_object_get(object, "key"))
		return NULL;
	if (!tier || !uuid_ok(tier))
		return "its tier is no UUID";
	body->key = json_path_value(json_object_get(object, "key"));
	if (!body->key || !tier_key_ok(body->key))
		return "its key is not allowed";
	memcpy(body->tier, tier, sizeof(body->tier));
	return NULL;
}

static const char *read_file_body(const json_t *object, struct version_body *body)
{
	const char *digest = string_of(object, "digest");
	const char *why;
	int64_t size;

	if (!int_of(object, "size", 0, INT64_MAX, &size))
		return "its size is none";
	body->size = (uint64_t)size;
	if (!digest || digest_parse(digest, &body->digest) < 0)
		return "its digest is none";
	why = read_map(object, body);
	return why ? why : read_copy(object, body);
}

static const char *read_body(const json_t *object, struct version_body *body)
{
	const char *kind = string_of(object, "kind");
	int64_t mode, mtime;
	const char *why = NULL;

	for (size_t i = VERSION_FILE; kind && i <= VERSION_LINK; i++)
		if (strcmp(kind, kind_names[i]) == 0)
			body->kind = (enum version_kind)i;
	if (!body->kind)
		return "its kind is unknown";
	if (!int_of(object, "mode", 0, 07777, &mode))
		return "its mode is none";
	if (!int_of(object, "mtime", -MTIME_LIMIT, MTIME_LIMIT, &mtime))
		return "its mtime is none";
	body->mode = (uint32_t)mode;
	if (body->kind == VERSION_DIR && json_is_true(json_object_get(object, "sealed")))
		body->mode |= VERSION_SEALED;
	body->mtime_ns = mtime;
	if (body->kind == VERSION_FILE)
		why = read_file_body(object, body);
	if (body->kind == VERSION_LINK)
		body->target = json_path_value(json_object_get(object, "target"));
	if (!why && !record_body_ok(body))
		why = "its attributes are not allowed";
	return why;
}

static const char *read_base(const json_t *object, struct sync_record *record)
{
	const json_t *base = json_object_get(object, "base");
	size_t count = json_array_size(base);

	if (!json_is_array(base) || count > RECORD_BASE_MAX)
		return "its base is none";
	record->base = calloc(count + 1, sizeof(*record->base));
	if (!record->base)
		return "there is no memory for its base";
	for (size_t i = 0; i < count; i++) {
		const json_t *pair = json_array_get(base, i);
		const char *site = json_string_value(json_array_get(pair, 0));
		json_int_t seq = json_integer_value(json_array_get(pair, 1));

		if (json_array_size(pair) != 2 || !site || !uuid_ok(site) || seq <= 0)
			return "its base is none";
		memcpy(record->base[i].site, site, sizeof(record->base[i].site));
		record->base[i].seq = (uint64_t)seq;
		record->base_count = i + 1;
	}
	return NULL;
}

static const char *read_record(const json_t *object, struct sync_record *record)
{
	const char *verb = string_of(object, "verb");
	const char *why;

	if (!json_is_object(object))
		return "it is no JSON object";
	if (verb && strcmp(verb, "put") == 0)
		record->verb = RECORD_PUT;
	else if (verb && strcmp(verb, "del") == 0)
		record->verb = RECORD_DEL;
	else
		return "its verb is unknown";
	record->path = json_path_value(json_object_get(object, "path"));
	if (!record->path || !record_path_ok(record->path))
		return "its path is not allowed";
	why = read_base(object, record);
	if (!why && record->verb == RECORD_PUT)
		why = read_body(object, &record->body);
	return why;
}

int record_read(const char *line, size_t length, struct sync_record *ret_record,
		const char **ret_why)
{
	cleanup_json json_t *object = json_loadb(line, length, JSON_REJECT_DUPLICATES, NULL);
	struct sync_record record = { 0 };
	const char *why = read_record(object, &record);

	if (why) {
		sync_record_fini(&record);
		*ret_why = why;
		return -EINVAL;
	}
	*ret_record = record;
	return 0;
}
