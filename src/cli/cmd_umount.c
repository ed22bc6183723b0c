/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <inttypes.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "cli/cli.h"
#include "cli/target.h"
#include "cli/users.h"
#include "fs/fs.h"
#include "store/store.h"
#include "util/cleanup.h"
#include "util/clock.h"
#include "util/error.h"
#include "util/units.h"

#define ANSWER_MS 5000
#define LOOK_MS 200
#define LOOK_ELSEWHERE_NS NS_PER_SEC
#define BUSY_WAIT_NS (2 * NS_PER_SEC)
#define BUSY_PAUSE_NS (50 * NS_PER_MS)

static void mounts_fini_slot(struct mounts *mounts)
{
	mounts_fini(mounts);
}

/* The newest mount of ours at exactly this place. */
static int find_mount(struct cli *cli, const char *given, struct mount_entry *ret_entry)
{
	cleanup_with(mounts_fini_slot) struct mounts mounts = { 0 };
	cleanup_free char *real = target_real_path(given);
	int r = real ? mounts_read(&mounts) : -ENOMEM;

	if (r < 0)
		return cli_fail_errno(cli, r, "cannot look for mounts");
	for (size_t i = mounts.count; i-- > 0;) {
		if (strcmp(mounts.list[i].mountpoint, real) != 0 &&
		    strcmp(mounts.list[i].mountpoint, given) != 0)
			continue;
		*ret_entry = mounts.list[i];
		mounts.list[i] = (struct mount_entry){ 0 };
		return 0;
	}
	return cli_fail(cli, MEDIAFS_EXIT_NO_ENTRY, "%s is not where a mediafs volume is mounted",
			given);
}

static uint64_t in_state(const json_t *status, const char *state, const char *what)
{
	return (uint64_t)json_int_or(json_object_get(json_object_get(status, "states"), state),
				     what, 0);
}

/* What would be left behind; NULL when the daemon does not say. */
static json_t *ask_pending(const char *store)
{
	cleanup_with(client_close_slot) struct client *client = NULL;
	json_t *status = NULL;

	if (client_open(store, &client) < 0 || !client_is_live(client))
		return NULL;
	if (client_call(client, target_request("status", ""), ANSWER_MS, NULL, NULL, &status) != 0)
		return NULL;
	return status;
}

static void tell_pending(struct cli *cli, const json_t *status)
{
	uint64_t open =
		in_state(status, "receiving", "files") + in_state(status, "received", "files");
	uint64_t here =
		in_state(status, "queued", "files") + in_state(status, "uploading", "files");
	uint64_t bytes =
		in_state(status, "queued", "bytes") + in_state(status, "uploading", "bytes");
	uint64_t damaged = in_state(status, "damaged", "files");
	char size[32];

	if (open > 0)
		cli_note(cli,
			 "%" PRIu64 " file(s) not verified yet: that goes on at the next mount",
			 open);
	if (here > 0)
		cli_note(cli, "%" PRIu64 " file(s), %s, only here: sent at the next mount", here,
			 format_bytes(bytes, size, sizeof(size)));
	if (damaged > 0)
		cli_note(cli, "%" PRIu64 " file(s) damaged: see mediafs status", damaged);
}

static int fail_busy(struct cli *cli, const char *mountpoint)
{
	char users[256];

	users_of(mountpoint, users, sizeof(users));
	return cli_fail(cli, MEDIAFS_EXIT_BUSY,
			"%s is in use%s%s: end what uses it, or detach it with -l", mountpoint,
			*users ? " by " : "", users);
}

static void tell_elsewhere(struct cli *cli, const char *store)
{
	char users[256];

	users_elsewhere(store, users, sizeof(users));
	if (*users)
		cli_note(cli,
			 "unmounted here, but still mounted in the mount namespace of %s: the "
			 "daemon ends when that does",
			 users);
}

/* The daemon writes what it has, then ends. 0, or an exit code. */
static int wait_end(struct cli *cli, const char *store, int pidfd)
{
	struct pollfd polled = { .fd = pidfd, .events = POLLIN };
	int64_t start = monotonic_ns();
	bool told = false;
	char passed[32];

	while (poll(&polled, 1, LOOK_MS) <= 0) {
		if (interrupted())
			return cli_fail(cli, MEDIAFS_EXIT_FAILED,
					"it is unmounted, the daemon still runs");
		if (!told && monotonic_ns() - start >= LOOK_ELSEWHERE_NS) {
			tell_elsewhere(cli, store);
			told = true;
		}
		cli_progress(cli, "unmounted, waiting for the daemon to end: %s",
			     format_duration(monotonic_ns() - start, passed, sizeof(passed)));
	}
	cli_progress_end(cli);
	return 0;
}

/* A desktop or a monitor looks at every mount now and then: busy for a moment, by nobody we see. */
static int detach(const char *mountpoint, bool lazy)
{
	int64_t deadline = monotonic_ns() + BUSY_WAIT_NS;
	char users[2] = "";
	int r;

	while ((r = fs_unmount(mountpoint, lazy ? FS_UNMOUNT_LAZY : 0)) == -EBUSY) {
		users_of(mountpoint, users, sizeof(users));
		if (*users || interrupted() || monotonic_ns() > deadline)
			break;
		cli_pause(BUSY_PAUSE_NS);
	}
	return r;
}

static int unmount(struct cli *cli, const struct mount_entry *entry, const json_t *status)
{
	bool lazy = cli->options.given[OPT_LAZY];
	pid_t pid = store_locked_by(entry->store);
	cleanup_close int pidfd = pid > 0 ? (int)syscall(SYS_pidfd_open, pid, 0) : -1;
	int code;
	int r;

	catch_interrupts();
	r = detach(entry->mountpoint, lazy);

	if (r == -EBUSY)
		return fail_busy(cli, entry->mountpoint);
	if (r == -ENOENT)
		return cli_fail(cli, MEDIAFS_EXIT_FAILED,
				"fusermount3 is not there: install fuse3, or unmount as root");
	if (r < 0)
		return cli_fail_errno(cli, r, "cannot unmount %s", entry->mountpoint);
	if (lazy && !cli->json)
		cli_note(cli, "detached: the daemon ends when nobody uses the volume any more");
	code = !lazy && pidfd >= 0 ? wait_end(cli, entry->store, pidfd) : 0;
	if (code)
		return code;
	if (!cli->json)
		return MEDIAFS_EXIT_OK;
	return cli_print_json(cli,
			      json_pack("{s:o,s:o,s:b,s:O*}", "mountpoint",
					json_path(entry->mountpoint), "store",
					json_path(entry->store), "lazy", lazy, "states",
					json_object_get(status, "states")),
			      MEDIAFS_EXIT_OK);
}

static int run(struct cli *cli)
{
	struct mount_entry entry = { 0 };
	cleanup_json json_t *status = NULL;
	int code = find_mount(cli, cli->options.args[0], &entry);

	if (code == 0) {
		status = ask_pending(entry.store);
		tell_pending(cli, status);
		code = unmount(cli, &entry, status);
	}
	free(entry.mountpoint);
	free(entry.store);
	return code;
}

static const struct option_spec options[] = {
	{ OPT_LAZY, 'l', "lazy", NULL, "detach now, end when nobody uses it any more" },
	{ OPT_END, 0, NULL, NULL, NULL },
};

const struct command cmd_umount = {
	.name = "umount",
	.args = "MOUNTPOINT",
	.help = "unmount; says what is still pending, waits for the daemon to end",
	.text = "What is pending goes on at the next mount: nothing is lost.\n",
	.min_args = 1,
	.max_args = 1,
	.options = options,
	.run = run,
};
