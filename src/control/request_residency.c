/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <inttypes.h>
#include <string.h>

#include "control/protocol.h"
#include "control/report.h"
#include "util/error.h"
#include "util/log.h"

/*
 * "residency": verb "evict", "fetch", "pin" or "unpin" on PATH and all below it. A file that
 * could not be done does not stop the others. Last line: files, bytes, failed, unheard (null; of a
 * folder to be fetched or pinned why other sites could not be asked about it).
 */
static const char *const verbs[] = {
	[RESIDENCY_EVICT] = "evict",
	[RESIDENCY_FETCH] = "fetch",
	[RESIDENCY_PIN] = "pin",
	[RESIDENCY_UNPIN] = "unpin",
};

struct work {
	struct request *request;
	enum residency_verb verb;
	bool restores; /* instead of the verb */
	uint64_t files, bytes, failed;
	int first_error;
};

/* What is not simply an error: it says what a person can do about it (volume/hydrate.h). */
static const char *reason(const struct work *work, int error)
{
	if (work->restores && error == -EBUSY)
		return "the server has no capacity for that speed now: use Standard or Bulk";
	if (work->restores && error == -ENOTSUP)
		return "the server does not bring archived objects back";
	if (work->restores || work->verb != RESIDENCY_EVICT)
		return error_text(error);
	switch (error) {
	case -EBUSY:
		return "in use, it stays here";
	case -EPERM:
		return "pinned, not stored yet or damaged: it stays here";
	case -ENOTRECOVERABLE:
		return "not enough good copies elsewhere, it stays here";
	default:
		return error_text(error);
	}
}

static int on_file(void *arg, const char *path, uint64_t bytes, int error)
{
	struct work *work = arg;

	if (error < 0) {
		work->failed++;
		if (!work->first_error)
			work->first_error = error;
	} else {
		work->files++;
		work->bytes += bytes;
	}
	return request_emit(
		work->request, "progress",
		json_pack("{s:o,s:I,s:o,s:o}", "path", json_path(path), "bytes", (json_int_t)bytes,
			  "error", error < 0 ? json_string(reason(work, error)) : json_null(),
			  "errno", error < 0 ? json_string(errno_name(error)) : json_null()));
}

/* What waits for a tier has not failed. */
static int on_restored(void *arg, const char *path, uint64_t bytes, int result, const char *away)
{
	const struct work *work = arg;
	char why[256] = "waits for a tier that mediafs.conf has no more";

	if (result != -EHOSTDOWN)
		return on_file(arg, path, bytes, result);
	if (away)
		(void)snprintf(why, sizeof(why), "waits for the tier %s, which is away", away);
	return request_emit(work->request, "progress",
			    json_pack("{s:o,s:I,s:s,s:s,s:s}", "path", json_path(path), "bytes",
				      (json_int_t)bytes, "error", why, "errno", errno_name(result),
				      "away", away ? away : ""));
}

static int find_verb(const char *name, enum residency_verb *ret_verb)
{
	for (size_t i = 0; i < ARRAY_SIZE(verbs); i++) {
		if (strcmp(name, verbs[i]) == 0) {
			*ret_verb = (enum residency_verb)i;
			return 0;
		}
	}
	return -EINVAL;
}

/* A site that was mounted a moment ago may not have heard of it yet: it asks, once. */
static int find_node(struct request *request, char **ret_path, struct node_row *ret_row)
{
	int r = request_node(request, ret_path, ret_row);

	if (r != -ENOENT || !request->source->store->joined)
		return r;
	r = volume_sync(request->source->volume, false);
	return r < 0 ? request_fail(
			       request, r,
			       "the file is not known here, and other sites cannot be asked: %s",
			       error_text(r))
		     : request_node(request, ret_path, ret_row);
}

/* 0, or why not all may be known of the folder @path. */
static int hear_others(struct request *request, const char *path)
{
	int r = volume_sync(request->source->volume, true);

	if (r < 0)
		log_warning_errno(r, "%s: other sites cannot be asked, so files may be missing",
				  path);
	return r;
}

int request_residency(struct request *request)
{
	const char *name = json_string_or(request->json, "verb", "");
	struct work work = { .request = request };
	cleanup_free char *path = NULL;
	enum residency_verb verb;
	struct node_row node;
	char actor[32];
	int unheard = 0, r;

	if (find_verb(name, &verb) < 0)
		return request_fail(request, -EINVAL, "the verb is evict, fetch, pin or unpin");
	work.verb = verb;
	r = find_node(request, &path, &node);
	if (r < 0)
		return r;
	/* A folder may be here, and not all its files yet. What cannot be heard of is not here. */
	if ((verb == RESIDENCY_FETCH || verb == RESIDENCY_PIN) && S_ISDIR(node.mode) &&
	    request->source->store->joined)
		unheard = hear_others(request, path);
	request->message[0] = '\0';
	r = volume_residency(request->source->volume, verb, path, on_file, &work);
	(void)snprintf(actor, sizeof(actor), "uid:%u", (unsigned)request->source->uid);
	if (verb == RESIDENCY_PIN || verb == RESIDENCY_UNPIN)
		volume_event(request->source->volume, actor, name, path, "", "");
	if (request_add(request, "unheard",
			unheard < 0 ? json_string(error_text(unheard)) : json_null()) < 0 ||
	    request_add(request, "files", json_integer((json_int_t)work.files)) < 0 ||
	    request_add(request, "bytes", json_integer((json_int_t)work.bytes)) < 0 ||
	    request_add(request, "failed", json_integer((json_int_t)work.failed)) < 0)
		return -ENOMEM;
	if (r < 0)
		return r;
	if (work.failed > 0)
		return request_fail(request, work.first_error,
				    "%" PRIu64 " of %" PRIu64 " files could not be done",
				    work.failed, work.failed + work.files);
	/* A pinned folder waits for what comes; what was to be fetched may not be all. */
	if (unheard < 0 && verb == RESIDENCY_FETCH)
		request->code = exit_code_of(-EHOSTDOWN);
	return 0;
}

/* How it is asked for: "days", 1 to 36 500, and "speed". */
static int restore_how(struct request *request, struct tier_restore *ret_how)
{
	static const char *const speeds[] = { "Bulk", "Standard", "Expedited" };
	const char *speed = json_string_or(request->json, "speed", "Standard");
	int64_t days;

	if (request_int(request->json, "days", 1, 36500, 7, &days) < 0)
		return request_fail(request, -EINVAL, "days is a number from 1 to 36500");
	for (size_t i = 0; i < ARRAY_SIZE(speeds); i++) {
		if (strcmp(speed, speeds[i]) != 0)
			continue;
		*ret_how = (struct tier_restore){ .days = (unsigned)days, .speed = speeds[i] };
		return 0;
	}
	return request_fail(request, -EINVAL, "the speed is Bulk, Standard or Expedited");
}

/*
 * "restore": one pass over PATH (volume_restore()). Last line: files, bytes (all), here_files,
 * here_bytes, coming_files, coming_bytes, away_files, failed. The line of a file that waits for a
 * tier has its name in "away", "" for one that mediafs.conf has no more.
 */
int request_restore(struct request *request)
{
	struct work work = { .request = request, .restores = true };
	struct restore_counts counts = { 0 };
	cleanup_free char *path = NULL;
	struct tier_restore how;
	struct node_row node;
	json_t *part;
	int r = restore_how(request, &how);

	if (r == 0)
		r = find_node(request, &path, &node);
	if (r < 0)
		return r;
	request->message[0] = '\0';
	r = volume_restore(request->source->volume, path, &how, on_restored, &work, &counts);
	part = json_pack("{s:I,s:I,s:I,s:I,s:I,s:I,s:I,s:I}", "files", (json_int_t)counts.files,
			 "bytes", (json_int_t)counts.bytes, "here_files",
			 (json_int_t)counts.here_files, "here_bytes", (json_int_t)counts.here_bytes,
			 "coming_files", (json_int_t)counts.coming_files, "coming_bytes",
			 (json_int_t)counts.coming_bytes, "away_files",
			 (json_int_t)counts.away_files, "failed", (json_int_t)work.failed);
	if (!part || json_object_update_new(request->final, part) < 0)
		return -ENOMEM;
	if (r == 0 && work.failed)
		request->code = exit_code_of(work.first_error);
	return r < 0 ? r : 0;
}
