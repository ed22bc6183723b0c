/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/target.h"

#include <errno.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>

#include "cli/cli.h"
#include "control/protocol.h"
#include "store/store.h"
#include "util/cleanup.h"
#include "util/error.h"
#include "util/io.h"

static void mounts_fini_slot(struct mounts *mounts)
{
	mounts_fini(mounts);
}

void target_fini(struct target *target)
{
	free(target->store);
	free(target->path);
	free(target->mountpoint);
	*target = (struct target){ 0 };
}

/* What is below @top in @path ("" for @top itself), or NULL. Borrowed from @path. */
static const char *below(const char *path, const char *top)
{
	size_t length = strlen(top);

	if (length == 1) /* "/" */
		return path[0] == '/' ? path + 1 : NULL;
	if (strncmp(path, top, length) != 0)
		return NULL;
	if (path[length] == '\0')
		return path + length;
	return path[length] == '/' ? path + length + 1 : NULL;
}

char *target_real_path(const char *path)
{
	cleanup_free char *head = strdup(path);
	cleanup_free char *tail = strdup("");
	char *slash, *joined, *real;

	while (head && tail) {
		real = realpath(*head ? head : "/", NULL);
		if (real) {
			if (asprintf(&joined, "%s%s%s", strcmp(real, "/") == 0 ? "" : real,
				     *tail ? "/" : "", tail) < 0)
				joined = NULL;
			free(real);
			return joined;
		}
		slash = strrchr(head, '/');
		if (asprintf(&joined, "%s%s%s", slash ? slash + 1 : head, *tail ? "/" : "", tail) <
		    0)
			return NULL;
		free(tail);
		tail = joined;
		if (slash) {
			*slash = '\0';
			continue;
		}
		free(head);
		head = strdup(".");
	}
	return NULL;
}

/* The mount that @path lies in: the innermost, and of those at one place the newest. */
static const struct mount_entry *mount_of(const struct mounts *mounts, const char *path,
					  const char **ret_rest)
{
	const struct mount_entry *found = NULL;
	const char *rest;

	for (size_t i = 0; i < mounts->count; i++) {
		rest = below(path, mounts->list[i].mountpoint);
		if (!rest ||
		    (found && strlen(mounts->list[i].mountpoint) < strlen(found->mountpoint)))
			continue;
		found = &mounts->list[i];
		*ret_rest = rest;
	}
	return found;
}

static const struct mount_entry *mount_from(const struct mounts *mounts, const char *store)
{
	for (size_t i = mounts->count; i-- > 0;) {
		if (strcmp(mounts->list[i].store, store) == 0)
			return &mounts->list[i];
	}
	return NULL;
}

/* The store in whose tree/ @path lies, found by its store.json. Caller frees; NULL: none. */
static char *store_around(const char *path, const char **ret_rest)
{
	char *store = strdup(path);
	const char *rest;
	char *slash;

	while (store && (slash = strrchr(store, '/')) && slash != store) {
		*slash = '\0';
		rest = below(path + strlen(store) + 1, "tree");
		if (rest && store_is_at(store)) {
			*ret_rest = rest;
			return store;
		}
	}
	free(store);
	return NULL;
}

char *target_store_of(const char *path)
{
	cleanup_with(mounts_fini) struct mounts mounts = { 0 };
	const struct mount_entry *mount;
	const char *rest;

	if (mounts_read(&mounts) < 0)
		return store_around(path, &rest);
	mount = mount_of(&mounts, path, &rest);
	return mount ? strdup(mount->store) : store_around(path, &rest);
}

/* No path tells: the only one mounted. */
static int only_mount(struct cli *cli, const struct mounts *mounts, char **ret_store)
{
	if (mounts->count == 0)
		return cli_fail(cli, MEDIAFS_EXIT_NO_ENTRY,
				"no mediafs volume is mounted here: name one with --store STORE");
	for (size_t i = 1; i < mounts->count; i++) {
		if (strcmp(mounts->list[i].store, mounts->list[0].store) != 0)
			return cli_fail(cli, MEDIAFS_EXIT_USAGE,
					"several volumes are mounted (%s, %s%s): name one with "
					"--store STORE or a path in it",
					mounts->list[0].mountpoint, mounts->list[i].mountpoint,
					mounts->count > 2 ? ", ..." : "");
	}
	*ret_store = strdup(mounts->list[0].store);
	return *ret_store ? 0 : cli_fail_errno(cli, -ENOMEM, "cannot start");
}

static int given_store(struct cli *cli, char **ret_store)
{
	const char *given = cli->options.value[OPT_STORE];

	*ret_store = realpath(given, NULL);
	if (*ret_store)
		return 0;
	return cli_fail_errno(cli, -errno, "%s is not a store", given);
}

/* Sets store and path of @target. */
static int resolve(struct cli *cli, const struct mounts *mounts, const char *path,
		   struct target *target)
{
	cleanup_free char *real = path ? target_real_path(path) : NULL;
	cleanup_free char *around = NULL;
	const struct mount_entry *mount = NULL;
	const char *rest = "";
	int code;

	if (path && !real)
		return cli_fail_errno(cli, -ENOMEM, "cannot look at %s", path);
	if (cli->options.given[OPT_STORE]) {
		code = given_store(cli, &target->store);
		if (code)
			return code;
	}
	if (real) {
		mount = mount_of(mounts, real, &rest);
		around = mount ? strdup(mount->store) : store_around(real, &rest);
	}
	if (around && (!target->store || strcmp(around, target->store) == 0)) {
		free(target->store);
		target->store = take_ptr(around);
		target->path = strdup(rest);
	} else {
		code = target->store ? 0 : only_mount(cli, mounts, &target->store);
		if (code)
			return code;
		target->path = strdup(path ? path : "");
	}
	if (!target->path)
		return cli_fail_errno(cli, -ENOMEM, "cannot look at %s", path ? path : "");
	if (*target->path && !path_ok(target->path))
		return cli_fail(cli, MEDIAFS_EXIT_NO_ENTRY, "%s is not in the volume of %s", path,
				target->store);
	return 0;
}

int target_find(struct cli *cli, const char *path, struct target *ret_target)
{
	cleanup_with(mounts_fini_slot) struct mounts mounts = { 0 };
	struct target target = { 0 };
	const struct mount_entry *mount;
	int code;
	int r;

	r = mounts_read(&mounts);
	if (r < 0)
		return cli_fail_errno(cli, r, "cannot read /proc/self/mountinfo");
	code = resolve(cli, &mounts, path, &target);
	if (code) {
		target_fini(&target);
		return code;
	}
	mount = mount_from(&mounts, target.store);
	if (mount)
		target.mountpoint = strdup(mount->mountpoint);
	*ret_target = target;
	return 0;
}

int target_open(struct cli *cli, const struct target *target, struct client **ret_client)
{
	int r = client_open(target->store, ret_client);

	switch (r) {
	case 0:
		return 0;
	case -ENOENT:
		return cli_fail(cli, MEDIAFS_EXIT_NO_ENTRY,
				"%s is not a store (mediafs init makes one)", target->store);
	case -EPROTONOSUPPORT:
		return cli_fail(cli, MEDIAFS_EXIT_VERSION,
				"%s was made by a newer mediafs: use that one", target->store);
	case -EUCLEAN:
		return cli_fail(cli, MEDIAFS_EXIT_DAMAGED,
				"%s/store.json is not what mediafs wrote: see mediafs-fsck(8)",
				target->store);
	case -EACCES:
	case -EPERM:
		return cli_fail(cli, MEDIAFS_EXIT_DENIED, "%s: only its owner and root may ask: %s",
				target->store, error_text(r));
	default:
		return cli_fail_errno(cli, r, "cannot open %s", target->store);
	}
}

static int fail_call(struct cli *cli, int error)
{
	if (error == -ETIMEDOUT)
		return cli_fail(cli, MEDIAFS_EXIT_OFFLINE, "the mount daemon does not answer");
	if (error == -ECONNRESET || error == -EPIPE)
		return cli_fail(cli, MEDIAFS_EXIT_OFFLINE,
				"the mount daemon went away meanwhile: was it unmounted?");
	if (error == -EINTR || error == -ECANCELED)
		return cli_fail(cli, MEDIAFS_EXIT_FAILED, "interrupted");
	return cli_fail_errno(cli, error, "cannot talk to the mount daemon");
}

int target_call(struct cli *cli, struct client *client, json_t *request, int timeout_ms,
		client_line_fn fn, void *arg, json_t **ret_final)
{
	cleanup_json json_t *final = NULL;
	const char *error;
	int code;
	int r;

	r = client_call(client, request, timeout_ms, fn, arg, &final);
	if (r != 0)
		return fail_call(cli, r);
	error = json_string_or(final, "error", NULL);
	if (error) {
		cleanup_free char *text = json_path_value(json_object_get(final, "error"));

		code = (int)json_int_or(final, "code", MEDIAFS_EXIT_FAILED);
		return cli_fail(cli, code ? code : MEDIAFS_EXIT_FAILED, "%s", text ? text : error);
	}
	*ret_final = take_ptr(final);
	return 0;
}

json_t *target_request(const char *name, const char *path)
{
	return json_pack("{s:s,s:o}", "request", name, "path", json_path(path));
}

char *target_show(const struct target *target, const char *path)
{
	if (target->mountpoint)
		return path_join(target->mountpoint, path);
	return path_join(target->store, path);
}
