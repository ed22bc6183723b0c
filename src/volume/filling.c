/* SPDX-License-Identifier: Apache-2.0 */
#include "volume/filling.h"

#include <stdlib.h>

#include "util/clock.h"

/* Pauses between attempts while no tier answers. */
#define RETRY_FIRST_NS (200 * NS_PER_MS)
#define RETRY_MAX_NS (2 * NS_PER_SEC)

#define WAITS 1

static bool overlaps(const struct fill_job *job, uint64_t offset, uint64_t end)
{
	return job->offset < end && offset < job->end;
}

static struct fill_job *find_job(const struct filling *filling, uint64_t offset)
{
	for (struct fill_job *job = filling->jobs; job; job = job->next)
		if (job->offset == offset)
			return job;
	return NULL;
}

static int want_granule(struct filling *filling, uint64_t offset, uint64_t end,
			enum hydrate_flags flags, const void *ahead_of)
{
	struct fill_job *job = find_job(filling, offset);
	struct fill_job **last = &filling->jobs;

	if (!job) {
		job = calloc(1, sizeof(*job));
		if (!job)
			return -ENOMEM;
		job->offset = offset;
		job->end = end;
		job->ahead_of = ahead_of;
		while (*last)
			last = &(*last)->next;
		*last = job;
	}
	job->stale_ns = 0;
	if (!ahead_of || job->ahead_of)
		job->ahead_of = ahead_of;
	job->urgent |= (flags & HYDRATE_URGENT) != 0;
	return 0;
}

int filling_want_locked(struct filling *filling, uint64_t offset, uint64_t end,
			enum hydrate_flags flags, const void *ahead_of)
{
	const struct residency *residency = &filling->live->residency;

	mutex_assert_held(&filling->live->lock);
	if (!filling->live->has_residency)
		return 0;
	if (end > residency->size)
		end = residency->size;
	while (offset < end) {
		uint64_t start, length;

		residency_granule(residency, offset / BLOCK_BYTES, &start, &length);
		if (!residency_has(residency, offset / BLOCK_BYTES)) {
			int r = want_granule(filling, start, start + length, flags, ahead_of);

			if (r < 0)
				return r;
		}
		offset = start + length;
	}
	return 0;
}

struct fill_job *filling_next_locked(struct filling *filling, int64_t now_ns, bool urgent,
				     int64_t *ret_until_ns)
{
	for (struct fill_job *job = filling->jobs; job; job = job->next) {
		if (job->running || (urgent && (!job->urgent || job->ahead_of)))
			continue;
		if (job->ready_ns <= now_ns)
			return job;
		if (job->ready_ns < *ret_until_ns)
			*ret_until_ns = job->ready_ns;
	}
	return NULL;
}

static void remove_job(struct filling *filling, struct fill_job *job)
{
	for (struct fill_job **link = &filling->jobs; *link; link = &(*link)->next) {
		if (*link != job)
			continue;
		*link = job->next;
		free(job);
		return;
	}
}

/* Waiting may help: a tier comes back, room is made on the disk. */
static bool is_passing(int error)
{
	return error == -EHOSTDOWN || error == -EREMOTEIO || error == -ENOSPC || error == -EDQUOT ||
	       error == -ENOMEM;
}

void filling_job_done_locked(struct filling *filling, struct fill_job *job, int result,
			     int64_t now_ns)
{
	/* One that was given up may be wanted again by now. */
	bool given_up = result == -ECANCELED && job->given_up;
	bool retry = (is_passing(result) || given_up) && !job->ahead_of;
	int64_t pause = RETRY_FIRST_NS << (job->attempts < 8 ? job->attempts : 8);

	job->running = false;
	job->error = result;
	for (struct fill_request *request = filling->requests; request; request = request->next) {
		if (!overlaps(job, request->offset, request->end) || request->result != WAITS)
			continue;
		if (result == 0)
			request->deadline_ns = now_ns + request->timeout_ns;
		else if (result != -ESTALE && !retry)
			request->result = result;
	}
	if (!retry) {
		remove_job(filling, job);
		return;
	}
	if (given_up) {
		job->given_up = false;
		return;
	}
	job->attempts++;
	job->ready_ns = now_ns + (pause < RETRY_MAX_NS ? pause : RETRY_MAX_NS);
}

/* The result of @request at @now_ns; WAITS while it has none. */
static int judge(const struct filling *filling, const struct fill_request *request, int64_t now_ns)
{
	bool waits = false;

	if (request->result != WAITS)
		return request->result;
	for (const struct fill_job *job = filling->jobs; job; job = job->next) {
		if (!overlaps(job, request->offset, request->end))
			continue;
		if (now_ns >= request->deadline_ns &&
		    (job->error == -ENOSPC || job->error == -EDQUOT))
			return job->error;
		waits = true;
	}
	if (!waits)
		return 0;
	return now_ns >= request->deadline_ns ? -ETIMEDOUT : WAITS;
}

static bool is_wanted(const struct filling *filling, const struct fill_job *job)
{
	if (job->running || job->ahead_of)
		return true;
	for (const struct fill_request *request = filling->requests; request;
	     request = request->next)
		if (overlaps(job, request->offset, request->end))
			return true;
	return false;
}

bool filling_collect_locked(struct filling *filling, int64_t now_ns, struct fill_over *over,
			    int64_t *ret_until_ns)
{
	struct fill_request **link = &filling->requests;
	struct fill_job **job_link = &filling->jobs;

	while (*link) {
		struct fill_request *request = *link;
		int result = judge(filling, request, now_ns);

		if (result == WAITS) {
			if (request->deadline_ns < *ret_until_ns)
				*ret_until_ns = request->deadline_ns;
			link = &request->next;
			continue;
		}
		*link = request->next;
		request->result = result;
		request->next = over->requests;
		over->requests = request;
	}
	while (*job_link) {
		struct fill_job *job = *job_link;

		if (is_wanted(filling, job)) {
			job_link = &job->next;
			continue;
		}
		*job_link = job->next;
		free(job);
	}
	return !filling->jobs && !filling->requests;
}

void filling_drop_ahead_locked(struct filling *filling, const void *reader, int64_t now_ns)
{
	struct fill_job **link = &filling->jobs;

	while (*link) {
		struct fill_job *job = *link;

		bool goes = job->ahead_of && (!reader || job->ahead_of == reader);

		if (!goes || job->running) {
			if (goes && !job->stale_ns)
				job->stale_ns = now_ns;
			link = &job->next;
			continue;
		}
		*link = job->next;
		free(job);
	}
}

void filling_free(struct filling *filling)
{
	while (filling->jobs) {
		struct fill_job *job = filling->jobs;

		filling->jobs = job->next;
		free(job);
	}
	free(filling);
}
