/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Programs that copy with times (Finder, Nautilus, cp -p, rsync -t) set a file's time last. So
 * beside files that have another time than that of their writing, a clip that has its own was not
 * finished. Nothing follows from it where no file's time was set.
 *
 * What the rules for cards find to be missing may be missing on the card too, and a clip that is
 * shorter than its header says may be so on the card: a camera lost its power.
 */
#include "volume/incomplete.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "util/cleanup.h"
#include "util/clock.h"
#include "util/units.h"
#include "volume/media.h"
#include "volume/seals.h"
#include "volume/tree.h"

/* In times of settling, which is a minute: an hour for what the card may lack itself, a day. */
#define WAIT_FOR_REST 60
#define WAIT_FOR_COPY 1440
#define WAIT_MOST_NS (86400 * NS_PER_SEC)

/* Finder's type and creator of a file that it is copying, the first of its FinderInfo.
 * Source: kFirstMagicBusyFiletype and kMagicBusyCreator, CarbonCore Finder.h. */
#define BUSY "brokMACS"
#define INFO_MAX 512 /* an AppleDouble header with the FinderInfo in it, as Samba keeps it */

static int64_t wait_ns(struct volume *volume, int64_t times)
{
	int64_t settle_ns = volume_setting(volume, SETTING_MANIFEST_SETTLE);

	return settle_ns > WAIT_MOST_NS / times ? WAIT_MOST_NS : settle_ns * times;
}

/* What lies further back than a clock says is old; so is what comes from the future. */
static bool is_recent(int64_t at_ns, int64_t span_ns)
{
	int64_t now_ns = realtime_ns();

	return at_ns > now_ns - span_ns && at_ns <= now_ns;
}

static int64_t stamp_ns(const struct statx_timestamp *stamp)
{
	return stamp->tv_sec * NS_PER_SEC + stamp->tv_nsec;
}

/* A small file is made and written within one tick of the clock: then nothing can be told. */
enum time_kind { TIME_UNKNOWN, TIME_OF_WRITE, TIME_SET };

/* Of a file, made after @since_ns. */
static int find_time_kind(struct volume *volume, const struct node_row *row, int64_t since_ns,
			  enum time_kind *ret_kind)
{
	cleanup_close int fd = tree_open(volume, row->id, O_PATH);
	const unsigned wanted = STATX_BTIME | STATX_CTIME | STATX_MTIME;
	int64_t mtime_ns, btime_ns;
	struct statx st;

	*ret_kind = TIME_UNKNOWN;
	if (fd < 0)
		return fd == -ESTALE || fd == -ENOENT ? 0 : fd;
	if (statx(fd, "", AT_EMPTY_PATH | AT_SYMLINK_NOFOLLOW, wanted, &st) < 0)
		return -errno;
	mtime_ns = stamp_ns(&st.stx_mtime);
	btime_ns = stamp_ns(&st.stx_btime);
	if ((st.stx_mask & wanted) != wanted || btime_ns <= since_ns || mtime_ns == btime_ns)
		return 0;
	/* A camera whose clock is ahead makes times that are later than ours. */
	*ret_kind = mtime_ns < btime_ns || mtime_ns > stamp_ns(&st.stx_ctime) ? TIME_SET
									      : TIME_OF_WRITE;
	return 0;
}

/* Where Samba (fruit:metadata=stream, =netatalk) and others keep what Finder says of a file. */
static bool is_busy(struct volume *volume, const struct node_row *row)
{
	static const char *const names[] = { "user.DosStream.AFP_AfpInfo:$DATA",
					     "user.org.netatalk.Metadata",
					     "user.com.apple.FinderInfo" };
	char info[INFO_MAX];

	for (size_t i = 0; i < ARRAY_SIZE(names); i++) {
		ssize_t length = volume_getxattr(volume, row->id, names[i], info, sizeof(info));

		if (length > 0 && memmem(info, (size_t)length, BUSY, strlen(BUSY)))
			return true;
	}
	return false;
}

/* 1: of the files of clips the one with the oldest time has a time that was set. */
static int keeps_times(struct volume *volume, const struct offload *offload)
{
	const struct node_row *oldest = NULL;
	enum time_kind kind = TIME_UNKNOWN;
	int r = 0;

	for (size_t i = 0; i < offload->name_count; i++) {
		const struct node_row *row = &offload->names[i].row;

		if (offload->card->places[i].clip != CARD_NO_CLIP &&
		    (!oldest || row->mtime_ns < oldest->mtime_ns))
			oldest = row;
	}
	if (oldest)
		r = find_time_kind(volume, oldest, 0, &kind);
	return r < 0 ? r : kind == TIME_SET;
}

int offload_broken_off(struct volume *volume, const struct offload *offload, const char **ret_path)
{
	int64_t span_ns = wait_ns(volume, WAIT_FOR_COPY);
	/* What was made until then is told of, and cannot be copied over. */
	int64_t sealed_ns = seals_since(volume->seals, offload->id);
	int r = seals_was_opened(volume->seals, offload->id), keeps;
	enum time_kind kind;

	if (r != 0)
		return r < 0 ? r : 0;
	keeps = keeps_times(volume, offload);
	for (size_t i = 0; keeps >= 0 && i < offload->name_count; i++) {
		const struct offload_name *name = &offload->names[i];

		if (!offload->card->places[i].media || !is_recent(name->row.mtime_ns, span_ns))
			continue;
		r = find_time_kind(volume, &name->row, sealed_ns, &kind);
		if (r < 0)
			return r;
		if (kind != TIME_OF_WRITE || !(keeps || is_busy(volume, &name->row)))
			continue;
		*ret_path = name->path;
		return 1;
	}
	return keeps < 0 ? keeps : 0;
}

static const struct card_warning *find_missing(const struct card *card)
{
	for (size_t i = 0; i < card->warning_count; i++) {
		if (card->warnings[i].kind != CARD_TWO_REELS)
			return &card->warnings[i];
	}
	return NULL;
}

/* 1: the file was made after @since_ns, or nobody knows when; 0: before, or it is gone. */
static int was_made_since(struct volume *volume, const struct node_row *row, int64_t since_ns)
{
	cleanup_close int fd = tree_open(volume, row->id, O_PATH);
	struct statx st;

	if (fd < 0)
		return fd == -ESTALE || fd == -ENOENT ? 0 : fd;
	if (statx(fd, "", AT_EMPTY_PATH | AT_SYMLINK_NOFOLLOW, STATX_BTIME, &st) < 0)
		return -errno;
	return !(st.stx_mask & STATX_BTIME) || stamp_ns(&st.stx_btime) > since_ns;
}

/* 1: *ret_path is shorter than it says, and not sealed already: then nothing could be mended. */
static int is_cut_off(struct volume *volume, const struct offload *offload, int64_t newest_ns,
		      const char **ret_path)
{
	int64_t sealed_ns = seals_since(volume->seals, offload->id);
	cleanup_with(media_fini) struct media media = { 0 };
	int r = seals_was_opened(volume->seals, offload->id);

	if (r != 0 || !is_recent(newest_ns, wait_ns(volume, WAIT_FOR_COPY)))
		return r < 0 ? r : 0;
	r = media_of(offload, &media);
	for (size_t i = 0; r == 0 && i < media.count; i++) {
		const struct offload_name *name = media.files[i].name;
		uint64_t bytes;

		r = media_whole_bytes(volume->catalog, name->row.content, &bytes);
		if (r == 0 && bytes)
			r = was_made_since(volume, &name->row, sealed_ns);
		if (r > 0)
			*ret_path = name->path;
	}
	return r;
}

int offload_looks_incomplete(struct volume *volume, const struct offload *offload,
			     int64_t newest_ns, char *ret_why, size_t size)
{
	const struct card_warning *missing = find_missing(offload->card);
	int64_t rest_ns = wait_ns(volume, WAIT_FOR_REST);
	const char *path = NULL;
	char span[32];
	int r = offload_broken_off(volume, offload, &path);

	if (r > 0)
		(void)snprintf(ret_why, size,
			       "%s looks as if its copy was broken off, its time was never set: "
			       "copy it again. If it is whole: mediafs manifest create, mediafs "
			       "seal",
			       path);
	if (r == 0) {
		r = is_cut_off(volume, offload, newest_ns, &path);
		if (r > 0)
			(void)snprintf(ret_why, size,
				       "%s is shorter than its header says, as if its copy was "
				       "broken off: copy it again. If the card has it so: mediafs "
				       "manifest create, mediafs seal",
				       path);
	}
	if (r != 0 || !missing || !is_recent(newest_ns, rest_ns))
		return r;
	r = seals_was_opened(volume->seals, offload->id);
	if (r != 0)
		return r < 0 ? r : 0;
	(void)snprintf(ret_why, size, "%s: the rest of it is waited for, up to %s", missing->text,
		       format_duration(rest_ns, span, sizeof(span)));
	return 1;
}
