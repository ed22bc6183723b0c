/* SPDX-License-Identifier: Apache-2.0 */
#include "volume/keeper.h"

#include <errno.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <sys/statvfs.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "util/cleanup.h"
#include "util/clock.h"
#include "util/error.h"
#include "util/log.h"
#include "util/rate.h"
#include "volume/hydrate.h"

#define LOOK_NS NS_PER_SEC           /* between looks at the disk */
#define PINS_NS (300 * NS_PER_SEC)   /* between looks for pinned files that are not here */
#define IN_VAIN_NS (30 * NS_PER_SEC) /* when nothing could be evicted or checked */
/* Between checkpoints the WAL grows to 16 MiB, far more while readers hold it. */
#define RESERVE_LEAST (64ull << 20)

#define ADMIT_NS (250 * NS_PER_MS) /* how long what statvfs said is believed */
#define BUSY_NS (200 * NS_PER_MS)  /* steps aside this long at a time */

/* Eviction goes on until this much (per mille) below the watermark. */
#define EVICT_BELOW 20

#define SCRUB_IDS 64
#define PIN_IDS 256

/* Source: linux/ioprio.h, which Debian's headers do not install. */
#define IOPRIO_WHO_PROCESS 1
#define IOPRIO_IDLE (3 << 13)

struct keeper {
	/* Constant after keeper_new(). */
	struct volume *volume;
	struct thread thread, scrubber;
	struct bucket verify_rate;

	/* What keeper_admit() believes; racing looks do no harm. */
	_Atomic int64_t looked_ns;
	_Atomic int64_t room; /* bytes above the reserve */
	atomic_bool aside;    /* the scrub waits for what arrives */

	struct mutex lock; /* rank 42; guards the rest */
	struct cond changed;
	bool stopping;
	uint64_t wakes;
};

struct keeper *keeper_new(struct volume *volume)
{
	struct keeper *keeper = calloc(1, sizeof(*keeper));

	if (!keeper)
		return NULL;
	keeper->volume = volume;
	mutex_init(&keeper->lock, 42);
	cond_init(&keeper->changed);
	bucket_init(&keeper->verify_rate, 0);
	return keeper;
}

static bool is_stopping(void *arg)
{
	struct keeper *keeper = arg;

	scoped_lock(&keeper->lock);
	return keeper->stopping;
}

/* Sleep @ns, or until woken (*seen is behind) or stopped. */
static void sleep_for(struct keeper *keeper, int64_t ns, uint64_t *seen)
{
	int64_t until_ns = monotonic_ns() + ns;

	scoped_lock(&keeper->lock);
	while (!keeper->stopping && (!seen || *seen == keeper->wakes))
		if (!cond_wait_until(&keeper->changed, &keeper->lock, until_ns))
			break;
	if (seen)
		*seen = keeper->wakes;
}

void keeper_wake(struct keeper *keeper)
{
	scoped_lock(&keeper->lock);
	keeper->wakes++;
	cond_broadcast(&keeper->changed);
}

/* The reserve --------------------------------------------------------------------------- */

struct disk {
	uint64_t free_bytes, total_bytes;
};

uint64_t keeper_reserve(struct volume *volume, uint64_t total_bytes)
{
	uint64_t share = (uint64_t)volume_setting(volume, SETTING_RESERVE);
	uint64_t reserve = total_bytes / 1000 * share;

	if (share && reserve < RESERVE_LEAST)
		reserve = total_bytes / 4 < RESERVE_LEAST ? total_bytes / 4 : RESERVE_LEAST;
	return reserve;
}

static int look_at_disk(struct keeper *keeper, struct disk *ret_disk)
{
	struct volume *volume = keeper->volume;
	uint64_t reserve;
	struct statvfs st;

	if (fstatvfs(volume->store->root_fd, &st) < 0)
		return -errno;
	ret_disk->free_bytes = (uint64_t)st.f_bavail * st.f_frsize;
	ret_disk->total_bytes = (uint64_t)st.f_blocks * st.f_frsize;
	reserve = keeper_reserve(volume, ret_disk->total_bytes);
	atomic_store(&keeper->room, (int64_t)ret_disk->free_bytes - (int64_t)reserve);
	atomic_store(&keeper->looked_ns, monotonic_ns());
	return 0;
}

int keeper_admit(struct keeper *keeper, uint64_t bytes)
{
	struct disk disk;
	int64_t room;

	if (bytes > INT64_MAX / 2)
		return -ENOSPC;
	if (monotonic_ns() - atomic_load(&keeper->looked_ns) > ADMIT_NS)
		(void)look_at_disk(keeper, &disk); /* the write itself reports a disk that fails */
	room = atomic_fetch_sub(&keeper->room, (int64_t)bytes) - (int64_t)bytes;
	if (room >= 0)
		return 0;
	(void)atomic_fetch_add(&keeper->room, (int64_t)bytes);
	/* What was believed may have been used up by estimates only. */
	if (look_at_disk(keeper, &disk) == 0 && atomic_load(&keeper->room) >= (int64_t)bytes) {
		(void)atomic_fetch_sub(&keeper->room, (int64_t)bytes);
		return 0;
	}
	keeper_wake(keeper);
	return -ENOSPC;
}

/* The watermark ------------------------------------------------------------------------- */

/* True when it is below the watermark now. */
static bool keep_below(struct keeper *keeper)
{
	uint64_t above = (uint64_t)volume_setting(keeper->volume, SETTING_EVICT_ABOVE);
	uint64_t used, want;
	struct disk disk;
	int64_t freed;

	if (!above || look_at_disk(keeper, &disk) < 0 || !disk.total_bytes)
		return true;
	used = disk.total_bytes - disk.free_bytes;
	if (used <= disk.total_bytes / 1000 * above)
		return true;
	want = used - disk.total_bytes / 1000 * (above > EVICT_BELOW ? above - EVICT_BELOW : 0);
	freed = make_room(keeper->volume, want, is_stopping, keeper);
	if (freed > 0)
		log_info("disk above %llu%%: %lld MiB evicted", (unsigned long long)above / 10,
			 (long long)(freed >> 20));
	else if (freed < 0 && freed != -ECANCELED)
		log_warning_errno((int)freed, "cannot make room");
	return freed > 0;
}

/* Pins ---------------------------------------------------------------------------------- */

struct pins {
	uint64_t ids[PIN_IDS];
	size_t count;
};

static int collect_pinned(void *arg, const char *name, const struct node_row *row)
{
	struct pins *pins = arg;

	(void)name;
	if (row->flags & NODE_PINNED)
		pins->ids[pins->count++] = row->id;
	return pins->count == PIN_IDS;
}

static int fetch_pinned(struct volume *volume, uint64_t id)
{
	cleanup_with(live_put_slot) struct live *live = NULL;
	int r = live_get(volume, id, -1, &live);

	return r < 0 ? r : hydrate_all(live);
}

static void fetch_pins(struct keeper *keeper)
{
	struct volume *volume = keeper->volume;
	cleanup_free struct pins *pins = malloc(sizeof(*pins));
	uint64_t after = 0;

	if (!pins)
		return;
	do {
		pins->count = 0;
		if (catalog_each_file(volume->catalog, 1u << FILE_EVICTED | 1u << FILE_HYDRATING,
				      after, collect_pinned, pins) < 0)
			return;
		for (size_t i = 0; i < pins->count; i++) {
			int r = is_stopping(keeper) ? -ECANCELED
						    : fetch_pinned(volume, pins->ids[i]);

			/* The others would wait as long for nothing. */
			if (r == -ECANCELED || r == -EINTR || r == -ETIMEDOUT || r == -ENOSPC)
				return;
			after = pins->ids[i];
		}
	} while (pins->count == PIN_IDS);
}

static void be_idle(void)
{
	(void)syscall(SYS_ioprio_set, IOPRIO_WHO_PROCESS, 0, IOPRIO_IDLE);
}

/* Whoever is refused hears of it; this is for the log. @error: as it was told last. */
static void watch_catalog(struct volume *volume, struct catalog_health *told)
{
	struct catalog_health now;

	catalog_get_health(volume->catalog, &now);
	if (now.lost && !told->lost)
		log_error("the catalog failed: %s; unmount and mount again, it is then brought "
			  "level with the files",
			  error_text(now.error));
	else if (now.error && !told->error)
		log_error("the catalog cannot be written: %s; changes are kept in memory, and it "
			  "is tried again",
			  error_text(now.error));
	else if (!now.error && told->error)
		log_info("the catalog can be written again");
	*told = now;
}

static void *keeper_body(void *arg)
{
	struct keeper *keeper = arg;
	struct catalog_health told = { 0 };
	uint64_t seen = 0, seen_for_pins = UINT64_MAX;
	int64_t pins_ns = 0, room_ns = 0;

	while (!is_stopping(keeper)) {
		int64_t now_ns = monotonic_ns();

		watch_catalog(keeper->volume, &told);
		if (now_ns >= room_ns && !keep_below(keeper))
			room_ns = now_ns + IN_VAIN_NS;
		if (now_ns >= pins_ns || seen != seen_for_pins) {
			if (catalog_barrier(keeper->volume->catalog) == 0)
				fetch_pins(keeper);
			pins_ns = monotonic_ns() + PINS_NS;
			seen_for_pins = seen;
		}
		sleep_for(keeper, LOOK_NS, &seen);
	}
	return NULL;
}

/* The scrub ----------------------------------------------------------------------------- */

static int pace_scrub(void *arg, uint64_t bytes)
{
	struct keeper *keeper = arg;

	bool busy = volume_is_receiving(keeper->volume);

	atomic_store(&keeper->aside, busy);
	if (busy)
		sleep_for(keeper, BUSY_NS, NULL);
	if (is_stopping(keeper))
		return -ECANCELED;
	if (busy)
		return -EAGAIN;
	return bucket_take(&keeper->verify_rate, bytes);
}

/* How many of the files longest unchecked could be dealt with. */
static int scrub_some(struct keeper *keeper, int64_t interval_ns)
{
	struct volume *volume = keeper->volume;
	uint64_t ids[SCRUB_IDS];
	int count, dealt_with = 0;

	count = catalog_unchecked(volume->catalog, realtime_ns() - interval_ns, ids, SCRUB_IDS);
	for (int i = 0; i < count && !is_stopping(keeper); i++) {
		int r = scrub_file(volume, ids[i], pace_scrub, keeper);

		atomic_store(&keeper->aside, false);
		if (r == 0 || r == -EBADMSG || r == -EIO)
			dealt_with++;
		else if (r != -ECANCELED && r != -ESTALE && r != -EBUSY)
			log_info("scrub: inode %llu not checked: %s", (unsigned long long)ids[i],
				 error_text(r));
	}
	return dealt_with;
}

static void *scrubber_body(void *arg)
{
	struct keeper *keeper = arg;
	uint64_t seen = 0;

	be_idle();
	while (!is_stopping(keeper)) {
		struct volume *volume = keeper->volume;
		int64_t interval_ns = volume_setting(volume, SETTING_SCRUB_INTERVAL);

		bucket_set(&keeper->verify_rate,
			   (uint64_t)volume_setting(volume, SETTING_VERIFY_RATE));
		if (!interval_ns || scrub_some(keeper, interval_ns) == 0)
			sleep_for(keeper,
				  interval_ns && interval_ns < IN_VAIN_NS ? LOOK_NS : IN_VAIN_NS,
				  &seen);
	}
	return NULL;
}

bool keeper_steps_aside(struct keeper *keeper)
{
	return atomic_load(&keeper->aside);
}

int keeper_start(struct keeper *keeper)
{
	int r = thread_start(&keeper->thread, "keeper", keeper_body, keeper);

	return r < 0 ? r : thread_start(&keeper->scrubber, "scrub", scrubber_body, keeper);
}

void keeper_free(struct keeper *keeper)
{
	if (!keeper)
		return;
	mutex_lock(&keeper->lock);
	keeper->stopping = true;
	cond_broadcast(&keeper->changed);
	mutex_unlock(&keeper->lock);
	bucket_stop(&keeper->verify_rate);
	thread_join(&keeper->thread);
	thread_join(&keeper->scrubber);
	bucket_fini(&keeper->verify_rate);
	cond_fini(&keeper->changed);
	mutex_fini(&keeper->lock);
	free(keeper);
}
