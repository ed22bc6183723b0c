/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * Requests: what can be asked of a volume, mounted (over the socket, in the daemon) or not
 * (in the command itself, on the catalog opened read-only): the same code answers both.
 *
 * Paths are relative to the volume's root, "" is the root; they travel as json_path().
 * Every answer ends with {"done":true,"code":N}, with "error" and "errno" when it failed.
 *
 *   request      members                      answer before or in the last line
 *   ping                                      pid, store, site
 *   status       path                         see request_status.c
 *   pending      path, goal, estimate         files and bytes not there yet; for `wait`
 *   ls           path, recursive, pending     {"file":{...}} a file
 *   recheck      items: are they there now?   see request_recheck.c
 *   safe-said    path, verdict, detail        into the log: what `mediafs safe` said to whom
 *   log          path, count, after           {"event":{...}} an event; next
 *   log-verify                                seq of the first broken row
 *   residency    path, verb                   {"progress":{path, bytes, error}} a file
 *   restore      path, days, speed            the same lines; files, bytes, here_files, ...
 *   seal         path                         (also unseal)
 *   import-bucket  tier, prefix, dry_run      {"object":{...}} an object, {"progress":{...}}
 *   config-get   key                          value, or settings: [{key, value, ...}]
 *   config-set   key, value                   next_mount: it takes effect only then
 *   tier-add     name, url, uuid              the same
 *   tier-remove  name, force                  the same
 *   limit        rate, for_ns                 limit, limit_rule, limit_until_ns
 *   conflicts                                 {"file":{...}} a file
 *   offloads     path, clips                  {"offload":{...}} a card; rule_errors
 *   known        items                        {"known":{...}} an item, see request_known.c
 *   report       path                         {"card":{...}}, {"clip":{...}}: see request_report.c
 *   metrics                                   text
 */
#include <sys/types.h>

#include "catalog/catalog.h"
#include "store/store.h"
#include "util/json.h"

struct volume;

struct request_source {
	struct volume *volume;   /* NULL: not mounted */
	struct store *store;     /* never NULL */
	struct catalog *catalog; /* NULL: could not be opened, because of: */
	int catalog_error;
	uid_t uid; /* who asks, for events */
};

/* Where lines before the last go. Non-zero ends the request (the asker is gone). */
struct request_sink {
	int (*line)(void *arg, const json_t *object);
	void *arg;
};

/*
 * Answer @request (as request_parse() gave it, nothing else of it checked yet). *ret_final is
 * the last line, always set but for -ENOMEM. May block as long as the work takes.
 */
int request_run(const struct request_source *source, const json_t *request,
		const struct request_sink *sink, json_t **ret_final);

/* What the handlers share ------------------------------------------------------------- */

/* Merge @result (reference taken, NULL: nothing) into what the last line will be. */
struct request {
	const struct request_source *source;
	const json_t *json;
	const struct request_sink *sink;
	json_t *final;     /* object; handlers add members */
	char message[512]; /* what went wrong; "": error_text() */
	int code;          /* exit code; 0: from the error */
};

/* Sets the message, returns @error. */
int request_fail(struct request *request, int error, const char *format, ...)
	__attribute__((format(printf, 3, 4)));

/* Set @key, with an event; what it cannot be is told. "next_mount" is added where that is so. */
int request_set_setting(struct request *request, const char *key, const char *value);

/* Send a line {@key: @value}; the reference is taken. -ENOMEM, or what the sink said. */
int request_emit(struct request *request, const char *key, json_t *value);

/* Add a member to the last line; the reference is taken. -ENOMEM when @value is NULL. */
int request_add(struct request *request, const char *key, json_t *value);

/* Everything received so far can be read now; nothing to do when not mounted. */
int request_barrier(struct request *request);

struct transfer_status;
/* Why a tier is down, as words: what the error means, and what the tier itself says of it. */
json_t *request_tier_error(const struct transfer_status *transfer);

/* request_path(), and a message when it is none. */
int request_own_path(struct request *request, char **ret_path);

struct node_row;
/* The node at member "path"; the path (caller frees) too. -ENOENT with a message. */
int request_node(struct request *request, char **ret_path, struct node_row *ret_row);

/* The same without waiting for what is on its way into the catalog. */
int request_node_as_known(struct request *request, char **ret_path, struct node_row *ret_row);

int request_status(struct request *request);
int request_pending(struct request *request);
int request_ls(struct request *request);
int request_conflicts(struct request *request);
int request_offloads(struct request *request);
int request_report(struct request *request);
int request_known(struct request *request);
int request_recheck(struct request *request);
int request_safe_said(struct request *request);
int request_log(struct request *request);
int request_log_verify(struct request *request);
int request_residency(struct request *request);
int request_restore(struct request *request);
int request_seal(struct request *request);
int request_unseal(struct request *request);
int request_import_bucket(struct request *request);
int request_config_get(struct request *request);
int request_config_set(struct request *request);
int request_tier_add(struct request *request);
int request_tier_remove(struct request *request);
int request_limit(struct request *request);
int request_metrics(struct request *request);
