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
#include "util/crew.h"
#include "util/error.h"
#include "util/log.h"
#include "util/rate.h"
#include "volume/hydrate.h"
#include "volume/targets.h"

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

/* Files that are pinned and not here. */
struct pins {
	struct pin {
		uint64_t id, size;
	} list[PIN_IDS];
	size_t count;
};

struct keeper {
	/* Constant after keeper_new(). */
	struct volume *volume;
	struct thread thread, scrubber;
	struct bucket verify_rate;

	struct pins pins; /* the keeper's thread alone */

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

/* What the keeper's thread does, and when next; all times are monotonic. */
struct rounds {
	struct catalog_health told;
	int64_t look_ns; /* at the disk, also between two files that are fetched */
	int64_t room_ns;
	int64_t pins_ns;
	uint64_t seen, seen_for_pins;
	bool missed; /* one that is wanted could not be fetched */
};

static int collect_pinned(void *arg, const char *name, const struct node_row *row)
{
	struct pins *pins = arg;

	(void)name;
	if (row->flags & NODE_PINNED)
		pins->list[pins->count++] = (struct pin){ row->id, row->size };
	return pins->count == PIN_IDS;
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

static void look(struct keeper *keeper, struct rounds *rounds)
{
	int64_t now_ns = monotonic_ns();

	if (now_ns < rounds->look_ns)
		return;
	watch_catalog(keeper->volume, &rounds->told);
	if (now_ns >= rounds->room_ns && !keep_below(keeper))
		rounds->room_ns = now_ns + IN_VAIN_NS;
	rounds->look_ns = monotonic_ns() + LOOK_NS;
}

struct fetching {
	struct keeper *keeper;
	struct rounds *rounds; /* the keeper's thread alone */
	const struct pins *pins;
	atomic_bool missed;
};

static int fetch_one(void *arg, unsigned worker, size_t index)
{
	struct fetching *fetching = arg;
	int r = target_fetch(fetching->keeper->volume, fetching->pins->list[index].id);

	(void)worker;
	/* The others would wait as long, for nothing. */
	if (r == -ECANCELED || r == -EINTR || r == -ETIMEDOUT || r == -ENOSPC)
		return r;
	if (r < 0)
		atomic_store(&fetching->missed, true);
	return 0;
}

static bool is_large(void *arg, size_t index)
{
	return ((struct fetching *)arg)->pins->list[index].size >= TARGET_LARGE;
}

static int look_meanwhile(void *arg)
{
	struct fetching *fetching = arg;

	look(fetching->keeper, fetching->rounds);
	return is_stopping(fetching->keeper);
}

/* False: the rest was not tried. */
static bool fetch_list(struct keeper *keeper, struct rounds *rounds, const struct pins *pins)
{
	struct fetching fetching = { .keeper = keeper, .rounds = rounds, .pins = pins };
	const struct crew crew = {
		.name = "keeper-fetch",
		.threads = TARGETS_SIDE_BY_SIDE,
		.count = pins->count,
		.fn = fetch_one,
		.is_large = is_large,
		.tick = look_meanwhile,
		.arg = &fetching,
	};
	int r = crew_run(&crew);

	rounds->missed |= atomic_load(&fetching.missed);
	return r == 0;
}

static void fetch_pins(struct keeper *keeper, struct rounds *rounds, struct pins *pins)
{
	uint64_t after = 0;

	do {
		pins->count = 0;
		if (catalog_each_file(keeper->volume->catalog,
				      1u << FILE_EVICTED | 1u << FILE_HYDRATING, after,
				      collect_pinned, pins) < 0 ||
		    !fetch_list(keeper, rounds, pins))
			return;
		if (pins->count)
			after = pins->list[pins->count - 1].id;
	} while (pins->count == PIN_IDS);
}

/* Of what came into pinned folders, what still is to be here. */
static int keep_pinned(struct volume *volume, const uint64_t *ids, size_t count, struct pins *pins)
{
	int r = catalog_barrier(volume->catalog);

	pins->count = 0;
	for (size_t i = 0; r >= 0 && i < count; i++) {
		struct node_row row;

		r = catalog_get_node(volume->catalog, ids[i], &row);
		if (r > 0 && (row.state == FILE_EVICTED || row.state == FILE_HYDRATING))
			(void)collect_pinned(pins, NULL, &row);
	}
	return r;
}

static void fetch_wanted(struct keeper *keeper, struct rounds *rounds, struct pins *pins)
{
	int64_t soon_ns = monotonic_ns() + IN_VAIN_NS;
	struct volume *volume = keeper->volume;
	uint64_t ids[PIN_IDS];
	bool more = false;
	size_t count;

	rounds->missed = false;
	do {
		count = catalog_take_wanted(volume->catalog, ids, PIN_IDS, &more);
		if (count && (keep_pinned(volume, ids, count, pins) < 0 ||
			      !fetch_list(keeper, rounds, pins)))
			rounds->missed = true;
	} while (count && !rounds->missed);
	/* What came just now is tried once more before the turn of all. */
	if (more)
		rounds->pins_ns = 0;
	else if (rounds->missed && rounds->pins_ns > soon_ns)
		rounds->pins_ns = soon_ns;
}

static void *keeper_body(void *arg)
{
	struct keeper *keeper = arg;
	struct rounds rounds = { .seen_for_pins = UINT64_MAX };
	struct pins *pins = &keeper->pins;

	while (!is_stopping(keeper)) {
		rounds.look_ns = 0;
		look(keeper, &rounds);
		if (monotonic_ns() >= rounds.pins_ns || rounds.seen != rounds.seen_for_pins) {
			if (catalog_barrier(keeper->volume->catalog) == 0)
				fetch_pins(keeper, &rounds, pins);
			rounds.pins_ns = monotonic_ns() + PINS_NS;
			rounds.seen_for_pins = rounds.seen;
		}
		fetch_wanted(keeper, &rounds, pins);
		sleep_for(keeper, LOOK_NS, &rounds.seen);
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

static void be_idle(void)
{
	(void)syscall(SYS_ioprio_set, IOPRIO_WHO_PROCESS, 0, IOPRIO_IDLE);
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
