/* SPDX-License-Identifier: Apache-2.0 */
#include "control/requests.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "catalog/nodes.h"
#include "control/protocol.h"
#include "util/error.h"
#include "volume/manage.h"

enum request_flags {
	NEEDS_VOLUME = 1 << 0,
	NEEDS_CATALOG = 1 << 1,
};

static int request_ping(struct request *request)
{
	const struct store *store = request->source->store;
	int r;

	r = request_add(request, "pid", json_integer(getpid()));
	if (r == 0)
		r = request_add(request, "store", json_path(store->path));
	if (r == 0)
		r = request_add(request, "site", json_path(store->site_name));
	return r;
}

static const struct {
	const char *name;
	unsigned flags;
	int (*run)(struct request *request);
} handlers[] = {
	{ "ping", 0, request_ping },
	{ "status", NEEDS_CATALOG, request_status },
	{ "pending", NEEDS_CATALOG, request_pending },
	{ "ls", NEEDS_CATALOG, request_ls },
	{ "conflicts", NEEDS_CATALOG, request_conflicts },
	{ "offloads", NEEDS_CATALOG, request_offloads },
	{ "known", NEEDS_VOLUME | NEEDS_CATALOG, request_known },
	{ "report", NEEDS_CATALOG, request_report },
	{ "recheck", NEEDS_VOLUME | NEEDS_CATALOG, request_recheck },
	{ "safe-said", NEEDS_VOLUME | NEEDS_CATALOG, request_safe_said },
	{ "log", NEEDS_CATALOG, request_log },
	{ "log-verify", NEEDS_CATALOG, request_log_verify },
	{ "residency", NEEDS_VOLUME | NEEDS_CATALOG, request_residency },
	{ "restore", NEEDS_VOLUME | NEEDS_CATALOG, request_restore },
	{ "seal", NEEDS_VOLUME | NEEDS_CATALOG, request_seal },
	{ "unseal", NEEDS_VOLUME | NEEDS_CATALOG, request_unseal },
	{ "import-bucket", NEEDS_VOLUME | NEEDS_CATALOG, request_import_bucket },
	{ "config-get", 0, request_config_get },
	{ "config-set", 0, request_config_set },
	{ "limit", 0, request_limit },
	{ "tier-add", NEEDS_CATALOG, request_tier_add },
	{ "tier-remove", NEEDS_CATALOG, request_tier_remove },
	{ "metrics", NEEDS_CATALOG, request_metrics },
};

int request_fail(struct request *request, int error, const char *format, ...)
{
	va_list ap;

	va_start(ap, format);
	(void)vsnprintf(request->message, sizeof(request->message), format, ap);
	va_end(ap);
	return error;
}

int request_emit(struct request *request, const char *key, json_t *value)
{
	cleanup_json json_t *line = json_pack("{s:o}", key, value);

	if (!line)
		return -ENOMEM;
	return request->sink->line(request->sink->arg, line);
}

int request_add(struct request *request, const char *key, json_t *value)
{
	return json_object_set_new(request->final, key, value) < 0 ? -ENOMEM : 0;
}

int request_barrier(struct request *request)
{
	return request->source->volume ? volume_barrier(request->source->volume) : 0;
}

int request_own_path(struct request *request, char **ret_path)
{
	int r = request_path(request->json, ret_path);

	return r == -EINVAL
		       ? request_fail(request, r, "the path is not one below the volume's root")
		       : r;
}

int request_node(struct request *request, char **ret_path, struct node_row *ret_row)
{
	int r = request_barrier(request);

	return r < 0 ? r : request_node_as_known(request, ret_path, ret_row);
}

int request_node_as_known(struct request *request, char **ret_path, struct node_row *ret_row)
{
	cleanup_free char *path = NULL;
	int r = request_own_path(request, &path);

	if (r < 0)
		return r;
	r = catalog_lookup_path(request->source->catalog, path, ret_row);
	if (r < 0)
		return r;
	if (r == 0)
		return request_fail(request, -ENOENT, "%s: there is no such file in the volume",
				    path);
	*ret_path = take_ptr(path);
	return 0;
}

json_t *request_tier_error(const struct transfer_status *transfer)
{
	char text[TIER_WHY_SIZE + 128];

	(void)snprintf(text, sizeof(text), "%s%s%s", error_text(transfer->tier_error),
		       *transfer->tier_why ? ": " : "", transfer->tier_why);
	return json_string(text);
}

static int run_handler(struct request *request)
{
	const struct request_source *source = request->source;
	const char *name = json_string_or(request->json, "request", "");

	for (size_t i = 0; i < ARRAY_SIZE(handlers); i++) {
		if (strcmp(handlers[i].name, name) != 0)
			continue;
		if ((handlers[i].flags & NEEDS_VOLUME) && !source->volume)
			return request_fail(request, -ENOTCONN,
					    "the volume is not mounted: mount it first "
					    "(mediafs mount %s MOUNTPOINT)",
					    source->store->path);
		if ((handlers[i].flags & NEEDS_CATALOG) && !source->catalog)
			return request_fail(request, source->catalog_error,
					    "%s/catalog.db cannot be read: %s", source->store->path,
					    error_text(source->catalog_error));
		return handlers[i].run(request);
	}
	return request_fail(request, -EOPNOTSUPP, "there is no request of that name");
}

int request_run(const struct request_source *source, const json_t *request,
		const struct request_sink *sink, json_t **ret_final)
{
	cleanup_json json_t *final = json_object();
	struct request run = { .source = source, .json = request, .sink = sink, .final = final };
	int r;

	if (!final)
		return -ENOMEM;
	r = run_handler(&run);
	if (r < 0) {
		if (request_add(&run, "error",
				json_path(run.message[0] ? run.message : error_text(r))) < 0 ||
		    request_add(&run, "errno", json_string(errno_name(r))) < 0)
			return -ENOMEM;
		if (run.code == 0)
			run.code = exit_code_of(r);
	}
	if (request_add(&run, "done", json_true()) < 0 ||
	    request_add(&run, "code", json_integer(run.code)) < 0)
		return -ENOMEM;
	*ret_final = take_ptr(final);
	return 0;
}
