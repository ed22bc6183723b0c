/* SPDX-License-Identifier: Apache-2.0 */
#include "control/requests.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "control/protocol.h"
#include "control/report.h"
#include "util/clock.h"
#include "volume/limit.h"
#include "volume/manage.h"

#define FOR_MAX_NS (366ll * 24 * 3600 * NS_PER_SEC)

/* The file's settings, with a message about a bad file. */
static int load(struct request *request, struct settings **ret_settings)
{
	cleanup_free char *message = NULL;
	int r = settings_load(request->source->store->path, ret_settings, &message);

	if (r < 0 && message)
		return request_fail(request, r, "%s/mediafs.conf: %s", request->source->store->path,
				    message);
	return r;
}

static int get_value(struct request *request, const struct settings *settings, const char *key,
		     char **ret_value)
{
	if (request->source->volume)
		return volume_get_setting(request->source->volume, key, ret_value);
	return settings_get_text(settings, key, ret_value);
}

static int add_all(struct request *request, const struct settings *settings)
{
	cleanup_json json_t *list = json_array();
	const char *key, *fallback, *help;

	if (!list)
		return -ENOMEM;
	for (size_t i = 0; settings_describe(i, &key, &fallback, &help) == 0; i++) {
		cleanup_free char *value = NULL;
		int r = get_value(request, settings, key, &value);

		if (r < 0)
			return r;
		if (json_array_append_new(list, json_pack("{s:s,s:o,s:s,s:s}", "key", key, "value",
							  json_path(value), "default", fallback,
							  "help", help)) < 0)
			return -ENOMEM;
	}
	return request_add(request, "settings", take_ptr(list));
}

int request_config_get(struct request *request)
{
	cleanup_with(settings_free_slot) struct settings *settings = NULL;
	const char *key = json_string_or(request->json, "key", NULL);
	cleanup_free char *value = NULL;
	int r;

	if (!request->source->volume) {
		r = load(request, &settings);
		if (r < 0)
			return r;
	}
	if (!key)
		return add_all(request, settings);
	r = get_value(request, settings, key, &value);
	if (r == -ENOENT)
		return request_fail(request, r,
				    "there is no setting \"%s\": `mediafs config get` lists all",
				    key);
	if (r < 0)
		return r;
	return request_add(request, "value", json_path(value));
}

static void tell_event(struct request *request, const char *key, const char *value)
{
	char actor[32];
	cleanup_free char *detail = NULL;

	if (!request->source->volume || asprintf(&detail, "%s = %s", key, value) < 0)
		return;
	(void)snprintf(actor, sizeof(actor), "uid:%u", (unsigned)request->source->uid);
	volume_event(request->source->volume, actor, "setting changed", "", "", detail);
}

static int set_in_file(struct request *request, const char *key, const char *value,
		       char **ret_message)
{
	cleanup_with(settings_free_slot) struct settings *settings = NULL;
	int r = load(request, &settings);

	if (r == 0)
		r = settings_set_text(settings, key, value, ret_message);
	if (r == 0)
		r = settings_save(settings, request->source->store->path);
	return r;
}

int request_set_setting(struct request *request, const char *key, const char *value)
{
	struct volume *volume = request->source->volume;
	cleanup_free char *message = NULL;
	int r;

	if (volume)
		r = volume_set_setting(volume, key, value, &message);
	else
		r = set_in_file(request, key, value, &message);
	if (r == -ENOENT)
		return request_fail(request, r,
				    "there is no setting \"%s\": `mediafs config get` lists all",
				    key);
	if (r < 0 && message)
		return request_fail(request, r, "%s", message);
	if (r < 0)
		return r;
	tell_event(request, key, value);
	return r > 0 ? request_add(request, "next_mount", json_true()) : 0;
}

int request_config_set(struct request *request)
{
	const char *key = json_string_or(request->json, "key", NULL);
	cleanup_free char *value = json_path_value(json_object_get(request->json, "value"));

	if (!key || !value)
		return request_fail(request, -EINVAL, "\"key\" and \"value\" are wanted");
	return request_set_setting(request, key, value);
}

int request_limit(struct request *request)
{
	const char *rate = json_string_or(request->json, "rate", NULL);
	struct volume *volume = request->source->volume;
	cleanup_free char *message = NULL;
	int64_t for_ns;
	int r;

	if (!rate || request_int(request->json, "for_ns", 0, FOR_MAX_NS, 0, &for_ns) < 0)
		return request_fail(request, -EINVAL, "\"rate\" is wanted, and at most a year");
	if (!volume && for_ns > 0)
		return request_fail(
			request, -ENOTCONN,
			"the volume is not mounted: nobody would end the limit in time");
	if (!volume)
		return request_set_setting(request, "transfer.limit", rate);
	r = volume_limit(volume, rate, for_ns, &message);
	if (r < 0 && message)
		return request_fail(request, r, "%s", message);
	if (r < 0)
		return r;
	tell_event(request, for_ns > 0 ? "limit for a while" : "transfer.limit", rate);
	return report_limit(request, NULL);
}
