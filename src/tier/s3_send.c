/* SPDX-License-Identifier: Apache-2.0 */

/*
 * The parts of one object on their way, several at a time, in the caller's thread: it reads the
 * next part (block by block, checked by the source) while the others move. How many the tier
 * bears is found out by all uploads in parts together (s3_width.h).
 */
#include <errno.h>
#include <inttypes.h>
#include <string.h>

#include "tier/s3_multipart.h"
#include "util/cleanup.h"
#include "util/clock.h"

/* For the buffers of all parts on their way: as many as may be of the smallest. */
#define BUFFERS_MAX_BYTES ((uint64_t)S3_PARALLEL_MAX * S3_PART_MIN_BYTES)

#define PART_TRIES 4u
#define POLL_MS 200
#define LOOK_NS (100 * NS_PER_MS)

enum slot_state { SLOT_FREE, SLOT_READING, SLOT_MOVING, SLOT_WAITING };

struct slot {
	enum slot_state state;
	unsigned index; /* of the part, from 0 */
	char number[12], range[64], sum[S3_SUM_TEXT];
	uint8_t *buffer; /* owned; parts->part_bytes; NULL: none yet */
	size_t counted;  /* bytes of the part that moved, however often it is sent */
	int64_t ready_ns;
	struct s3_request request;
	struct s3_exchange exchange; /* initialised while moving or waiting */
};

struct sending {
	struct s3_parts *parts;
	CURLM *multi; /* owned */
	struct slot slots[S3_PARALLEL_MAX];
	unsigned slot_count; /* as many as there is memory for */
	unsigned taken;      /* that are not free */
	unsigned next;       /* part to read */
	int error;           /* the first that ends it all */

	/* Since the width was last told. */
	int64_t looked_ns, paced_ns;
	uint64_t moved_bytes;
	bool wanted; /* there was memory for one more part, and no room in the width */
};

/* How many of the parts that the width allows are this upload's: each has one. */
static unsigned share_locked(const struct s3_tier *s3)
{
	unsigned share = s3->width.now / s3->uploads;

	return share ? share : 1;
}

/* NULL: it waits until a part has arrived. */
static struct slot *take_slot(struct sending *sending)
{
	struct s3_tier *s3 = sending->parts->s3;
	struct slot *slot = sending->slots;
	bool fits;

	while (slot < sending->slots + sending->slot_count && slot->state != SLOT_FREE)
		slot++;
	if (slot == sending->slots + sending->slot_count)
		return NULL;
	scoped_lock(&s3->lock);
	fits = sending->taken == 0 ||
	       (sending->taken < share_locked(s3) && s3->in_flight < s3->width.now);
	sending->wanted = !fits;
	if (!fits)
		return NULL;
	s3->in_flight++;
	sending->taken++;
	slot->state = SLOT_READING;
	slot->counted = 0;
	return slot;
}

static void give_slot(struct sending *sending, struct slot *slot)
{
	struct s3_tier *s3 = sending->parts->s3;
	bool is_surplus;

	mutex_lock(&s3->lock);
	s3->in_flight--;
	is_surplus = sending->taken-- > share_locked(s3);
	mutex_unlock(&s3->lock);
	slot->state = SLOT_FREE;
	if (is_surplus) {
		free(slot->buffer);
		slot->buffer = NULL;
	}
}

static void count_moved(struct sending *sending, struct slot *slot)
{
	if (slot->exchange.sent <= slot->counted)
		return;
	sending->moved_bytes += slot->exchange.sent - slot->counted;
	slot->counted = slot->exchange.sent;
}

static void tell_width(struct sending *sending)
{
	struct s3_tier *s3 = sending->parts->s3;
	int64_t now_ns = monotonic_ns(), paced_ns = atomic_load(&s3->paced_ns);
	struct s3_moved moved = { .wanted = sending->wanted };

	/* Of a copy no byte comes here: it says nothing of the line. */
	if (sending->parts->origin || now_ns - sending->looked_ns < LOOK_NS)
		return;
	for (unsigned i = 0; i < sending->slot_count; i++)
		if (sending->slots[i].state == SLOT_MOVING)
			count_moved(sending, &sending->slots[i]);
	moved.bytes = sending->moved_bytes;
	moved.held_ns = paced_ns - sending->paced_ns;
	sending->moved_bytes = 0;
	sending->looked_ns = now_ns;
	sending->paced_ns = paced_ns;
	scoped_lock(&s3->lock);
	s3_width_look(&s3->width, now_ns, &moved);
}

static void sending_fini(struct sending *sending)
{
	for (unsigned i = 0; i < sending->slot_count; i++) {
		struct slot *slot = &sending->slots[i];

		if (slot->state == SLOT_MOVING)
			(void)curl_multi_remove_handle(sending->multi, slot->exchange.easy);
		if (slot->state == SLOT_MOVING || slot->state == SLOT_WAITING)
			s3_exchange_fini(&slot->exchange);
		if (slot->state != SLOT_FREE)
			give_slot(sending, slot);
		free(slot->buffer);
	}
	if (sending->multi)
		(void)curl_multi_cleanup(sending->multi);
	scoped_lock(&sending->parts->s3->lock);
	sending->parts->s3->uploads--;
}

static int sending_init(struct sending *sending)
{
	const struct s3_parts *parts = sending->parts;
	uint64_t fit = BUFFERS_MAX_BYTES / parts->part_bytes;
	unsigned count = parts->s3->place.parallel;

	mutex_lock(&parts->s3->lock);
	parts->s3->uploads++;
	mutex_unlock(&parts->s3->lock);
	sending->paced_ns = atomic_load(&parts->s3->paced_ns);
	count = count > fit ? (unsigned)fit : count;
	sending->slot_count = count ? count : 1;
	sending->multi = curl_multi_init();
	if (!sending->multi)
		return -ENOMEM;
	(void)curl_multi_setopt(sending->multi, CURLMOPT_PIPELINING, CURLPIPE_NOTHING);
	(void)curl_multi_setopt(sending->multi, CURLMOPT_MAXCONNECTS, (long)sending->slot_count);
	return 0;
}

static void fail(struct sending *sending, int error)
{
	if (sending->error == 0)
		sending->error = error;
}

static void clear_slot(struct sending *sending, struct slot *slot)
{
	s3_exchange_fini(&slot->exchange);
	give_slot(sending, slot);
}

/* A slot whose exchange is initialised goes (again). */
static void launch(struct sending *sending, struct slot *slot)
{
	int r = s3_exchange_begin(&slot->exchange);

	if (r == 0 && curl_multi_add_handle(sending->multi, slot->exchange.easy) != CURLM_OK)
		r = -ENOMEM;
	if (r < 0) {
		fail(sending, r);
		clear_slot(sending, slot);
		return;
	}
	slot->state = SLOT_MOVING;
}

static void landed(struct sending *sending, struct slot *slot, CURLcode curl)
{
	struct s3_reply *reply = &slot->exchange.reply;
	int64_t pause_ns = 0;
	int r = s3_exchange_end(&slot->exchange, curl, &pause_ns);

	count_moved(sending, slot);
	if (r == 1) {
		slot->state = SLOT_WAITING;
		slot->ready_ns = monotonic_ns() + pause_ns;
		return;
	}
	if (r == 0 && sending->parts->origin)
		r = s3_take_copied(reply);
	if (r == 0 && !reply->etag[0])
		r = -EREMOTEIO; /* it cannot be put together */
	if (r == 0)
		r = s3_part_arrived(sending->parts, slot->index, reply->etag);
	if (r < 0)
		fail(sending, r);
	clear_slot(sending, slot);
}

static struct slot *slot_of(struct sending *sending, const CURL *easy)
{
	for (unsigned i = 0; i < sending->slot_count; i++)
		if (sending->slots[i].state == SLOT_MOVING &&
		    sending->slots[i].exchange.easy == easy)
			return &sending->slots[i];
	return NULL;
}

/* Whatever can move without waiting. */
static void pump(struct sending *sending)
{
	const CURLMsg *message;
	int running, left;

	if (curl_multi_perform(sending->multi, &running) != CURLM_OK)
		fail(sending, -EREMOTEIO);
	while ((message = curl_multi_info_read(sending->multi, &left)) != NULL) {
		CURLcode curl = message->data.result;
		CURL *easy = message->easy_handle;
		struct slot *slot = slot_of(sending, easy);

		if (message->msg != CURLMSG_DONE || !slot)
			continue;
		(void)curl_multi_remove_handle(sending->multi, easy);
		landed(sending, slot, curl);
	}
	for (unsigned i = 0; i < sending->slot_count; i++) {
		struct slot *slot = &sending->slots[i];

		if (slot->state == SLOT_WAITING && slot->ready_ns <= monotonic_ns())
			launch(sending, slot);
	}
	tell_width(sending);
	if (atomic_load(&sending->parts->s3->stopping))
		fail(sending, -ECANCELED);
}

static int read_part(struct sending *sending, unsigned index, uint8_t *buffer)
{
	struct s3_parts *parts = sending->parts;
	const struct tier_source *source = parts->source;
	uint64_t start = index * parts->part_bytes;
	size_t length = s3_part_length(parts, index);

	for (size_t done = 0; done < length; done += BLOCK_BYTES) {
		size_t piece = length - done < BLOCK_BYTES ? length - done : BLOCK_BYTES;
		int r = source->read(source->arg, start + done, buffer + done, piece);

		if (r < 0)
			return r;
		digest_update(parts->digest, buffer + done, piece);
		parts->digested += piece;
		pump(sending);
		if (sending->error)
			return sending->error;
	}
	return 0;
}

/* The server has this part already, with these bytes: 1 yes, 0 no. */
static int has_part(struct s3_parts *parts, unsigned index, const uint8_t *buffer)
{
	char md5[33];

	if (!parts->listed[index] || s3_md5(buffer, s3_part_length(parts, index), md5) < 0 ||
	    strcasecmp(md5, parts->listed[index]) != 0)
		return 0;
	parts->etags[index] = take_ptr(parts->listed[index]);
	return 1;
}

/* The request of a part but for where its bytes come from. */
static void address(struct sending *sending, struct slot *slot, unsigned index)
{
	struct s3_parts *parts = sending->parts;

	slot->index = index;
	(void)snprintf(slot->number, sizeof(slot->number), "%u", index + 1);
	slot->request = (struct s3_request){
		.method = "PUT",
		.key = parts->key,
		.tries = PART_TRIES,
		/* Their connections are those of this upload alone. */
		.lower_effort = parts->source->lower_effort,
	};
	s3_add_query(&slot->request, "partNumber", slot->number);
	s3_add_query(&slot->request, "uploadId", parts->upload);
}

/* Read the next part and send it, unless the server has it. */
static int fill(struct sending *sending, struct slot *slot)
{
	struct s3_parts *parts = sending->parts;
	unsigned index = sending->next++;
	size_t length = s3_part_length(parts, index);
	int r;

	if (!slot->buffer)
		slot->buffer = malloc(parts->part_bytes);
	address(sending, slot, index);
	r = slot->buffer ? read_part(sending, index, slot->buffer) : -ENOMEM;
	if (r == 0)
		r = s3_payload_hash(slot->buffer, length, slot->request.payload_hash);
	if (r == 0)
		s3_sum_of(parts->sum_kind, slot->buffer, length, slot->request.payload_hash,
			  &parts->sums[index]);
	if (r == 0)
		r = has_part(parts, index, slot->buffer);
	if (r != 0) {
		give_slot(sending, slot);
		return r < 0 ? r : 0;
	}
	slot->request.body = slot->buffer;
	slot->request.body_length = length;
	slot->request.pace = parts->source;
	s3_sum_text(parts->sum_kind, &parts->sums[index], slot->sum);
	s3_add_sum(&slot->request, parts->sum_kind, slot->sum);
	s3_exchange_init(&slot->exchange, parts->s3, &slot->request);
	launch(sending, slot);
	return 0;
}

/* The next part comes from the origin. One that is there already shows in the ETag of the whole. */
static void fill_by_copy(struct sending *sending, struct slot *slot)
{
	struct s3_parts *parts = sending->parts;
	unsigned index = sending->next++;
	uint64_t start = index * parts->part_bytes;

	if (parts->listed[index]) {
		parts->etags[index] = take_ptr(parts->listed[index]);
		give_slot(sending, slot);
		return;
	}
	address(sending, slot, index);
	s3_add_origin(&slot->request, parts->origin);
	(void)snprintf(slot->range, sizeof(slot->range), "bytes=%" PRIu64 "-%" PRIu64, start,
		       start + s3_part_length(parts, index) - 1);
	s3_add_header(&slot->request, "x-amz-copy-source-range", slot->range);
	s3_exchange_init(&slot->exchange, parts->s3, &slot->request);
	launch(sending, slot);
}

int s3_send_parts(struct s3_parts *parts)
{
	cleanup_with(sending_fini) struct sending sending = { .parts = parts };
	int r = sending_init(&sending);

	while (r == 0) {
		struct slot *slot;

		while (sending.next < parts->count && parts->etags[sending.next])
			sending.next++; /* it was there when the upload was gone on with */

		sending.wanted = false;
		slot = sending.next < parts->count ? take_slot(&sending) : NULL;
		if (slot && parts->origin)
			fill_by_copy(&sending, slot);
		else if (slot)
			r = fill(&sending, slot);
		else if (sending.taken == 0)
			break;
		else
			(void)curl_multi_poll(sending.multi, NULL, 0, POLL_MS, NULL);
		pump(&sending);
		r = r < 0 ? r : sending.error;
	}
	return r;
}
