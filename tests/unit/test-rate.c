/* SPDX-License-Identifier: Apache-2.0 */
#include "util/rate.h"

#include <errno.h>

#include "test.h"
#include "util/clock.h"

struct taker {
	struct bucket *bucket;
	struct thread thread;
	int result;
};

static void *take_twice(void *arg)
{
	struct taker *taker = arg;

	taker->result = bucket_take(taker->bucket, 1000000);
	if (taker->result == 0)
		taker->result = bucket_take(taker->bucket, 1);
	return NULL;
}

TEST(a_bucket_keeps_to_its_rate)
{
	struct bucket bucket;
	int64_t start = monotonic_ns();

	bucket_init(&bucket, 1000000);
	for (int i = 0; i < 11; i++)
		check_int(bucket_take(&bucket, 30000), 0);
	/* Ten of eleven are paid for; nothing was saved up. */
	check(monotonic_ns() - start >= 299 * NS_PER_MS);
	bucket_fini(&bucket);
}

/* An hour of a clock of ours: who takes now and then, in pieces of any size up to 64 KiB. */
TEST(over_any_ten_seconds_no_more_passes_than_the_rate)
{
	enum { RATE = 2 << 20, WINDOW_S = 10, MOST = 400000 };
	static struct {
		int64_t when;
		uint64_t before; /* all that passed until then */
	} passed[MOST];
	struct bucket bucket;
	int64_t begin, now, idle = 0;
	uint64_t total = 0;
	uint32_t noise = 7;
	size_t count = 0, first = 0;

	bucket_init(&bucket, RATE);
	begin = now = monotonic_ns() + NS_PER_SEC;
	while (count < MOST && now - begin < 3600 * NS_PER_SEC) {
		uint64_t bytes = (noise = noise * 1664525 + 1013904223) >> 16;
		int64_t wait;

		while ((wait = bucket_take_at(&bucket, now, bytes)) > 0)
			now += wait;
		passed[count].when = now;
		passed[count++].before = total;
		total += bytes;
		while (now - passed[first].when > WINDOW_S * NS_PER_SEC)
			first++;
		check(total - passed[first].before <= (uint64_t)RATE * WINDOW_S);
		if (bytes % 512 == 0) { /* something is saved up */
			now += (int64_t)(bytes % 7) * NS_PER_SEC / 4;
			idle += (int64_t)(bytes % 7) * NS_PER_SEC / 4;
		}
	}
	check(count > 100000);
	check((double)total >= 0.98 * RATE * ((double)(now - begin - idle) / 1e9));
	bucket_fini(&bucket);
}

TEST(a_bucket_without_limit_never_waits)
{
	struct bucket bucket;
	int64_t start = monotonic_ns();

	bucket_init(&bucket, 0);
	for (int i = 0; i < 1000; i++)
		check_int(bucket_take(&bucket, UINT64_MAX), 0);
	check(monotonic_ns() - start < NS_PER_SEC);
	bucket_fini(&bucket);
}

TEST(a_new_limit_and_a_stop_reach_who_waits)
{
	struct bucket bucket;
	struct taker taker = { .bucket = &bucket };
	int64_t start = monotonic_ns();

	bucket_init(&bucket, 1); /* the second take would wait eleven days */
	check_int(thread_start(&taker.thread, "taker", take_twice, &taker), 0);
	bucket_set(&bucket, 0);
	thread_join(&taker.thread);
	check_int(taker.result, 0);

	bucket_set(&bucket, 1);
	check_int(thread_start(&taker.thread, "taker", take_twice, &taker), 0);
	bucket_stop(&bucket);
	thread_join(&taker.thread);
	check_int(taker.result, -ECANCELED);
	check_int(bucket_take(&bucket, 1), -ECANCELED);
	check(monotonic_ns() - start < 30 * NS_PER_SEC);
	bucket_fini(&bucket);
}

TEST(a_meter_shows_the_last_seconds)
{
	struct meter meter;

	meter_init(&meter);
	check_int(meter_rate(&meter), 0);
	meter_add(&meter, 5000000);
	meter.start_ns -= NS_PER_SEC; /* as if a second had passed */
	check(meter_rate(&meter) > 4000000 && meter_rate(&meter) <= 5000000);
	meter_add(&meter, 1000);
	meter.start_ns -= 2 * NS_PER_SEC;
	check_int(meter_rate(&meter), 0);
	check_int(meter_total(&meter), 5001000);
	meter_fini(&meter);
}
