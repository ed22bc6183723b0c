/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * Client: asks a volume by its store's path. Talks to the daemon when there is one; else
 * answers from the store itself (catalog read-only), with the same code as the daemon.
 */
#include <stdbool.h>
#include <sys/types.h>

#include "util/json.h"

struct client;

/*
 * @path: the store. -ENOENT not a store, -EUCLEAN, -EPROTONOSUPPORT newer format, -EACCES.
 * An unreadable catalog is told by the requests that need it.
 */
int client_open(const char *path, struct client **ret_client);
void client_close(struct client *client);
DEFINE_CLEANUP(struct client *, client_close)

/* True when answers come from the daemon. */
bool client_is_live(const struct client *client);

/* The process that has the store's lock though it does not answer, or 0. */
pid_t client_silent_daemon(const struct client *client);

/* From now on answer from the store itself: the daemon does not answer. As client_open(). */
int client_go_offline(struct client *client);

/* Called for each line before the last; non-zero gives up and is returned. */
typedef int (*client_line_fn)(void *arg, const json_t *line);

/*
 * Ask @request (reference taken; NULL: -ENOMEM) and wait for the last line, at most
 * @timeout_ms for each line (0: for ever). 0 and *ret_final (which may tell an error of the
 * request itself), or a failure to talk: -ETIMEDOUT, -ECONNRESET, -EPROTO, -EINTR (interrupted()).
 * The next call is as good as the first: what still comes of this one is not heard.
 */
int client_call(struct client *client, json_t *request, int timeout_ms, client_line_fn fn,
		void *arg, json_t **ret_final);
