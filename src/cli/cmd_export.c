/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <signal.h>
#include <stdint.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "cli/cli.h"
#include "cli/export_list.h"
#include "cli/findings.h"
#include "cli/target.h"
#include "manifest/export.h"
#include "util/cleanup.h"
#include "util/clock.h"
#include "util/error.h"
#include "util/io.h"
#include "util/units.h"

#define SHOW_EVERY_NS (200 * NS_PER_MS)
#define RATE_MIN_NS (2 * NS_PER_SEC)

/* How many findings are named without --json. */
#define NAMED_MAX 50

struct work {
	struct cli *cli;
	const char *verb;
	int64_t start_ns, shown_ns;
};

/* Where the archive goes. */
struct outlet {
	const char *name;
	char *partial; /* owned: what it is called until it is whole; NULL: it is written directly
			*/
	int fd;
};

static int tick(void *arg, const struct export_progress *progress)
{
	struct work *work = arg;
	int64_t now = monotonic_ns(), spent = now - work->start_ns;
	char done[32], all[32], rate[32], eta[32], end[80] = "";

	if (now - work->shown_ns < SHOW_EVERY_NS)
		return interrupted();
	work->shown_ns = now;
	if (spent > RATE_MIN_NS && progress->bytes) {
		double speed = (double)progress->bytes * 1e9 / (double)spent;
		uint64_t left = progress->of_bytes > progress->bytes
					? progress->of_bytes - progress->bytes
					: 0;

		(void)snprintf(
			end, sizeof(end), ", %s/s, %s left",
			format_bytes((uint64_t)speed, rate, sizeof(rate)),
			format_duration((int64_t)((double)left / speed * 1e9), eta, sizeof(eta)));
	}
	cli_progress(work->cli, "%" PRIu64 " of %" PRIu64 " files %s, %s of %s%s", progress->files,
		     progress->of_files, work->verb,
		     format_bytes(progress->bytes, done, sizeof(done)),
		     format_bytes(progress->of_bytes, all, sizeof(all)), end);
	return interrupted();
}

static void begin(struct work *work)
{
	work->start_ns = work->shown_ns = monotonic_ns();
}

/* Where to ------------------------------------------------------------------------------ */

/* Standard output is the archive's: what is told goes to standard error from now on. */
static int take_stdout(struct cli *cli, struct outlet *outlet)
{
	if (isatty(STDOUT_FILENO))
		return cli_fail(cli, MEDIAFS_EXIT_USAGE,
				"standard output is a terminal: send it into a file or a program");
	outlet->fd = fcntl(STDOUT_FILENO, F_DUPFD_CLOEXEC, 3);
	if (outlet->fd < 0 || dup2(STDERR_FILENO, STDOUT_FILENO) < 0)
		return cli_fail_errno(cli, -errno, "standard output");
	return 0;
}

/* A file appears under its name when it is whole; what is no file (a tape) is written as it is. */
static int open_file(struct cli *cli, struct outlet *outlet)
{
	struct stat st;

	if (stat(outlet->name, &st) == 0) {
		if (S_ISREG(st.st_mode) || S_ISDIR(st.st_mode))
			return cli_fail(cli, MEDIAFS_EXIT_FAILED,
					"%s exists already: nothing is written over it",
					outlet->name);
		if (S_ISBLK(st.st_mode))
			return cli_fail(cli, MEDIAFS_EXIT_USAGE,
					"%s is a disk: if that is meant, write --to - > %s",
					outlet->name, outlet->name);
		outlet->fd = open(outlet->name, O_WRONLY | O_NOCTTY | O_CLOEXEC);
		return outlet->fd < 0 ? cli_fail_errno(cli, -errno, "%s", outlet->name) : 0;
	}
	if (asprintf(&outlet->partial, "%s.partial", outlet->name) < 0) {
		outlet->partial = NULL;
		return cli_fail_errno(cli, -ENOMEM, "cannot start");
	}
	outlet->fd = open(outlet->partial, O_WRONLY | O_CREAT | O_NOFOLLOW | O_CLOEXEC, 0666);
	if (outlet->fd < 0)
		return cli_fail_errno(cli, -errno, "%s", outlet->partial);
	/* One that an earlier run left is begun anew, one that is being written is not touched. */
	if (flock(outlet->fd, LOCK_EX | LOCK_NB) < 0 && errno == EWOULDBLOCK) {
		free(outlet->partial);
		outlet->partial = NULL;
		return cli_fail(cli, MEDIAFS_EXIT_BUSY, "another export writes %s", outlet->name);
	}
	return ftruncate(outlet->fd, 0) < 0 ? cli_fail_errno(cli, -errno, "%s", outlet->partial)
					    : 0;
}

static int open_outlet(struct cli *cli, struct outlet *outlet)
{
	return strcmp(outlet->name, "-") == 0 ? take_stdout(cli, outlet) : open_file(cli, outlet);
}

/* Negative errno. */
static int finish_outlet(struct outlet *outlet)
{
	int fd = take_fd(outlet->fd), r;

	/* Pipes and tapes know no fsync; a tape tells its errors at close. */
	if (fsync(fd) < 0 && errno != EINVAL && errno != EROFS && errno != ENOTSUP) {
		r = -errno;
		(void)close(fd);
		return r;
	}
	if (close(fd) < 0)
		return -errno;
	if (!outlet->partial)
		return 0;
	if (renameat2(AT_FDCWD, outlet->partial, AT_FDCWD, outlet->name, RENAME_NOREPLACE) < 0) {
		if (errno != EINVAL && errno != ENOSYS)
			return -errno;
		/* This file system cannot promise it: look, then do it. */
		if (faccessat(AT_FDCWD, outlet->name, F_OK, AT_SYMLINK_NOFOLLOW) == 0)
			return -EEXIST;
		if (rename(outlet->partial, outlet->name) < 0)
			return -errno;
	}
	free(outlet->partial);
	outlet->partial = NULL;
	return sync_parent(AT_FDCWD, outlet->name);
}

static void outlet_fini(struct outlet *outlet)
{
	if (outlet->fd >= 0)
		(void)close(outlet->fd); /* it failed already */
	if (outlet->partial)
		(void)unlink(outlet->partial); /* what stays is begun anew */
	free(outlet->partial);
}

/* Export -------------------------------------------------------------------------------- */

static int fail_export(struct cli *cli, int error, const struct export_result *result,
		       const struct outlet *outlet)
{
	const char *end = outlet->partial ? "no archive was made" : "the archive is not whole";
	const char *failed = result->failed;

	if (error == -ECANCELED)
		return cli_fail(cli, MEDIAFS_EXIT_FAILED, "interrupted: %s", end);
	if (failed && error == -EBADMSG)
		return cli_fail(cli, MEDIAFS_EXIT_DAMAGED,
				"%s: its bytes are not what was verified: %s (mediafs-fsck --full "
				"says more)",
				failed, end);
	if (failed && error == -ESTALE)
		return cli_fail(cli, MEDIAFS_EXIT_FAILED, "%s: changed while it was exported: %s",
				failed, end);
	return cli_fail_errno(cli, error, "%s: %s", failed ? failed : outlet->name, end);
}

static int tell_export(struct work *work, const struct export_result *result,
		       const struct outlet *outlet)
{
	struct cli *cli = work->cli;
	char bytes[32], spent[32];

	cli_progress_end(cli);
	if (cli->json)
		return cli_print_json(cli,
				      json_pack("{s:o,s:I,s:I,s:I,s:I,s:o,s:o,s:i}", "to",
						json_path(outlet->name), "files",
						(json_int_t)result->files, "bytes",
						(json_int_t)result->bytes, "records",
						(json_int_t)result->records, "record_bytes",
						(json_int_t)ARCHIVE_RECORD_BYTES, "manifest",
						json_path(result->manifest), "index",
						json_path(result->index), "code", 0),
				      0);
	(void)printf("exported: %" PRIu64 " file%s, %s in %s; %" PRIu64
		     " records of 512 KiB; index: %s\n",
		     result->files, result->files == 1 ? "" : "s",
		     format_bytes(result->bytes, bytes, sizeof(bytes)),
		     format_duration(monotonic_ns() - work->start_ns, spent, sizeof(spent)),
		     result->records, result->index);
	return fflush(stdout) == 0 ? MEDIAFS_EXIT_OK : MEDIAFS_EXIT_FAILED;
}

static bool has_file(const struct export_list *list)
{
	for (size_t i = 0; i < list->count; i++) {
		if (list->members[i].kind == MEMBER_FILE)
			return true;
	}
	return false;
}

static int export_to(struct cli *cli, const struct target *target, struct outlet *outlet)
{
	cleanup_with(export_list_fini) struct export_list list = { .root_fd = -1 };
	cleanup_with(export_result_fini) struct export_result result = { 0 };
	const char *slash = strrchr(target->path, '/');
	struct work work = { .cli = cli, .verb = "exported" };
	struct export_job job = { .name = cli->options.arg_count > 1 ? "rolls"
					  : slash                    ? slash + 1
					  : *target->path            ? target->path
								     : "volume",
				  .now_ns = realtime_ns(),
				  .tick = tick,
				  .arg = &work };
	int code = export_list_make(cli, target, &list), r;

	if (code)
		return code;
	if (!has_file(&list))
		return cli_fail(cli, MEDIAFS_EXIT_NO_ENTRY, "%s: there is no file in it",
				cli->options.args[0]);
	code = open_outlet(cli, outlet);
	if (code)
		return code;
	job.root_fd = list.root_fd;
	job.fd = outlet->fd;
	job.members = list.members;
	job.count = list.count;
	begin(&work);
	r = export_write(&job, &result);
	if (r == 0)
		r = finish_outlet(outlet);
	return r < 0 ? fail_export(cli, r, &result, outlet) : tell_export(&work, &result, outlet);
}

/* Verify -------------------------------------------------------------------------------- */

static int tell_verdict(struct work *work, const struct verdict *verdict)
{
	const char *result = verdict->why ? "no-export" : verdict_name(verdict->class);
	int code = verdict->class == CLASS_OK ? MEDIAFS_EXIT_OK : MEDIAFS_EXIT_DAMAGED;
	struct cli *cli = work->cli;
	char bytes[32], spent[32];
	json_t *object;

	cli_progress_end(cli);
	if (cli->json) {
		object = json_pack("{s:s,s:i,s:I,s:I,s:o}", "result", result, "code", code, "files",
				   (json_int_t)verdict->files, "bytes", (json_int_t)verdict->bytes,
				   "findings", findings_json(verdict));
		if (object && verdict->why)
			(void)json_object_set_new(object, "error", json_path(verdict->why));
		return cli_print_json(cli, object, code);
	}
	if (verdict->why)
		return cli_fail(cli, code, "%s: %s", cli->options.args[0], verdict->why);
	findings_print(verdict, NAMED_MAX);
	(void)printf("%s%s%s: %" PRIu64 " file%s, %s in %s\n", paint(code ? PAINT_BAD : PAINT_GOOD),
		     code ? "NOT as it was written" : "whole, and all as recorded",
		     paint(PAINT_NONE), verdict->files, verdict->files == 1 ? "" : "s",
		     format_bytes(verdict->bytes, bytes, sizeof(bytes)),
		     format_duration(monotonic_ns() - work->start_ns, spent, sizeof(spent)));
	return fflush(stdout) == 0 ? code : MEDIAFS_EXIT_FAILED;
}

static int run_verify(struct cli *cli)
{
	struct work work = { .cli = cli, .verb = "checked" };
	const char *name = cli->options.args[0];
	cleanup_close int fd = -1;
	struct verdict verdict;
	int code, r;

	if (cli->options.given[OPT_TO] || cli->options.arg_count != 1)
		return cli_fail(cli, MEDIAFS_EXIT_USAGE,
				"--verify wants one archive, or - for standard input");
	fd = strcmp(name, "-") == 0 ? fcntl(STDIN_FILENO, F_DUPFD_CLOEXEC, 3)
				    : open(name, O_RDONLY | O_NOCTTY | O_CLOEXEC);
	if (fd < 0)
		return cli_fail_errno(cli, -errno, "%s", name);
	(void)posix_fadvise(fd, 0, 0, POSIX_FADV_SEQUENTIAL); /* a hint */
	begin(&work);
	r = export_verify(fd, tick, &work, &verdict);
	if (r == -ECANCELED)
		code = cli_fail(cli, MEDIAFS_EXIT_FAILED, "interrupted: nothing was decided");
	else
		code = r < 0 ? cli_fail_errno(cli, r, "%s", name) : tell_verdict(&work, &verdict);
	verdict_fini(&verdict);
	return code;
}

static int run(struct cli *cli)
{
	cleanup_with(target_fini) struct target target = { 0 };
	cleanup_with(outlet_fini) struct outlet outlet = { cli->options.value[OPT_TO], NULL, -1 };
	int code;

	catch_interrupts();
	(void)signal(SIGPIPE, SIG_IGN); /* a reader that goes away is an error to tell */
	if (cli->options.given[OPT_VERIFY])
		return run_verify(cli);
	if (!outlet.name)
		return cli_fail(cli, MEDIAFS_EXIT_USAGE,
				"where to? --to FILE, or --to - for standard output");
	code = target_find(cli, cli->options.args[0], &target);
	return code ? code : export_to(cli, &target, &outlet);
}

static const struct option_spec options[] = {
	{ OPT_TO, 0, "to", "FILE", "where the archive goes; - is standard output" },
	{ OPT_VERIFY, 0, "verify", NULL,
	  "instead: prove an archive (- is standard input) from itself alone" },
	{ OPT_END, 0, NULL, NULL, NULL },
};

const struct command cmd_export = {
	.name = "export",
	.args = "PATH... --to FILE | --verify FILE",
	.help = "verified files as one tar that proves itself, for tape and shuttle",
	.text = "A pax archive in records of 512 KiB: a packing list (ASC MHL) first, the files "
		"with\n"
		"their digests as extended attributes, an index with offsets last. Each file is\n"
		"compared with its digest as it is written. A file that is not verified is named, "
		"and\n"
		"nothing is written. What is evicted is fetched. A stream cannot be resumed.\n\n"
		"Exit codes of --verify: 0 whole and all as recorded, 5 not, or no export at "
		"all.\n",
	.min_args = 1,
	.max_args = SIZE_MAX,
	.options = options,
	.run = run,
};
