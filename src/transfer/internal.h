/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * What the parts of transfer/ share: one lane for each tier, with its thread and its senders.
 */
#include "store/residency.h"
#include "transfer/rules.h"
#include "transfer/transfer.h"
#include "util/clock.h"
#include "util/netwatch.h"
#include "util/rate.h"
#include "util/thread.h"

/*
 * After this many failures that were its own a file is poison: named in status, tried after all
 * others, and with pauses that grow from the first of these to the second.
 */
#define POISON_ATTEMPTS 8
#define POISON_PAUSE_NS (15 * 60 * NS_PER_SEC)
#define POISON_PAUSE_MAX_NS (6 * 3600 * NS_PER_SEC)

/* So many files of one tier are on their way side by side. */
#define SENDERS 8

/*
 * Tiers of one mount, those that were taken out meanwhile too: what others hold of them stays valid
 * until the end. 16 may be in the settings at a time.
 */
#define LANES_MAX 64

enum sender_state { SENDER_IDLE, SENDER_BUSY, SENDER_DONE };

/* One file on its way to a tier. */
struct sender {
	/* Constant after senders_start(). */
	struct lane *lane;
	struct thread thread;

	/* Of the sender while it is busy, else of the lane's thread. */
	struct queue_row row;
	int result;

	/* Of the lane's thread. */
	uint64_t content; /* contents.id of what it was given, 0 not known */
	bool is_trial;    /* sent to see whether a tier that took nothing takes something now */
	bool is_first;    /* it was the row's turn */

	/* Guarded by transfer->lock. */
	struct cond given; /* a row, or the end */
	enum sender_state state;
	char path[512]; /* of what is being sent, "" nothing */
	uint64_t path_bytes, path_done;
};

struct lane {
	/* Constant once it is in transfer->lanes. */
	struct transfer_tier tier; /* first: transfer_tier() hands it out */
	struct transfer *transfer;
	struct thread thread;
	struct sender senders[SENDERS];
	bool has_threads; /* else the lane's own thread sends */

	_Atomic bool is_leaving;  /* about to be taken out: its copies count no more */
	_Atomic bool is_gone;     /* taken out of the settings: for nobody who looks for a tier */
	_Atomic bool shares_disk; /* with the store: it steps aside for what arrives there */
	_Atomic bool is_remote;   /* its bytes go over a network, as far as was seen */
	_Atomic int uplink;       /* what the settings say of that; settings_tier.uplink */

	/* Only the lane's own thread (or the test that plays it). */
	bool known;          /* its identity is in the catalog, and expected */
	bool claimed;        /* seen to be ours since the start */
	bool dirty;          /* the queue was changed through the catalog's queue of writes */
	int64_t back_off_ns; /* the last pause, 0 after success */
	int64_t forgot_ns;   /* monotonic: uploads of no use were last looked for */

	/* Guarded by transfer->lock. */
	uint64_t seen;           /* the last of transfer->wakes it looked at */
	int condition;           /* 0, or why the whole tier takes nothing now */
	int64_t next_try_ns;     /* of transfer_now_ns(); meaningful while condition is set */
	bool is_another_network; /* than the one on which it was away: look again at once */
	int64_t aside_ns;        /* monotonic: when it last stepped aside */
	int64_t looked_ns;       /* monotonic: lane_look() */
	int looked;              /* what that gave */
	char why[TIER_WHY_SIZE]; /* what the tier says of condition, "" nothing */
};

struct transfer {
	/* Constant after transfer_new(). */
	struct catalog *catalog; /* borrowed */
	struct store *store;     /* borrowed */
	struct transfer_host host;
	int64_t clock_ns; /* see transfer_now_ns() */
	struct netwatch netwatch;
	struct thread network;

	/* Owned; published by the count, which only grows, under the lock. */
	struct lane *lanes[LANES_MAX];
	_Atomic size_t lane_count;

	bool resumed; /* only the first lane's thread */

	struct bucket bucket;  /* everything but urgent fetches */
	struct bucket urgent;  /* the same rate: a reader does not queue behind uploads */
	_Atomic uint64_t debt; /* what urgent fetches took: the others pay it back */
	struct meter meter;

	struct mutex lock; /* rank 50; guards the rest */
	struct cond changed;
	bool stopping;
	bool paused;
	bool metered;
	bool hasten;   /* what failed is to be tried at once */
	bool one_left; /* a tier was taken out: what it alone had goes elsewhere */
	uint64_t wakes;
	int64_t requeue_ns;  /* monotonic: when files left out so far are looked at again */
	struct rules *rules; /* owned */
};

/* What a step of a lane leads to. */
enum lane_next { LANE_AGAIN, LANE_SLEEP };

/*
 * The clock of everything that waits: the time of day when the volume was opened, and from then on
 * it only runs. Who sets the machine's clock neither stalls the queue nor makes it storm; what an
 * earlier run has left in it under another clock, catalog_queue_hasten() puts right.
 */
static inline int64_t transfer_now_ns(const struct transfer *transfer)
{
	return monotonic_ns() + transfer->clock_ns;
}

/*
 * One step of @lane: the next file, or a look at the tier. LANE_SLEEP with *ret_until_ns
 * (transfer_now_ns()) when there is nothing to do before.
 */
enum lane_next lane_step(struct lane *lane, int64_t *ret_until_ns);

/* The tier as a whole gave @error (0: it works again). Logs a change once. */
void lane_set_condition(struct lane *lane, int error);

/* True for errors that say nothing of one file. */
bool error_is_of_tier(int error);

/* A fetch found the tier away: the lane looks after it from now on. */
void lane_note_down(struct lane *lane);

/* A copy was found missing (-ENOENT) or different (-EBADMSG): noted, logged and told, once.
 * @offset of the block, UINT64_MAX: the whole. */
void lane_copy_is_bad(struct lane *lane, const struct content_row *content,
		      const struct copy_row *copy, int error, uint64_t offset);

/* @error came from the tier: what it means once the tier was asked whether it is there at all. */
int lane_judge(struct lane *lane, int error);

/* The tier's own words for @error, "" where it has none. */
void lane_ask_why(struct lane *lane, int error, char why[TIER_WHY_SIZE]);

/* Expect the identity that the tier had when it became ours, if it did. No I/O on the tier. */
int lane_expect(struct lane *lane);

/* Make sure that the tier is there and ours. */
int lane_claim(struct lane *lane);

/* The lane of tiers.id @tier, or NULL: no longer in the settings. */
struct lane *lane_of(struct transfer *transfer, uint32_t tier);

/* The next lane of the settings from *@at on, which moves behind it; NULL the end. */
struct lane *lane_next(const struct transfer *transfer, size_t *at);

/* It has the queue as a whole in its care. */
static inline bool lane_is_first(const struct lane *lane)
{
	return lane == lane->transfer->lanes[0];
}

/* Either the threads of all must end, or this tier was taken out. */
bool lane_stopping(const struct lane *lane);

/* A lane that no one knows of yet, without threads. */
int lane_open(struct transfer *transfer, const char *name, const char *url, struct lane **ret_lane);
int lane_start(struct lane *lane);
void lane_free(struct lane *lane); /* joins; accepts NULL */

/* What has waited for tiers that are gone, or was stored there alone, is VERIFIED again. -EAGAIN:
 * not all of it yet, since one of them is still being sent to. */
int transfer_forget_gone(struct transfer *transfer);

/* Compares the lanes with those that there were before. That one left is noted (one_left, and in
 * the catalog, for the next start) until transfer_forget_gone() is through. */
int transfer_note_tiers(struct transfer *transfer);

/* transfer_forget_gone() is through with those that had left when it began. */
int transfer_left_done(struct transfer *transfer);

/* Meta of a tier: tier.ID.WHAT. */
void lane_key(uint32_t tier, const char *what, char *key, size_t size);

/* Senders: the lane's thread decides what each of them gets. */
void senders_init(struct lane *lane);
int senders_start(struct lane *lane);
void senders_stop_locked(struct lane *lane);
void senders_fini(struct lane *lane);           /* joins */
unsigned senders_busy(const struct lane *lane); /* how many */

/* One of them has @content. Only the lane's thread. */
bool senders_have_content(const struct lane *lane, uint64_t content);

/* Bytes that those on their way have still to write: room that is free and not to be had. */
uint64_t senders_to_write(const struct lane *lane);

/* One has not ended with its row yet. */
bool senders_work(const struct lane *lane);

/* One has ended with its row. */
bool senders_have_news_locked(const struct lane *lane);

/* Who can send @row now; NULL: it waits for what is on its way. */
struct sender *sender_for(struct lane *lane, const struct queue_row *row);
void sender_give(struct sender *sender, const struct queue_row *row);

/* One that has ended, idle from now on; NULL none. */
struct sender *sender_done(struct lane *lane);

/* Send its row. Everything it leads to is done when it returns: 0, or the tier's error, or
 * -ECANCELED. */
int sender_send(struct sender *sender);

/*
 * Queue every verified file that no rule keeps here, and for a tier that is new every stored one
 * (invariant 8).
 */
int transfer_requeue(struct transfer *transfer);

/* catalog_queue_hasten() by our clock. */
int transfer_hasten(struct transfer *transfer, enum hasten_flags flags);

/* What was on its way when the daemon ended is queued again. */
int transfer_resume(struct transfer *transfer);

/* As transfer_file_verified(), to be sent when @due_ns (transfer_now_ns()) comes. 1 queued, 0
 * ignored. */
int transfer_enqueue(struct transfer *transfer, struct lane *lane, uint64_t id, uint64_t generation,
		     const char *path, uint64_t size, int64_t due_ns);

/* Tiers that are away are looked at when the network changes; not being told is no failure. */
int network_start(struct transfer *transfer);
void network_fini(struct transfer *transfer); /* joins */

/* Wake the lanes without haste: a tier that is away keeps its pause. */
void transfer_nudge(struct transfer *transfer);

/* While bytes arrive on the disk that the tier is on: wait, but not so long that nothing moves. */
void lane_step_aside(struct lane *lane);

/* The limits that are meant for the uplink hold for it. */
static inline bool lane_is_on_uplink(const struct lane *lane)
{
	int said = lane->uplink;

	return said >= 0 ? said : lane->is_remote;
}

/* Wait out the rate, where there is one for @lane. -ECANCELED when stopping. */
int lane_pace(struct lane *lane, uint64_t bytes);

/* The same once what is of @class may be sent. */
int lane_take(struct lane *lane, enum priority_class class, uint64_t bytes);

/* True while the threads must end. */
bool transfer_stopping(struct transfer *transfer);

/* True when a rule says that @path never leaves, now. */
bool transfer_excludes(struct transfer *transfer, const char *path);

/* An event by the daemon. */
void transfer_event(struct transfer *transfer, const char *event, const char *path,
		    const struct digest *digest, const char *format, ...)
	__attribute__((format(printf, 5, 6)));

/*
 * Open the file with this node id for reading, its path found in the catalog. The caller closes
 * *ret_fd and frees *ret_path. -ESTALE: it is not there under that path now.
 */
int transfer_open_file(struct transfer *transfer, uint64_t id, char **ret_path, int *ret_fd);

/* Forget (in the tier, too) what was begun to be sent there and is in nobody's queue any more. */
void lane_forget_uploads(struct lane *lane);

/* What is read for sending, block by block, each one checked against the map. */
struct source {
	struct sender *sender;
	const struct queue_row *row;
	const struct content_row *content;
	const char *path;
	int fd;
	struct residency *residency; /* owned; says which blocks are here; NULL: all */
	int error;                   /* of the source, not of the tier: sticks */
	uint64_t bad_block;
	uint8_t *block; /* owned; holds block @held */
	uint64_t held;
};

int source_init(struct source *source, struct sender *sender, const struct content_row *content,
		const char *path, int fd);
void source_fini(struct source *source);

/* As tier_source. */
int source_read(void *arg, uint64_t offset, void *buffer, size_t length);
int source_pace(void *arg, uint64_t bytes);
int source_note(void *arg, const char *text, enum note_flags flags);
int source_recall(void *arg, char **ret_text);
