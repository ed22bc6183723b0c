/* SPDX-License-Identifier: Apache-2.0 */
/* Who sends: the files that a lane has on their way side by side. */
#include "transfer/internal.h"

void senders_init(struct lane *lane)
{
	for (unsigned i = 0; i < SENDERS; i++) {
		lane->senders[i].lane = lane;
		cond_init(&lane->senders[i].given);
	}
}

/* Threads ------------------------------------------------------------------------------- */

/* False: it is over. */
static bool await_row(struct sender *sender)
{
	struct transfer *transfer = sender->lane->transfer;

	scoped_lock(&transfer->lock);
	while (sender->state != SENDER_BUSY && !transfer->stopping && !sender->lane->is_gone)
		cond_wait(&sender->given, &transfer->lock);
	if (!transfer->stopping && !sender->lane->is_gone)
		return true;
	sender->state = SENDER_IDLE;
	return false;
}

static void *sender_body(void *arg)
{
	struct sender *sender = arg;
	struct transfer *transfer = sender->lane->transfer;

	while (await_row(sender)) {
		sender->result = sender_send(sender);
		scoped_lock(&transfer->lock);
		sender->state = SENDER_DONE;
		cond_broadcast(&transfer->changed);
	}
	return NULL;
}

int senders_start(struct lane *lane)
{
	int r = 0;

	for (unsigned i = 0; r == 0 && i < SENDERS; i++)
		r = thread_start(&lane->senders[i].thread, "send", sender_body, &lane->senders[i]);
	lane->has_threads = true;
	return r;
}

void senders_stop_locked(struct lane *lane)
{
	for (unsigned i = 0; i < SENDERS; i++)
		cond_signal(&lane->senders[i].given);
}

void senders_fini(struct lane *lane)
{
	for (unsigned i = 0; i < SENDERS; i++) {
		thread_join(&lane->senders[i].thread);
		cond_fini(&lane->senders[i].given);
	}
}

/* What the lane gives to whom ----------------------------------------------------------- */

bool senders_have_news_locked(const struct lane *lane)
{
	for (unsigned i = 0; i < SENDERS; i++)
		if (lane->senders[i].state == SENDER_DONE)
			return true;
	return false;
}

unsigned senders_busy(const struct lane *lane)
{
	unsigned count = 0;

	scoped_lock(&lane->transfer->lock);
	for (unsigned i = 0; i < SENDERS; i++)
		count += lane->senders[i].state != SENDER_IDLE;
	return count;
}

bool senders_work(const struct lane *lane)
{
	scoped_lock(&lane->transfer->lock);
	for (unsigned i = 0; i < SENDERS; i++)
		if (lane->senders[i].state == SENDER_BUSY)
			return true;
	return false;
}

bool senders_have_content(const struct lane *lane, uint64_t content)
{
	scoped_lock(&lane->transfer->lock);
	for (unsigned i = 0; i < SENDERS; i++)
		if (lane->senders[i].state != SENDER_IDLE && lane->senders[i].content == content)
			return true;
	return false;
}

uint64_t senders_to_write(const struct lane *lane)
{
	uint64_t bytes = 0;

	scoped_lock(&lane->transfer->lock);
	for (unsigned i = 0; i < SENDERS; i++) {
		const struct sender *sender = &lane->senders[i];

		if (sender->state == SENDER_BUSY && sender->row.size > sender->path_done)
			bytes += sender->row.size - sender->path_done;
	}
	return bytes;
}

/*
 * Small ones go beside anything: each waits most of its time, for a server or a disk's cache. A
 * large one takes all there is by itself, and only what is more urgent goes beside it.
 */
static bool goes_beside(const struct lane *lane, const struct queue_row *row,
			const struct sender *other)
{
	uint64_t small = lane->tier.tier->backend->small_bytes;

	return row->size < small || other->row.size < small || row->class < other->row.class;
}

/* 0: not known. */
static uint64_t content_of(struct lane *lane, const struct queue_row *row)
{
	struct node_row node;

	return catalog_get_node(lane->transfer->catalog, row->id, &node) == 1 ? node.content : 0;
}

struct sender *sender_for(struct lane *lane, const struct queue_row *row)
{
	uint64_t content = content_of(lane, row);
	struct sender *idle = NULL;

	scoped_lock(&lane->transfer->lock);
	for (unsigned i = 0; i < SENDERS; i++) {
		struct sender *sender = &lane->senders[i];

		if (sender->state == SENDER_IDLE) {
			idle = idle ? idle : sender;
			continue;
		}
		/* One content is sent once, however many names it has. */
		if (sender->row.id == row->id || (content && sender->content == content) ||
		    !goes_beside(lane, row, sender))
			return NULL;
	}
	if (idle)
		idle->content = content;
	return idle;
}

void sender_give(struct sender *sender, const struct queue_row *row)
{
	struct lane *lane = sender->lane;

	sender->row = *row;
	if (!lane->has_threads)
		sender->result = sender_send(sender);
	scoped_lock(&lane->transfer->lock);
	if (lane->is_gone)
		return; /* its thread may have ended */
	sender->state = lane->has_threads ? SENDER_BUSY : SENDER_DONE;
	cond_signal(&sender->given);
}

struct sender *sender_done(struct lane *lane)
{
	scoped_lock(&lane->transfer->lock);
	for (unsigned i = 0; i < SENDERS; i++) {
		struct sender *sender = &lane->senders[i];

		if (sender->state != SENDER_DONE)
			continue;
		sender->state = SENDER_IDLE;
		return sender;
	}
	return NULL;
}
