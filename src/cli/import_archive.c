/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/xattr.h>
#include <unistd.h>

#include "cli/cli.h"
#include "cli/findings.h"
#include "cli/target.h"
#include "manifest/import.h"
#include "util/cleanup.h"
#include "util/clock.h"
#include "util/io.h"
#include "util/units.h"

#define ANSWER_MS 60000
#define LOOK_NS (50 * NS_PER_MS)
#define SHOW_EVERY_NS (200 * NS_PER_MS)
#define RATE_MIN_NS (2 * NS_PER_SEC)
#define NAMED_MAX 50

struct work {
	struct cli *cli;
	struct target target;  /* owned: the folder */
	struct client *client; /* owned */
	const char *archive;
	int64_t start_ns, shown_ns;
};

static int tick(void *arg, const struct export_progress *progress)
{
	struct work *work = arg;
	int64_t now = monotonic_ns(), spent = now - work->start_ns;
	char done[32], all[32], rate[32], eta[32], of[48] = "", end[80] = "";

	if (now - work->shown_ns < SHOW_EVERY_NS)
		return interrupted();
	work->shown_ns = now;
	/* What a stream holds is not known beforehand. */
	if (progress->of_bytes)
		(void)snprintf(of, sizeof(of), " of %s",
			       format_bytes(progress->of_bytes, all, sizeof(all)));
	if (spent > RATE_MIN_NS && progress->bytes) {
		double speed = (double)progress->bytes * 1e9 / (double)spent;
		uint64_t left = progress->of_bytes > progress->bytes
					? progress->of_bytes - progress->bytes
					: 0;

		(void)snprintf(end, sizeof(end), ", %s/s%s%s%s",
			       format_bytes((uint64_t)speed, rate, sizeof(rate)), left ? ", " : "",
			       left ? format_duration((int64_t)((double)left / speed * 1e9), eta,
						      sizeof(eta))
				    : "",
			       left ? " left" : "");
	}
	cli_progress(work->cli, "%" PRIu64 " members looked at, %s%s%s", progress->files,
		     format_bytes(progress->bytes, done, sizeof(done)), of, end);
	return interrupted();
}

/* The digest that the volume knows of a file, unless it has none that was verified. */
static int known(void *arg, int fd, struct digest *ret_digest)
{
	char state[32] = "", hex[DIGEST_HEX_SIZE] = "";

	(void)arg;
	if (fgetxattr(fd, "user.mediafs.state", state, sizeof(state) - 1) < 0 ||
	    fgetxattr(fd, "user.mediafs.digest", hex, sizeof(hex) - 1) < 0)
		return 0;
	if (strcmp(state, "damaged") == 0 || strncmp(state, "receiv", 6) == 0)
		return 0;
	return digest_parse(hex, ret_digest) == 0;
}

/* What is wanted ------------------------------------------------------------------------ */

/* 1 to UINT32_MAX; false: complained already. */
static bool take_number(struct cli *cli, enum option_id id, const char *name, uint64_t *ret_number)
{
	const char *text = cli->options.value[id];
	char *end;

	if (!text)
		return true;
	errno = 0;
	*ret_number = strtoull(text, &end, 10);
	if (errno == 0 && end != text && !*end && text[0] != '-' && *ret_number > 0 &&
	    *ret_number <= UINT32_MAX)
		return true;
	(void)cli_fail(cli, MEDIAFS_EXIT_USAGE, "--%s: a number from 1 on is wanted, not \"%s\"",
		       name, text);
	return false;
}

/* 0, or the exit code. */
static int take_limits(struct cli *cli, int folder_fd, struct import_limits *limits)
{
	uint64_t ratio = IMPORT_RATIO_DEFAULT;
	const char *size = cli->options.value[OPT_MAX_SIZE];
	struct statvfs fs;

	limits->max_members = IMPORT_MEMBERS_DEFAULT;
	if (!take_number(cli, OPT_MAX_FILES, "max-files", &limits->max_members) ||
	    !take_number(cli, OPT_MAX_RATIO, "max-ratio", &ratio))
		return MEDIAFS_EXIT_USAGE;
	limits->max_ratio = (unsigned)ratio;
	if (fstatvfs(folder_fd, &fs) < 0)
		return cli_fail_errno(cli, -errno, "%s", cli->options.args[1]);
	limits->max_bytes = (uint64_t)fs.f_bavail * fs.f_frsize;
	if (size && parse_bytes(size, &limits->max_bytes) < 0)
		return cli_fail(cli, MEDIAFS_EXIT_USAGE,
				"--max-size: a size such as 500G is wanted, not \"%s\"", size);
	return 0;
}

/* The folder that the archive goes into, made when it is not there. 0, or the exit code. */
static int open_folder(struct work *work, int *ret_fd)
{
	const char *path = work->target.path;
	cleanup_close int root_fd = -1;
	int r;

	if (!work->target.mountpoint || !client_is_live(work->client))
		return cli_fail(work->cli, MEDIAFS_EXIT_OFFLINE,
				"%s is in no mounted volume: what comes in is verified by its "
				"daemon, so mount it first",
				work->cli->options.args[1]);
	root_fd = open(work->target.mountpoint, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (root_fd < 0)
		return cli_fail_errno(work->cli, -errno, "%s", work->target.mountpoint);
	r = *path ? make_parents(root_fd, path) : 0;
	if (r == 0 && *path && mkdirat(root_fd, path, 0777) < 0 && errno != EEXIST)
		r = -errno;
	if (r == 0) {
		*ret_fd = openat(root_fd, *path ? path : ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
		r = *ret_fd < 0 ? -errno : 0;
	}
	return r < 0 ? cli_fail_errno(work->cli, r, "%s", work->cli->options.args[1]) : 0;
}

/* Verified ------------------------------------------------------------------------------ */

static int name_damaged(struct work *work, const json_t *answer, struct verdict *findings)
{
	const json_t *list = json_object_get(answer, "damaged"), *item;
	size_t i;
	int r = 0;

	(void)work;
	json_array_foreach(list, i, item)
	{
		cleanup_free char *path = json_path_value(json_object_get(item, "path"));

		if (r == 0 && path)
			r = verdict_add(findings, FINDING_DAMAGED, path, "%s",
					"it was written, but what is on the disk is not that");
	}
	return r;
}

/* All below @path. 0, or the exit code; damage is among the findings. */
static int wait_verified(struct work *work, const char *path, struct verdict *findings)
{
	struct cli *cli = work->cli;

	for (;;) {
		json_t *request = target_request("pending", path);
		cleanup_json json_t *answer = NULL;
		int64_t left, damaged;
		int code;

		if (request)
			(void)json_object_set_new(request, "goal", json_string("verified"));
		code = target_call(cli, work->client, request, ANSWER_MS, NULL, NULL, &answer);
		if (code)
			return code;
		left = json_int_or(answer, "files", 0) - json_int_or(answer, "done_files", 0);
		damaged = json_int_or(answer, "damaged_files", 0);
		if (left <= damaged)
			return name_damaged(work, answer, findings) < 0
				       ? cli_fail_errno(cli, -ENOMEM, "cannot tell")
				       : 0;
		if (!client_is_live(work->client))
			return cli_fail(cli, MEDIAFS_EXIT_OFFLINE,
					"the volume was unmounted before all was verified");
		cli_progress(cli, "%" PRId64 " files to be verified", left);
		cli_pause(LOOK_NS);
		if (interrupted())
			return cli_fail(cli, MEDIAFS_EXIT_PENDING,
					"interrupted: all is in, but not all was verified yet");
	}
}

static int wait_all(struct work *work, struct import_result *result)
{
	int code = 0;

	for (size_t i = 0; code == 0 && i < result->top_count; i++) {
		cleanup_free char *path = path_join(work->target.path, result->tops[i]);

		code = path ? wait_verified(work, path, &result->findings)
			    : cli_fail_errno(work->cli, -ENOMEM, "cannot wait");
	}
	return code;
}

/* What came of it ----------------------------------------------------------------------- */

static int fail_import(struct work *work, const struct import_result *result, int error)
{
	const char *member = result->refused ? result->refused : "";
	const char *between = result->refused ? ": " : "";
	struct cli *cli = work->cli;

	if (error == -ECANCELED)
		return cli_fail(cli, MEDIAFS_EXIT_FAILED,
				"interrupted: files that are in are whole; the same command goes "
				"on");
	if (error == -EPERM && result->why)
		return cli_fail(cli, MEDIAFS_EXIT_FAILED, "%s: refused: %s%s%s", work->archive,
				member, between, result->why);
	if (error == -EBADMSG)
		return cli_fail(cli, MEDIAFS_EXIT_DAMAGED,
				"%s: damaged, cut off, or no archive that is understood: %s%s%s",
				work->archive, member, between,
				result->why ? result->why : "it has not the size that it says");
	if (result->why)
		return cli_fail_errno(cli, error, "%s: %s", work->archive, result->why);
	return cli_fail_errno(cli, error, "%s: %s", work->archive,
			      result->refused ? result->refused : "cannot be read");
}

static int code_of(const struct verdict *findings)
{
	int code = MEDIAFS_EXIT_OK;

	for (size_t i = 0; i < findings->count; i++) {
		if (findings->findings[i].kind == FINDING_DAMAGED)
			return MEDIAFS_EXIT_DAMAGED;
		code = MEDIAFS_EXIT_FAILED;
	}
	return code;
}

static int tell(struct work *work, const struct import_result *result)
{
	int code = code_of(&result->findings);
	struct cli *cli = work->cli;
	char bytes[32], spent[32];

	cli_progress_end(cli);
	if (cli->json)
		return cli_print_json(
			cli,
			json_pack("{s:I,s:I,s:I,s:I,s:I,s:I,s:o,s:i}", "files",
				  (json_int_t)result->files, "bytes", (json_int_t)result->bytes,
				  "existing", (json_int_t)result->existing, "skipped",
				  (json_int_t)result->skipped, "folders",
				  (json_int_t)result->folders, "links", (json_int_t)result->links,
				  "findings", findings_json(&result->findings), "code", code),
			code);
	findings_print(&result->findings, NAMED_MAX);
	(void)printf("%s: %" PRIu64 " file%s, %s in %s",
		     code ? "imported, but not all" : "imported and verified", result->files,
		     result->files == 1 ? "" : "s",
		     format_bytes(result->bytes, bytes, sizeof(bytes)),
		     format_duration(monotonic_ns() - work->start_ns, spent, sizeof(spent)));
	if (result->existing)
		(void)printf("; %" PRIu64 " were there already", result->existing);
	if (result->skipped)
		(void)printf("; %" PRIu64 " left as they are", result->skipped);
	(void)putchar('\n');
	return fflush(stdout) == 0 ? code : MEDIAFS_EXIT_FAILED;
}

static int import_into(struct work *work)
{
	cleanup_with(import_result_fini) struct import_result result = { 0 };
	cleanup_close int archive_fd = -1, folder_fd = -1;
	struct cli *cli = work->cli;
	struct import_job job = { .skip_existing = cli->options.given[OPT_SKIP_EXISTING],
				  .known = known,
				  .tick = tick,
				  .arg = work };
	int code, r;

	archive_fd = strcmp(work->archive, "-") == 0
			     ? fcntl(STDIN_FILENO, F_DUPFD_CLOEXEC, 3)
			     : open(work->archive, O_RDONLY | O_NOCTTY | O_CLOEXEC);
	if (archive_fd < 0)
		return cli_fail_errno(cli, -errno, "%s", work->archive);
	code = open_folder(work, &folder_fd);
	if (code == 0)
		code = take_limits(cli, folder_fd, &job.limits);
	if (code)
		return code;
	job.archive_fd = archive_fd;
	job.folder_fd = folder_fd;
	work->start_ns = work->shown_ns = monotonic_ns();
	r = import_archive(&job, &result);
	if (r < 0)
		return fail_import(work, &result, r);
	code = wait_all(work, &result);
	return code ? code : tell(work, &result);
}

int cli_import_archive(struct cli *cli)
{
	struct work work = { .cli = cli, .archive = cli->options.args[0] };
	int code = target_find(cli, cli->options.args[1], &work.target);

	if (code == 0)
		code = target_open(cli, &work.target, &work.client);
	catch_interrupts();
	if (code == 0)
		code = import_into(&work);
	client_close(work.client);
	target_fini(&work.target);
	return code;
}
