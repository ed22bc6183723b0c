/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/xattr.h>
#include <unistd.h>

#include "cli/offload.h"
#include "util/xml.h"
#include "transfer/rules.h"
#include "util/cleanup.h"
#include "util/clock.h"
#include "util/error.h"
#include "util/io.h"

/* Names that the volume keeps for itself: volume/tree.h, sync/record.h. */
#define RESERVED_NAME ".mediafs"

/* Attribute of that folder: from which card it was filled. JSON, as card_mark() makes it. */
#define CARD_ATTRIBUTE "user.offload.card"
#define CARD_ATTRIBUTE_MAX 1024

#define FOLDER_BITS 01777u /* as that of files: no set-id bits */

/* Names ------------------------------------------------------------------------------------- */

/* Why @path cannot go into the volume, static; NULL: it can. */
static const char *name_problem(const struct source_entry *entry)
{
	const char *part = entry->path;

	if (strlen(part) > OFFLOAD_PATH_MAX)
		return "its path is too long";
	if (!xml_can_carry(part))
		return "no manifest can carry its name (control characters, or not UTF-8)";
	if (rules_is_unfinished(part))
		return "an offload that was not finished left it there: finish that one first";
	for (;; part = strchr(part, '/') + 1) {
		if (strncmp(part, RESERVED_NAME "-", strlen(RESERVED_NAME) + 1) == 0 ||
		    (strncmp(part, RESERVED_NAME, strlen(RESERVED_NAME)) == 0 &&
		     (part[strlen(RESERVED_NAME)] == '/' || part[strlen(RESERVED_NAME)] == '\0')))
			return "the volume keeps such names for itself";
		if (!strchr(part, '/'))
			return NULL;
	}
}

/* All of them are named, before anything is written. 0, or the exit code. */
static int check_names(struct offload *offload, const struct offload_card *card)
{
	uint64_t refused = 0;

	for (size_t i = 0; i < card->source.count; i++) {
		const struct source_entry *entry = &card->source.entries[i];
		const char *problem = name_problem(entry);

		if (!problem)
			continue;
		refused++;
		(void)cli_fail(offload->cli, MEDIAFS_EXIT_FAILED, "%s/%s: %s", card->source.top,
			       entry->path, problem);
	}
	if (!refused)
		return 0;
	return cli_fail(offload->cli, MEDIAFS_EXIT_FAILED,
			"nothing was copied: rename what is named above, or copy that card's "
			"files by hand");
}

/* The folder's name: what people called the card. 0, or the exit code. */
static int choose_name(struct offload *offload, struct offload_card *card)
{
	struct cli *cli = offload->cli;
	const char *given = cli->options.value[OPT_NAME];
	const char *slash = strrchr(card->source.top, '/');
	const char *const names[] = {
		given,
		card->identity.is_whole ? card->identity.label : "",
		slash ? slash + 1 : "",
		card->card && card->card->reel_count == 1 ? card->card->reels[0] : "",
	};

	if (given && (!name_ok(given) || !xml_can_carry(given) ||
		      strncmp(given, RESERVED_NAME, strlen(RESERVED_NAME)) == 0))
		return cli_fail(cli, MEDIAFS_EXIT_USAGE, "--name: \"%s\" cannot be a folder's name",
				given);
	for (size_t i = 0; i < ARRAY_SIZE(names) && !card->name; i++) {
		if (!names[i] ||
		    (names[i] != given && (!name_ok(names[i]) || !xml_can_carry(names[i]) ||
					   !card_name_is_given(offload->rules, names[i]))))
			continue;
		card->name = strdup(names[i]);
		if (!card->name)
			return cli_fail_errno(cli, -ENOMEM, "cannot start");
	}
	if (card->name)
		return 0;
	return cli_fail(cli, MEDIAFS_EXIT_USAGE,
			"%s: nobody gave this card a name, and its files tell no reel: give its "
			"folder one with --name",
			card->source.top);
}

/* The card ---------------------------------------------------------------------------------- */

/* What the rules for cards make of it. */
static int recognise(struct offload *offload, struct offload_card *card)
{
	const struct source *source = &card->source;
	const char *slash = strrchr(source->top, '/');
	struct card_entry *entries = calloc(source->count + 1, sizeof(*entries));
	size_t count = 0;
	int r = entries ? 0 : -ENOMEM;

	for (size_t i = 0; r == 0 && i < source->count; i++) {
		const struct source_entry *entry = &source->entries[i];
		char *path;

		if (!S_ISDIR(entry->mode) && !S_ISREG(entry->mode))
			continue;
		if (asprintf(&path, "%s%s", entry->path, S_ISDIR(entry->mode) ? "/" : "") < 0)
			r = -ENOMEM;
		else
			entries[count++] = (struct card_entry){ path, entry->size };
	}
	if (r == 0)
		r = card_look(offload->rules,
			      *card->identity.label ? card->identity.label
			      : slash               ? slash + 1
						    : "",
			      entries, count, &card->card);
	for (size_t i = 0; i < count; i++)
		free((char *)entries[i].path);
	free(entries);
	return r < 0 ? r : 0;
}

static void tell_manifest_fault(void *arg, const char *path, const char *what)
{
	struct offload_card *card = arg;

	cleanup_free char *text = NULL;

	card->manifest_faults++;
	if (asprintf(&text, "this manifest cannot be used: %s", what) >= 0)
		offload_tell_manifest(card, path, text);
}

static void tell_missing_file(void *arg, const char *path, const char *what)
{
	struct offload_card *card = arg;

	cleanup_free char *text = NULL;

	card->manifest_faults++;
	if (asprintf(&text, "not on the card, though %s lists it", what) >= 0)
		offload_tell_manifest(card, path, text);
}

/* What the manifests on the card say of its files. */
static int read_manifests(struct offload_card *card)
{
	int r;

	card->expected = expected_new();
	r = card->expected ? 0 : -ENOMEM;
	for (size_t i = 0; r == 0 && i < card->source.count; i++) {
		const struct source_entry *entry = &card->source.entries[i];

		if (!entry->error && (S_ISREG(entry->mode) || S_ISDIR(entry->mode)))
			r = expected_add(card->expected, card->source.fd, entry->path,
					 S_ISDIR(entry->mode), tell_manifest_fault, card);
	}
	return r < 0 ? r
		     : expected_missing(card->expected, card->source.fd, tell_missing_file, card);
}

static int collect_items(struct offload_card *card)
{
	card->items = calloc(card->source.count + 1, sizeof(*card->items));
	if (!card->items)
		return -ENOMEM;
	for (size_t i = 0; i < card->source.count; i++) {
		const struct source_entry *entry = &card->source.entries[i];

		if (!S_ISREG(entry->mode))
			continue;
		card->items[card->count++] = (struct item){ .entry = entry };
		card->bytes += entry->size;
	}
	return 0;
}

/* The card at @path, listed. 0, or the exit code. */
static int open_card(struct offload *offload, struct offload_card *card, const char *path)
{
	int code;
	int r = source_open(path, offload->rules, &card->source);

	if (r == -E2BIG)
		return cli_fail(offload->cli, MEDIAFS_EXIT_USAGE,
				"%s holds more names than any card: name the folder of one card",
				path);
	if (r < 0)
		return cli_fail_errno(offload->cli, r, "cannot read the card %s", path);
	source_identify(&card->source, &card->identity);
	r = recognise(offload, card);
	if (r == 0)
		r = collect_items(card);
	if (r == 0)
		r = read_manifests(card);
	if (r < 0)
		return cli_fail_errno(offload->cli, r, "cannot look at %s", path);
	(void)snprintf(card->device, sizeof(card->device), "/sys/dev/block/%u:%u",
		       major(card->source.device), minor(card->source.device));
	if (access(card->device, F_OK) < 0)
		card->device[0] = '\0';
	code = check_names(offload, card);
	return code ? code : choose_name(offload, card);
}

/* Where it goes ----------------------------------------------------------------------------- */

/* The identity as the attribute has it. NULL without memory; "{}" nothing is known. */
static char *card_mark(const struct offload_card *card)
{
	const struct source_identity *it = &card->identity;
	cleanup_json json_t *object = json_object();

	if (object && it->is_whole && *it->uuid &&
	    (json_object_set_new(object, "uuid", json_path(it->uuid)) < 0 ||
	     json_object_set_new(object, "label", json_path(it->label)) < 0 ||
	     json_object_set_new(object, "bytes", json_integer((json_int_t)it->device_bytes)) < 0))
		return NULL;
	return object ? json_dumps(object, JSON_COMPACT) : NULL;
}

/* Two cards of one name must not become one folder. 0, or the exit code. */
static int check_same_card(struct offload *offload, struct offload_card *card)
{
	char text[CARD_ATTRIBUTE_MAX + 1];
	cleanup_free char *mark = card_mark(card);
	cleanup_json json_t *before = NULL;
	const char *uuid;
	ssize_t n = fgetxattr(card->to_fd, CARD_ATTRIBUTE, text, sizeof(text) - 1);

	if (!mark)
		return cli_fail_errno(offload->cli, -ENOMEM, "cannot start");
	text[n > 0 ? n : 0] = '\0';
	before = json_loads(text, 0, NULL);
	uuid = json_string_or(before, "uuid", "");
	if (*uuid && *card->identity.uuid && card->identity.is_whole &&
	    strcmp(uuid, card->identity.uuid) != 0)
		return cli_fail(offload->cli, MEDIAFS_EXIT_BUSY,
				"%s was filled from another card (%s, %s; this one is %s): give "
				"this card's folder another name with --name",
				card->to, json_string_or(before, "label", "without label"), uuid,
				card->identity.uuid);
	if (!*uuid && strcmp(mark, "{}") != 0 &&
	    fsetxattr(card->to_fd, CARD_ATTRIBUTE, mark, strlen(mark), 0) < 0)
		cli_note(offload->cli, "%s: cannot note from which card it is: %s", card->to,
			 error_text(-errno));
	return 0;
}

/* 0, or the exit code. */
static int take_marker(struct offload *offload, struct offload_card *card)
{
	int fd = openat(card->to_fd, UNFINISHED_MARKER,
			O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0644);

	card->resumed = fd < 0 && errno == EEXIST;
	if (fd < 0 && !card->resumed)
		return cli_fail_errno(offload->cli, -errno, "cannot write into %s", card->to);
	close_fd_slot(&fd); /* nothing was written */
	card->marker_fd = openat(card->to_fd, UNFINISHED_MARKER, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
	if (card->marker_fd < 0)
		return cli_fail_errno(offload->cli, -errno, "cannot write into %s", card->to);
	if (flock(card->marker_fd, LOCK_EX | LOCK_NB) < 0)
		return cli_fail(offload->cli, MEDIAFS_EXIT_BUSY,
				"another offload is filling %s: let it end, or give this card's "
				"folder another name with --name",
				card->to);
	return 0;
}

/* 1: a folder was made. 0: it is one already, into which we can write. */
static int make_folder(int fd, const char *path)
{
	struct stat st;

	if (mkdirat(fd, path, 0777) == 0)
		return 1;
	if (errno != EEXIST)
		return -errno;
	if (fstatat(fd, path, &st, AT_SYMLINK_NOFOLLOW) < 0)
		return -errno;
	if (!S_ISDIR(st.st_mode))
		return -ENOTDIR;
	/* As on the card it may be for reading only: put right at the end. */
	if ((st.st_mode & S_IRWXU) != S_IRWXU && fchmodat(fd, path, st.st_mode | S_IRWXU, 0) < 0)
		return -errno;
	return 0;
}

static bool is_below(const char *path, const char *folder)
{
	size_t length = strlen(folder);

	return strncmp(path, folder, length) == 0 && path[length] == '/';
}

/*
 * The same again where an earlier run made it, links as they are. Into what was made just now
 * nobody has put anything. 0, or the exit code.
 */
static int make_others(struct offload *offload, struct offload_card *card)
{
	const struct source *source = &card->source;
	struct item *item = card->items; /* of the files, in the same order */
	const char *made = NULL;         /* the last folder that was made, with all below it */

	for (size_t i = 0; i < source->count; i++) {
		const struct source_entry *entry = &source->entries[i];
		char target[OFFLOAD_PATH_MAX];
		ssize_t n;
		int r = 0;

		if (made && !is_below(entry->path, made))
			made = NULL;
		if (S_ISREG(entry->mode)) {
			(item++)->is_alone = made != NULL;
		} else if (S_ISDIR(entry->mode)) {
			r = make_folder(card->to_fd, entry->path);
			if (r > 0 && !made)
				made = entry->path;
		} else if (S_ISLNK(entry->mode)) {
			n = readlinkat(source->fd, entry->path, target, sizeof(target) - 1);
			target[n > 0 ? n : 0] = '\0';
			if (n < 0 ||
			    (symlinkat(target, card->to_fd, entry->path) < 0 && errno != EEXIST))
				r = -errno;
		}
		if (r < 0)
			return cli_fail_errno(offload->cli, r, "cannot make %s/%s", card->to,
					      entry->path);
	}
	return 0;
}

/* The folder of @card, made with those above it. 0, or the exit code. */
static int enter_folder(struct offload *offload, struct offload_card *card,
			const struct target *target)
{
	cleanup_close int mount_fd = open(target->mountpoint, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	int code;
	/* What a path ends with is not made: below ends with a slash. */
	int r = mount_fd < 0 ? -errno : make_parents(mount_fd, card->below);

	if (r == 0) {
		card->to_fd = open(card->to, O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
		r = card->to_fd < 0 ? -errno : make_folder(card->to_fd, ".");
	}
	if (r < 0)
		return cli_fail_errno(offload->cli, r, "cannot make the folder %s", card->to);
	code = check_same_card(offload, card);
	if (code == 0)
		code = take_marker(offload, card);
	return code ? code : make_others(offload, card);
}

/* DEST, in a mounted volume. 0, or the exit code. */
static int find_dest(struct offload *offload, const char *path, struct target *ret_target)
{
	int code = target_find(offload->cli, path, ret_target);

	if (code == 0 && !ret_target->mountpoint)
		code = cli_fail(offload->cli, MEDIAFS_EXIT_OFFLINE,
				"the volume of %s is not mounted: mount it first (mediafs mount %s "
				"MOUNTPOINT)",
				ret_target->store, ret_target->store);
	return code;
}

static int load_rules(struct offload *offload, const char *store)
{
	cleanup_free char *folder = path_join(store, "cards.d");
	int r = folder ? card_rules_load(folder, &offload->rules) : -ENOMEM;

	return r < 0 ? cli_fail_errno(offload->cli, r, "cannot read the card rules") : 0;
}

/* Where @card goes, and what of it is known there. 0, or the exit code. */
static int place_card(struct offload *offload, struct offload_card *card,
		      const struct target *target)
{
	cleanup_free char *to = path_join(target->path, card->name);
	int r = 0;

	card->to = to ? path_join(target->mountpoint, to) : NULL;
	if (!card->to || asprintf(&card->below, "%s/", to) < 0)
		return cli_fail_errno(offload->cli, -ENOMEM, "cannot start");
	if (!offload->client)
		(void)client_open(target->store, &offload->client); /* or without */
	if (!offload->whole && client_open(target->store, &card->client) == 0)
		r = offload_known_sizes(card);
	return r < 0 ? cli_fail_errno(offload->cli, r, "cannot start") : 0;
}

static int check_distinct(struct offload *offload)
{
	for (size_t i = 0; i < offload->count; i++) {
		for (size_t j = 0; j < i; j++) {
			if (strcasecmp(offload->cards[i].name, offload->cards[j].name) != 0)
				continue;
			return cli_fail(offload->cli, MEDIAFS_EXIT_USAGE,
					"%s and %s would go into one folder, %s: offload them one "
					"after the other, with --name",
					offload->cards[j].source.top, offload->cards[i].source.top,
					offload->cards[i].name);
		}
	}
	return 0;
}

int offload_plan(struct offload *offload, const char *dest)
{
	struct cli *cli = offload->cli;
	cleanup_with(target_fini) struct target target = { 0 };
	int code = find_dest(offload, dest, &target);

	for (size_t i = 0; i < offload->count; i++) {
		struct offload_card *card = &offload->cards[i];

		*card = (struct offload_card){ .offload = offload,
					       .source = { .fd = -1 },
					       .to_fd = -1,
					       .marker_fd = -1,
					       .window = 1 };
		mutex_init(&card->lock, 98);
	}
	if (code == 0)
		code = load_rules(offload, target.store);
	if (code == 0 && cli->options.given[OPT_NAME] && offload->count > 1)
		code = cli_fail(cli, MEDIAFS_EXIT_USAGE, "--name is for one card");
	for (size_t i = 0; code == 0 && i < offload->count; i++)
		code = open_card(offload, &offload->cards[i], cli->options.args[i]);
	if (code == 0)
		code = check_distinct(offload);
	for (size_t i = 0; code == 0 && i < offload->count; i++)
		code = place_card(offload, &offload->cards[i], &target);
	for (size_t i = 0; code == 0 && i < offload->count; i++)
		code = enter_folder(offload, &offload->cards[i], &target);
	return code;
}

void offload_plan_fini(struct offload *offload)
{
	client_close_slot(&offload->client);
	for (size_t i = 0; i < offload->count; i++) {
		struct offload_card *card = &offload->cards[i];

		for (size_t j = 0; j < card->count; j++) {
			free(card->items[j].as);
			free(card->items[j].manifest_why);
		}
		expected_free_slot(&card->expected);
		free(card->items);
		card_free(card->card);
		free(card->name);
		free(card->to);
		free(card->below);
		client_close_slot(&card->client);
		source_close(&card->source);
		close_fd_slot(&card->marker_fd);
		close_fd_slot(&card->to_fd);
		mutex_fini(&card->lock);
	}
	card_rules_free(offload->rules);
}

/* The end ----------------------------------------------------------------------------------- */

/* What earlier runs left of files that the card no longer has. */
static int remove_parts(const struct offload_card *card)
{
	struct source there = { .fd = -1 };
	int r = source_open(card->to, NULL, &there);

	for (size_t i = 0; r == 0 && i < there.count; i++) {
		const char *path = there.entries[i].path;

		if (S_ISREG(there.entries[i].mode) && rules_is_unfinished(path) &&
		    strcmp(path, UNFINISHED_MARKER) != 0 && unlinkat(card->to_fd, path, 0) < 0)
			r = -errno;
	}
	source_close(&there);
	return r;
}

/* Mode and time of the folder @path as on the card; its names durable. */
static int close_folder(const struct offload_card *card, const char *path, mode_t mode,
			int64_t mtime_ns)
{
	struct timespec times[2] = { { .tv_nsec = UTIME_OMIT }, ns_timespec(mtime_ns) };
	cleanup_close int fd =
		openat(card->to_fd, path, O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);

	if (fd < 0)
		return -errno;
	/* Those of a folder that is sealed, or another's, stay as they are. */
	if ((fchmod(fd, mode & FOLDER_BITS) < 0 || futimens(fd, times) < 0) && errno != EPERM)
		return -errno;
	return fsync(fd) < 0 ? -errno : 0;
}

int offload_close(struct offload_card *card)
{
	struct stat st;
	int r = card->resumed ? remove_parts(card) : 0;

	/* The last thing: from here on the folder looks complete, and is. */
	if (r == 0 && fsync(card->to_fd) < 0)
		r = -errno;
	for (size_t i = card->source.count; r == 0 && i-- > 0;) {
		const struct source_entry *entry = &card->source.entries[i];

		if (S_ISDIR(entry->mode))
			r = close_folder(card, entry->path, entry->mode, entry->mtime_ns);
	}
	if (r == 0 && unlinkat(card->to_fd, UNFINISHED_MARKER, 0) < 0)
		r = -errno;
	if (r == 0 && fstat(card->source.fd, &st) < 0)
		return card->gone ? 0 : -errno;
	return r < 0 ? r : close_folder(card, ".", st.st_mode, timespec_ns(st.st_mtim));
}
