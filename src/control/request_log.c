/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "catalog/events.h"
#include "control/protocol.h"
#include "control/report.h"

/*
 * "log": the last @count events of PATH (and below), oldest first; with "after": those after
 * that seq, at most @count. Last line: next, what "after" is to be for the ones that follow;
 * count, of those sent.
 *
 * Events are collected first and sent then: a slow reader holds no transaction open.
 */
#define COUNT_MAX 100000

struct collected {
	const char *top;
	json_t **list; /* owned, of new references */
	size_t used, size, max;
	uint64_t last_seq;
};

static json_t *event_json(const struct event *event)
{
	return json_pack("{s:I,s:I,s:s,s:o,s:o,s:o,s:s,s:o}", "seq", (json_int_t)event->seq,
			 "time_ns", (json_int_t)event->time_ns, "site", event->site, "actor",
			 json_path(event->actor), "path", json_path(event->path), "event",
			 json_path(event->event), "digest", event->digest, "detail",
			 json_path(event->detail));
}

static int collect(void *arg, const struct event *event)
{
	struct collected *collected = arg;

	if (event->seq > collected->last_seq)
		collected->last_seq = event->seq;
	if (*collected->top && (!*event->path || !path_under(event->path, collected->top)))
		return 0;
	if (collected->used == collected->size) {
		size_t size = collected->size ? collected->size * 2 : 64;
		void *grown = reallocarray(collected->list, size, sizeof(*collected->list));

		if (!grown)
			return -ENOMEM;
		collected->list = grown;
		collected->size = size;
	}
	collected->list[collected->used] = event_json(event);
	if (!collected->list[collected->used])
		return -ENOMEM;
	return ++collected->used < collected->max ? 0 : 1;
}

static int send_all(struct request *request, struct collected *collected, bool newest_first)
{
	int r = 0;

	for (size_t i = 0; i < collected->used && r == 0; i++) {
		size_t at = newest_first ? collected->used - 1 - i : i;

		r = request_emit(request, "event", take_ptr(collected->list[at]));
	}
	return r;
}

static void collected_fini(struct collected *collected)
{
	for (size_t i = 0; i < collected->used; i++)
		json_decref(collected->list[i]);
	free(collected->list);
}

int request_log(struct request *request)
{
	bool newest_first = !json_object_get(request->json, "after");
	cleanup_free char *path = NULL;
	struct collected collected = { 0 };
	int64_t count, after;
	int r;

	if (request_path(request->json, &path) < 0 ||
	    request_int(request->json, "count", 1, COUNT_MAX, 1000, &count) < 0 ||
	    request_int(request->json, "after", 0, INT64_MAX, 0, &after) < 0)
		return request_fail(request, -EINVAL,
				    "a path below the root and a count from 1 to %d are wanted",
				    COUNT_MAX);
	r = request_barrier(request);
	if (r < 0)
		return r;
	collected.top = path;
	collected.max = (size_t)count;
	collected.last_seq = (uint64_t)after;
	r = catalog_each_event(request->source->catalog,
			       newest_first ? EVENTS_NEWEST_FIRST : EVENTS_OLDEST_FIRST,
			       (uint64_t)after, 0, collect, &collected);
	if (r >= 0)
		r = send_all(request, &collected, newest_first);
	collected_fini(&collected);
	if (r < 0)
		return r;
	r = request_add(request, "next", json_integer((json_int_t)collected.last_seq));
	return r < 0 ? r : request_add(request, "count", json_integer((json_int_t)collected.used));
}

int request_log_verify(struct request *request)
{
	uint64_t seq = 0;
	int r = request_barrier(request);

	if (r == 0)
		r = catalog_check_events(request->source->catalog, &seq);
	if (r == -EUCLEAN)
		return request_fail(request, r,
				    "the chain of the event log is broken at row %" PRIu64
				    ": it or a row before was changed or removed",
				    seq);
	return r;
}
