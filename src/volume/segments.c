/* SPDX-License-Identifier: Apache-2.0 */
#include "volume/segments.h"

#include <stdatomic.h>
#include <stdlib.h>

#include "util/crew.h"

#define SIDE_BY_SIDE 8
#define BATCH_BYTES (32u << 20)

/* Of fewer than these the rest of a bundle is not worth its bytes. */
#define BUNDLE_WORTH 32

static void clear(struct segments *segments)
{
	for (size_t i = 0; i < segments->count; i++)
		free(segments->objects[i].bytes);
	segments->count = 0;
	segments->opened = NULL;
}

void segments_fini(struct segments *segments)
{
	clear(segments);
}

static struct segments_object plan_object(const struct segments *segments, uint64_t number,
					  uint64_t last)
{
	uint64_t first = bundle_first(bundle_of(number));
	uint64_t end = first + BUNDLE_SEGMENTS - 1;

	if (end > segments->alone && end <= last && end - number + 1 >= BUNDLE_WORTH)
		return (struct segments_object){ .first = first, .count = BUNDLE_SEGMENTS };
	return (struct segments_object){ .first = number, .count = 1 };
}

static int fetch_one(void *arg, unsigned worker, size_t index)
{
	struct segments *segments = arg;
	struct segments_object *object = &segments->objects[index];

	(void)worker;
	object->result = object->count > 1
				 ? journal_get_bundle(segments->tier, segments->site,
						      bundle_of(object->first), &object->bytes,
						      &object->length)
				 : journal_get_packed(segments->tier, segments->site, object->first,
						      &object->bytes, &object->length);
	object->done = true;
	if (object->result < 0)
		return object->result;
	return atomic_fetch_add(&segments->bytes, object->length) + object->length >= BATCH_BYTES;
}

static int stop(void *arg)
{
	struct segments *segments = arg;

	return segments->stop(segments->arg);
}

/* At least the object with the segment @number. */
static void fetch(struct segments *segments, uint64_t number, uint64_t last)
{
	struct crew crew = { .name = "sync-read",
			     .threads = SIDE_BY_SIDE,
			     .fn = fetch_one,
			     .tick = stop,
			     .arg = segments };

	clear(segments);
	segments->bytes = 0;
	while (number <= last && segments->count < SEGMENTS_OBJECTS) {
		struct segments_object object = plan_object(segments, number, last);

		segments->objects[segments->count++] = object;
		number = object.first + object.count;
	}
	crew.count = segments->count;
	/* What went wrong is told when it is that object's turn. */
	if (segments->count > 1)
		(void)crew_run(&crew);
	if (!segments->objects[0].done)
		(void)fetch_one(segments, 0, 0);
}

static struct segments_object *find(struct segments *segments, uint64_t number)
{
	for (size_t i = 0; i < segments->count; i++) {
		struct segments_object *object = &segments->objects[i];

		if (number >= object->first && number - object->first < object->count)
			return object->done ? object : NULL;
	}
	return NULL;
}

static bool open_bundle(struct segments *segments, const struct segments_object *object)
{
	if (segments->opened == object)
		return true;
	segments->opened = NULL;
	if (object->result < 0 || !bundle_unpack(object->bytes, object->length, segments->parts))
		return false;
	segments->opened = object;
	return true;
}

/* As long as the tier answers: by itself is what every segment is. */
static bool is_without(const struct segments_object *object)
{
	return object->result == 0 || object->result == -ENOENT || object->result == -EFBIG;
}

int segments_take(struct segments *segments, uint64_t number, uint64_t last,
		  struct bundle_part *ret_packed)
{
	struct segments_object *object = find(segments, number);

	if (!object)
		fetch(segments, number, last);
	object = find(segments, number);
	if (object->count > 1 && !open_bundle(segments, object)) {
		if (!is_without(object))
			return object->result;
		(void)segments_leave_bundle(segments, number);
		fetch(segments, number, last);
		object = find(segments, number);
	}
	if (object->count > 1)
		*ret_packed = segments->parts[number - object->first];
	else
		*ret_packed = (struct bundle_part){ object->bytes, object->length };
	return object->result;
}

bool segments_leave_bundle(struct segments *segments, uint64_t number)
{
	struct segments_object *object = find(segments, number);

	if (!object || object->count == 1)
		return false;
	segments->alone = object->first + object->count - 1;
	clear(segments);
	return true;
}
