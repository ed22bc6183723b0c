/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * Filling: the work of the hydrator, without its threads. Inside volume/hydrate*.c only.
 *
 * A file whose blocks are coming back has one struct filling: jobs (granules to be
 * fetched) and requests (ranges that somebody waits for). A request is answered when no job
 * overlaps it any more, so many readers of one granule cost one fetch.
 */
#include "volume/hydrate.h"

struct fill_job {
	struct fill_job *next;
	uint64_t offset, end; /* one granule */
	const void *ahead_of; /* the reader who may come to it; NULL: somebody waits */
	bool urgent;          /* a reader waits, or will */
	bool running;
	int64_t stale_ns; /* monotonic: while it ran its reader went elsewhere; 0: no */
	bool given_up;    /* for that */
	int64_t ready_ns; /* monotonic: not before (a tier is away) */
	unsigned attempts;
	int error; /* of the last attempt */
};

struct fill_request {
	struct fill_request *next;
	uint64_t offset, end;
	int64_t timeout_ns, deadline_ns; /* monotonic; put off by every granule that arrives */
	int result;                      /* 1 while it waits */
	enum hydrate_flags flags;
	hydrate_done done;
	void *arg;
};

struct filling {
	struct filling *next;
	struct live *live;   /* owned, one ref */
	uint64_t generation; /* of @live when it began */
	struct fill_job *jobs;
	struct fill_request *requests;
};

/* What is over, taken out under the lock, dealt with outside of it. */
struct fill_over {
	struct filling *fillings;
	struct fill_request *requests;
};

/* The jobs that [@offset, @end) of @live still needs, and none twice; @ahead_of: see there.
 * -ENOMEM.
 */
int filling_want_locked(struct filling *filling, uint64_t offset, uint64_t end,
			enum hydrate_flags flags, const void *ahead_of);

/* The job to run next at @now_ns, or NULL with *ret_until_ns lowered to when to look again. */
struct fill_job *filling_next_locked(struct filling *filling, int64_t now_ns, bool urgent,
				     int64_t *ret_until_ns);

/* @job ended with @result: it goes, or waits for another attempt. */
void filling_job_done_locked(struct filling *filling, struct fill_job *job, int result,
			     int64_t now_ns);

/* Move what is over at @now_ns to @over; true when nothing is left of @filling. */
bool filling_collect_locked(struct filling *filling, int64_t now_ns, struct fill_over *over,
			    int64_t *ret_until_ns);

/* @reader (NULL: each) went elsewhere at @now_ns: what is read ahead of it goes, what of that runs
 * is stale. */
void filling_drop_ahead_locked(struct filling *filling, const void *reader, int64_t now_ns);

void filling_free(struct filling *filling); /* not its live, which must be put without locks */

/*
 * Fetch the granule at @offset of @live, check it, write it, make it durable, then set its bit.
 * 0, or -ESTALE when the file was rewritten meanwhile (nothing is absent then). @pace as for
 * transfer_fetch().
 */
int hydrate_granule(struct live *live, uint64_t generation, uint64_t offset,
		    enum hydrate_flags flags, const struct tier_source *pace);
