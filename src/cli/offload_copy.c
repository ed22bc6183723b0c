/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/xattr.h>
#include <unistd.h>

#include "catalog/state.h"
#include "cli/offload.h"
#include "util/cleanup.h"
#include "util/clock.h"
#include "util/folder.h"
#include "util/io.h"

#define PART_SUFFIX ".mediafs-part"
#define NAME_BYTES 255
#define CUT_SUFFIX_BYTES 17 /* "-" and a hash: what tells long names apart */

/* What the daemon tells of files, volume/xattr_virtual.c; what nobody can set. */
#define OURS "user.mediafs."
#define ATTRIBUTE_MAX 65536 /* XATTR_SIZE_MAX and XATTR_LIST_MAX of linux/limits.h */

/* Permissions and the sticky bit: a set-id bit on a card would make its file act as us. */
#define MODE_BITS 01777u

/*
 * After so many files in a row that were not elsewhere the rest of the card is copied at once:
 * frames all have one size, whatever is on them.
 */
#define MISSES_MAX 3

/* Between two looks, and how long a file that somebody is still writing to is waited for. */
#define LOOK_NS (20 * NS_PER_MS)
#define WRITER_NS (30 * NS_PER_SEC)

/* One file on its way. */
struct copying {
	struct copier *copier;
	struct offload_card *card;
	const struct source_entry *entry;
	uint64_t offset;
	uint64_t seen;  /* bytes that were read, as progress has them */
	bool writing;   /* a write was begun */
	int dest_error; /* why it could not be written */
	/* The digest of as many bytes as what has the name already has. */
	struct digest_state *prefix; /* owned; NULL: not asked for */
	uint64_t prefix_bytes;
};

static bool is_small(const struct item *item)
{
	return item->entry->size < KNOWN_FROM_BYTES;
}

bool offload_volume_is_gone(int error)
{
	return error == -ENOTCONN || error == -ECONNABORTED || error == -ENODEV;
}

int offload_part(const char *path, char *ret_part, size_t size)
{
	const char *slash = strrchr(path, '/'), *name = slash ? slash + 1 : path;
	size_t length = strlen(name), room = NAME_BYTES - 1 - strlen(PART_SUFFIX);
	int folder = (int)(name - path), n;

	if (length <= room) {
		n = snprintf(ret_part, size, "%.*s.%s" PART_SUFFIX, folder, path, name);
	} else {
		uint64_t hash = block_hash(name, length);

		length = room - CUT_SUFFIX_BYTES;
		while (length > 0 && ((unsigned char)name[length] & 0xc0) == 0x80)
			length--; /* not within a character of UTF-8 */
		n = snprintf(ret_part, size, "%.*s.%.*s-%016llx" PART_SUFFIX, folder, path,
			     (int)length, name, (unsigned long long)hash);
	}
	return n < 0 || (size_t)n >= size ? -ENAMETOOLONG : 0;
}

/* The value of our attribute @name of @path, as text. Negative errno. */
static int get_text(const struct offload_card *card, const char *path, const char *name,
		    char *ret_text, size_t size)
{
	char below[OFFLOAD_PATH_MAX + 96];
	ssize_t n;

	(void)snprintf(below, sizeof(below), "/proc/self/fd/%d/%s", card->to_fd, path);
	n = lgetxattr(below, name, ret_text, size - 1);
	if (n < 0)
		return -errno;
	ret_text[n] = '\0';
	return 0;
}

int offload_ask(const struct offload_card *card, const char *path, struct digest *ret_digest)
{
	char text[64];
	int r = get_text(card, path, OURS "state", text, sizeof(text));

	if (r < 0)
		return r;
	if (strcmp(text, file_state_name(FILE_DAMAGED)) == 0)
		return -EBADMSG;
	for (int state = 0; state < FILE_STATE_COUNT; state++) {
		if (!file_state_is_verified((enum file_state)state) ||
		    strcmp(text, file_state_name((enum file_state)state)) != 0)
			continue;
		r = get_text(card, path, OURS "digest", text, sizeof(text));
		if (r == -ENODATA)
			return 0; /* rewritten between the two questions */
		if (r == 0 && digest_parse(text, ret_digest) < 0)
			r = -EPROTO;
		return r < 0 ? r : 1;
	}
	return 0;
}

static bool is_written_to(const struct offload_card *card, const char *path)
{
	char text[64];

	return get_text(card, path, OURS "state", text, sizeof(text)) == 0 &&
	       strcmp(text, file_state_name(FILE_RECEIVING)) == 0;
}

/*
 * As offload_ask() of @path, when what somebody has just copied there is read back. 0: it is
 * written to and goes on to be. -ECANCELED: all is to stop.
 */
static int await_verified(const struct offload_card *card, const char *path,
			  struct digest *ret_digest)
{
	int64_t start_ns = monotonic_ns();

	for (;;) {
		int r = offload_ask(card, path, ret_digest);

		if (r != 0)
			return r;
		if (atomic_load(&card->offload->stopped))
			return -ECANCELED;
		if (monotonic_ns() - start_ns > WRITER_NS && is_written_to(card, path))
			return 0;
		cli_pause(LOOK_NS);
	}
}

/* Attributes ------------------------------------------------------------------------------ */

static bool is_wanted(const char *name)
{
	return (strncmp(name, "user.", 5) == 0 && strncmp(name, OURS, strlen(OURS)) != 0) ||
	       strncmp(name, "osx.", 4) == 0 || strcmp(name, "system.posix_acl_access") == 0;
}

/* What people and programs have attached to @path of the card. What cannot be kept is counted. */
static int copy_attributes(struct offload_card *card, const char *path, int to)
{
	cleanup_free char *names = malloc(ATTRIBUTE_MAX), *value = malloc(ATTRIBUTE_MAX);
	char from[OFFLOAD_PATH_MAX + 96];
	ssize_t length, n;

	if (!names || !value)
		return -ENOMEM;
	(void)snprintf(from, sizeof(from), "/proc/self/fd/%d/%s", card->source.fd, path);
	length = llistxattr(from, names, ATTRIBUTE_MAX);
	for (const char *name = names; length > 0 && name < names + length;
	     name += strlen(name) + 1) {
		if (!is_wanted(name))
			continue;
		n = lgetxattr(from, name, value, ATTRIBUTE_MAX);
		if (n < 0 || fsetxattr(to, name, value, (size_t)n, 0) < 0) {
			if (offload_volume_is_gone(-errno))
				return -errno;
			atomic_fetch_add(&card->attributes_lost, 1);
		}
	}
	return 0;
}

/* Bytes ----------------------------------------------------------------------------------- */

static int write_block(void *arg, void *buffer, uint64_t offset, size_t length)
{
	const struct copier *copier = arg;

	return write_at(copier->part_fd, buffer, length, (off_t)offset);
}

/* The block before is written: its memory may be read into. */
static void await_write(void *arg)
{
	struct copying *copying = arg;

	if (copying->writing && copying->dest_error == 0)
		copying->dest_error = ahead_wait(&copying->copier->writer);
	copying->writing = false;
}

static int before_block(void *arg, uint64_t bytes)
{
	struct copying *copying = arg;

	(void)bytes;
	await_write(copying);
	return copying->dest_error || atomic_load(&copying->card->offload->stopped);
}

static int take_block(void *arg, const void *bytes, size_t length)
{
	struct copying *copying = arg;
	struct copier *copier = copying->copier;
	uint64_t offset = copying->offset;

	if (copier->part_fd >= 0 && length == copying->entry->size) {
		copying->dest_error = write_at(copier->part_fd, bytes, length, 0);
	} else if (copier->part_fd >= 0) {
		await_write(copying);
		if (copying->dest_error)
			return -ECANCELED;
		ahead_begin(&copier->writer, (void *)bytes, offset, length);
		copying->writing = true;
	}
	if (copying->prefix && offset < copying->prefix_bytes) {
		uint64_t left = copying->prefix_bytes - offset;

		digest_update(copying->prefix, bytes, left < length ? (size_t)left : length);
	}
	copying->offset += length;
	copying->seen += length;
	atomic_fetch_add(&copying->card->seen_bytes, length);
	return copying->dest_error ? -ECANCELED : 0;
}

static int compare_manifest(const struct offload_card *card, struct item *item,
			    uint8_t values[HASH_FORMATS][HASH_MAX_BYTES])
{
	const struct source_entry *entry = item->entry;
	int r;

	item->manifest = MANIFEST_SILENT;
	if (!expected_formats(card->expected, entry->path))
		return 0;
	free(item->manifest_why);
	item->manifest_why = NULL;
	r = expected_check(card->expected, entry->path, entry->size, values, &item->manifest_why);
	if (r >= 0)
		item->manifest = r ? MANIFEST_EQUAL : MANIFEST_DIFFERENT;
	return r < 0 ? r : 0;
}

static int keep_on(void *arg, uint64_t bytes)
{
	const struct copying *copying = arg;

	(void)bytes;
	return atomic_load(&copying->card->offload->stopped);
}

/* A reader or cable that errs does not err twice in the same way. */
static int read_again(struct copying *copying, struct item *item)
{
	struct source_hash read = { .pace = keep_on, .arg = copying };
	int r = source_hash(&copying->card->source, item->entry, &read);

	item->doing = "read it from the card twice alike";
	item->cached = r == 0 && read.from == READBACK_CACHED;
	return r == 0 && !digest_equal(&read.digest, &item->digest) ? -EBADMSG : r;
}

/* Read the card's file; into the part, if that is open. The digest, or the item fails. */
static int read_item(struct copying *copying, struct item *item)
{
	struct offload_card *card = copying->card;
	struct source_hash read = {
		.formats = expected_formats(card->expected, item->entry->path),
		.pace = before_block,
		.tap = take_block,
		.release = await_write,
		.arg = copying,
	};
	int r;

	copying->offset = 0;
	item->doing = "read it from the card";
	r = source_hash(&card->source, item->entry, &read);
	if (copying->dest_error) {
		item->doing = "write it";
		return copying->dest_error;
	}
	item->digest = read.digest;
	if (r == 0)
		r = compare_manifest(card, item, read.values);
	return r == 0 && card->offload->reread ? read_again(copying, item) : r;
}

/* The part ---------------------------------------------------------------------------------- */

/* The room there is now: what cannot fit does not fill the volume first. */
static int check_room(const struct offload_card *card, uint64_t size)
{
	struct statvfs fs;

	if (fstatvfs(card->to_fd, &fs) < 0)
		return -errno;
	return (uint64_t)fs.f_bavail * fs.f_frsize < size ? -ENOSPC : 0;
}

static int set_times(int fd, int64_t mtime_ns)
{
	struct timespec times[2] = { { .tv_nsec = UTIME_OMIT }, ns_timespec(mtime_ns) };

	return futimens(fd, times) < 0 ? -errno : 0;
}

/* All of the part but its bytes, as on the card. */
static int dress_part(struct offload_card *card, const struct source_entry *entry, int fd)
{
	int r = copy_attributes(card, entry->path, fd);
	struct stat st;

	if (r == 0 && (fstat(fd, &st) < 0 || ((st.st_mode & 07777u) != (entry->mode & MODE_BITS) &&
					      fchmod(fd, entry->mode & MODE_BITS) < 0)))
		r = -errno;
	return r < 0 ? r : set_times(fd, entry->mtime_ns);
}

static int close_part(struct copier *copier, const struct source_entry *entry)
{
	int r = dress_part(copier->card, entry, copier->part_fd);

	if (close(take_fd(copier->part_fd)) < 0 && r == 0)
		r = -errno;
	return r;
}

static int write_part(struct copying *copying, struct item *item, const char *part)
{
	struct copier *copier = copying->copier;
	struct offload_card *card = copying->card;
	int r = is_small(item) ? 0 : check_room(card, item->entry->size);

	item->doing = "write it";
	if (r == 0) {
		/* The owner may write: attributes follow. */
		copier->part_fd = open_beneath(card->to_fd, part, O_CREAT | O_EXCL | O_WRONLY,
					       (item->entry->mode & 0777) | 0600);
		r = copier->part_fd < 0 ? copier->part_fd : 0;
	}
	if (r < 0)
		return r;
	r = read_item(copying, item);
	if (r == 0) {
		item->doing = "write it";
		r = close_part(copier, item->entry);
	}
	if (copier->part_fd >= 0)
		(void)close(take_fd(copier->part_fd)); /* it failed already */
	if (r < 0)
		(void)unlinkat(card->to_fd, part, 0);
	return r;
}

/* Decisions --------------------------------------------------------------------------------- */

/* Something has the name of the part: 1 it has the bytes of the card's file; 0 it was removed. */
static int adopt_part(struct copying *copying, struct item *item, const char *part)
{
	struct offload_card *card = copying->card;
	struct digest digest;
	struct stat st;
	int r;

	if (fstatat(card->to_fd, part, &st, AT_SYMLINK_NOFOLLOW) < 0)
		return errno == ENOENT ? 0 : -errno;
	if (S_ISREG(st.st_mode) && (uint64_t)st.st_size == item->entry->size &&
	    offload_ask(card, part, &digest) == 1) {
		cleanup_close int fd = open_beneath(card->to_fd, part, O_RDONLY, 0);

		r = fd < 0 ? fd : read_item(copying, item);
		if (r < 0)
			return r;
		if (digest_equal(&digest, &item->digest)) {
			/* Who wrote it may have been killed before that. */
			r = dress_part(card, item->entry, fd);
			return r < 0 ? r : 1;
		}
	}
	item->doing = "write it";
	return unlinkat(card->to_fd, part, 0) < 0 ? -errno : 0;
}

/* Of what has the name and is not shorter: reading the card goes on while it is read back. */
static int judge_whole(struct copying *copying, struct item *item, uint64_t size)
{
	struct offload_card *card = copying->card;
	struct digest digest;
	int r = size == item->entry->size ? read_item(copying, item) : 0;

	if (r < 0)
		return r;
	item->doing = "look at what has its name";
	r = await_verified(card, item->entry->path, &digest);
	if (r == 1 && size == item->entry->size && digest_equal(&digest, &item->digest)) {
		item->state = ITEM_THERE;
	} else if (r == 1 && offload_history_goes_on(card, item->entry->path)) {
		item->state = ITEM_THERE;
		return size == item->entry->size ? 0 : read_item(copying, item);
	}
	return r < 0 && r != -EBADMSG ? r : 0;
}

/*
 * Something of @size bytes has the name: ITEM_THERE when it has the bytes of the card's file;
 * ITEM_WAITS when they are to be copied all the same; else ITEM_OTHER.
 */
static int judge_there(struct copying *copying, struct item *item, uint64_t size)
{
	item->replaces = copying->card->offload->replace;
	item->state = item->replaces ? ITEM_WAITS : ITEM_OTHER;
	if (size >= item->entry->size)
		return judge_whole(copying, item, size);
	if (!item->replaces) {
		copying->prefix_bytes = size;
		copying->prefix = digest_new();
		item->state = ITEM_WAITS; /* decided when its beginning was read */
		return copying->prefix ? 0 : -ENOMEM;
	}
	return 0;
}

/* Is what has the name the beginning of the card's file: a copy that somebody broke off? */
static int judge_prefix(const struct copying *copying, struct item *item, const char *part)
{
	const struct offload_card *card = copying->card;
	struct digest beginning, digest;
	int r;

	if (!copying->prefix || item->replaces)
		return 0;
	digest_final(copying->prefix, &beginning);
	r = await_verified(card, item->entry->path, &digest);
	item->replaces = r == 1 && digest_equal(&digest, &beginning);
	if (!item->replaces) {
		item->state = ITEM_OTHER;
		(void)unlinkat(card->to_fd, part, 0);
	}
	return r == -ECANCELED ? r : 0;
}

/* 1: the bytes are verified elsewhere. The price is that others are read twice. */
static int find_elsewhere(struct copying *copying, struct item *item)
{
	struct offload_card *card = copying->card;
	int r = read_item(copying, item);

	if (r == 0)
		r = offload_known(card, item);
	if (r == 1)
		item->state = ITEM_ELSEWHERE;
	card->misses = r == 1 ? 0 : card->misses + 1;
	return r;
}

static int look_at(struct copying *copying, struct item *item)
{
	const struct offload_card *card = copying->card;
	const char *path = item->entry->path;
	char part[OFFLOAD_PATH_MAX + 64];
	struct stat st;
	int r = offload_part(path, part, sizeof(part));

	item->doing = "look at what has its name";
	if (r < 0)
		return r;
	if (item->is_alone) {
		; /* neither the file nor a part of it can be there */
	} else if (fstatat(card->to_fd, path, &st, AT_SYMLINK_NOFOLLOW) == 0) {
		item->state = S_ISREG(st.st_mode) ? ITEM_WAITS : ITEM_OTHER;
		if (S_ISREG(st.st_mode))
			r = judge_there(copying, item, (uint64_t)st.st_size);
		if (r < 0 || item->state != ITEM_WAITS)
			return r;
	} else if (errno != ENOENT) {
		return -errno;
	}
	r = copying->prefix || item->is_alone ? 0 : adopt_part(copying, item, part);
	if (r == 0 && item->size_known && !item->replaces && card->misses < MISSES_MAX) {
		r = find_elsewhere(copying, item);
		if (r != 0)
			return r < 0 ? r : 0;
	}
	if (r == 0 && copying->prefix)
		(void)unlinkat(card->to_fd, part, 0); /* an older one, if there is any */
	if (r == 0)
		r = write_part(copying, item, part);
	if (r < 0)
		return r;
	item->state = ITEM_COPIED;
	return judge_prefix(copying, item, part);
}

static bool card_vanished(const struct offload_card *card)
{
	return *card->device && access(card->device, F_OK) < 0 && errno == ENOENT;
}

static void fail(struct offload_card *card, struct item *item, int error)
{
	struct offload *offload = card->offload;

	item->state = ITEM_FAILED;
	item->error = error;
	if (offload_volume_is_gone(error) && strncmp(item->doing, "read it", 7) != 0) {
		atomic_store(&offload->volume_gone, true);
		atomic_store(&offload->stopped, true);
	} else if (card_vanished(card)) {
		scoped_lock(&card->lock);
		card->gone = true;
	}
}

/* The next item of that size at or after *@next, which moves behind it. NULL: none. */
static struct item *next_locked(struct offload_card *card, size_t *next, bool small)
{
	while (*next < card->count) {
		struct item *item = &card->items[(*next)++];

		if (is_small(item) == small)
			return item;
	}
	return NULL;
}

static struct item *take_item(struct copier *copier)
{
	struct offload_card *card = copier->card;
	struct item *item = NULL;

	scoped_lock(&card->lock);
	if (card->gone || atomic_load(&card->offload->stopped))
		return NULL;
	if (copier == card->copiers)
		item = next_locked(card, &card->next_large, false);
	return item ? item : next_locked(card, &card->next_small, true);
}

static void item_done(struct offload_card *card, struct item *item, const struct copying *copying)
{
	atomic_fetch_add(&card->seen_bytes, item->entry->size - copying->seen); /* wraps */
	scoped_lock(&card->lock);
	item->is_looked_at = true;
	card->done++;
	while (card->looked < card->count && card->items[card->looked].is_looked_at)
		card->looked++;
}

void *offload_copy(void *arg)
{
	struct copier *copier = arg;
	struct offload_card *card = copier->card;
	const struct offload *offload = card->offload;
	struct item *item;

	ahead_init(&copier->writer, write_block, copier,
		   copier == card->copiers ? AHEAD_THREAD : 0);
	while ((item = take_item(copier)) != NULL) {
		struct copying copying = { .copier = copier, .card = card, .entry = item->entry };
		int r = look_at(&copying, item);

		digest_free(copying.prefix);
		if (r == -ECANCELED && atomic_load(&offload->stopped))
			break;
		if (r < 0)
			fail(card, item, r);
		item_done(card, item, &copying);
	}
	ahead_fini(&copier->writer);
	scoped_lock(&card->lock);
	card->running--;
	return NULL;
}
