/* SPDX-License-Identifier: Apache-2.0 */

/*
 * The parts of one object on their way, several at a time, in the caller's thread: it reads the
 * next part (block by block, checked by the source) while the others move.
 */
#include <errno.h>
#include <inttypes.h>
#include <string.h>

#include "tier/s3_multipart.h"
#include "util/cleanup.h"
#include "util/clock.h"

/* For the buffers of all parts on their way. */
#define BUFFERS_MAX_BYTES (128u << 20)

#define PART_TRIES 4u
#define POLL_MS 200

enum slot_state { SLOT_FREE, SLOT_MOVING, SLOT_WAITING };

struct slot {
	enum slot_state state;
	unsigned index; /* of the part, from 0 */
	char number[12], range[64];
	uint8_t *buffer; /* owned; parts->part_bytes */
	int64_t ready_ns;
	struct s3_request request;
	struct s3_exchange exchange; /* initialised unless free */
};

struct sending {
	struct s3_parts *parts;
	CURLM *multi; /* owned */
	struct slot slots[S3_PARALLEL_MAX];
	unsigned slot_count;
	unsigned next; /* part to read */
	int error;     /* the first that ends it all */
};

static void sending_fini(struct sending *sending)
{
	for (unsigned i = 0; i < sending->slot_count; i++) {
		struct slot *slot = &sending->slots[i];

		if (slot->state == SLOT_MOVING)
			(void)curl_multi_remove_handle(sending->multi, slot->exchange.easy);
		if (slot->state != SLOT_FREE)
			s3_exchange_fini(&slot->exchange);
		free(slot->buffer);
	}
	if (sending->multi)
		(void)curl_multi_cleanup(sending->multi);
}

static int sending_init(struct sending *sending)
{
	struct s3_parts *parts = sending->parts;
	uint64_t fit = BUFFERS_MAX_BYTES / parts->part_bytes;
	unsigned count = parts->s3->place.parallel;

	count = count > fit ? (unsigned)fit : count;
	count = count > parts->count ? parts->count : count;
	sending->slot_count = count ? count : 1;
	sending->multi = curl_multi_init();
	if (!sending->multi)
		return -ENOMEM;
	(void)curl_multi_setopt(sending->multi, CURLMOPT_PIPELINING, CURLPIPE_NOTHING);
	(void)curl_multi_setopt(sending->multi, CURLMOPT_MAXCONNECTS, (long)sending->slot_count);
	for (unsigned i = 0; i < sending->slot_count; i++) {
		if (parts->origin)
			continue; /* no byte of it comes here */
		sending->slots[i].buffer = malloc(parts->part_bytes);
		if (!sending->slots[i].buffer)
			return -ENOMEM;
	}
	return 0;
}

static void fail(struct sending *sending, int error)
{
	if (sending->error == 0)
		sending->error = error;
}

static void clear_slot(struct slot *slot)
{
	s3_exchange_fini(&slot->exchange);
	slot->state = SLOT_FREE;
}

/* A slot whose exchange is initialised goes (again). */
static void launch(struct sending *sending, struct slot *slot)
{
	int r = s3_exchange_begin(&slot->exchange);

	if (r == 0 && curl_multi_add_handle(sending->multi, slot->exchange.easy) != CURLM_OK)
		r = -ENOMEM;
	if (r < 0) {
		fail(sending, r);
		clear_slot(slot);
		return;
	}
	slot->state = SLOT_MOVING;
}

static void landed(struct sending *sending, struct slot *slot, CURLcode curl)
{
	struct s3_reply *reply = &slot->exchange.reply;
	int64_t pause_ns = 0;
	int r = s3_exchange_end(&slot->exchange, curl, &pause_ns);

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
	clear_slot(slot);
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
	int r = read_part(sending, index, slot->buffer);

	if (r == 0)
		r = has_part(parts, index, slot->buffer);
	if (r != 0)
		return r < 0 ? r : 0;
	address(sending, slot, index);
	slot->request.body = slot->buffer;
	slot->request.body_length = length;
	slot->request.pace = parts->source;
	r = s3_payload_hash(slot->buffer, length, slot->request.payload_hash);
	if (r < 0)
		return r;
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

/* The first free slot; *ret_busy: any is not free. */
static struct slot *look(struct sending *sending, bool *ret_busy)
{
	struct slot *found = NULL;

	*ret_busy = false;
	for (unsigned i = 0; i < sending->slot_count; i++) {
		if (sending->slots[i].state != SLOT_FREE)
			*ret_busy = true;
		else if (!found)
			found = &sending->slots[i];
	}
	return found;
}

int s3_send_parts(struct s3_parts *parts)
{
	cleanup_with(sending_fini) struct sending sending = { .parts = parts };
	int r = sending_init(&sending);

	while (r == 0) {
		bool busy;
		struct slot *slot = look(&sending, &busy);

		while (sending.next < parts->count && parts->etags[sending.next])
			sending.next++; /* it was there when the upload was gone on with */

		if (slot && sending.next < parts->count && parts->origin)
			fill_by_copy(&sending, slot);
		else if (slot && sending.next < parts->count)
			r = fill(&sending, slot);
		else if (!busy)
			break;
		else
			(void)curl_multi_poll(sending.multi, NULL, 0, POLL_MS, NULL);
		pump(&sending);
		r = r < 0 ? r : sending.error;
	}
	return r;
}
