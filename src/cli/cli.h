/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * What a person types: one file a command, one table of them. Commands print results to
 * standard output, what went wrong to standard error, and return an exit code of
 * mediafs/exit.h.
 */
#include <stdbool.h>
#include <stdint.h>

#include "cli/options.h"
#include "mediafs/exit.h"
#include "util/interrupt.h"
#include "util/json.h"

struct cli;

struct command {
	const char *name;
	const char *args; /* as the usage line shows them */
	const char *help; /* one line */
	const char *text; /* more, shown by --help; NULL: nothing */
	size_t min_args, max_args;
	const struct option_spec *options;
	int (*run)(struct cli *cli);
	void (*more)(FILE *out); /* more of --help, made from other tables; NULL: nothing */
};

/* One run of a command. */
struct cli {
	const struct command *command;
	struct options options;
	bool json;
};

extern const struct command cmd_init, cmd_mount, cmd_umount, cmd_status, cmd_ls, cmd_wait, cmd_pin,
	cmd_unpin, cmd_fetch, cmd_evict, cmd_log, cmd_config, cmd_tier, cmd_limit, cmd_pause,
	cmd_report, cmd_resume, cmd_conflicts, cmd_metrics, cmd_card, cmd_manifest, cmd_offloads,
	cmd_export, cmd_offload, cmd_seal, cmd_unseal, cmd_import, cmd_safe;

/* cli/cmd_offloads.c: the body of `offloads` and of `ls --clips`; the exit code. */
enum offload_listing { OFFLOADS_ALONE, OFFLOADS_WITH_CLIPS };
int cli_list_offloads(struct cli *cli, enum offload_listing how);

/* cli/import_bucket.c: the body of `import --bucket`; the exit code. */
int cli_import_bucket(struct cli *cli);

/* cli/import_archive.c: the body of `import ARCHIVE FOLDER`; the exit code. */
int cli_import_archive(struct cli *cli);

/* cli/cmd_restore.c: the body of `fetch --restore`; the exit code. */
int cli_restore(struct cli *cli);

/* mount.mediafs(8): argv as mount(8) calls it; exit codes of mount(8). */
int mount_helper_main(int argc, char **argv);

/* mediafs-fsck(8): exit bits of fsck(8). */
int fsck_main(int argc, char **argv);

/* cli/main.c -------------------------------------------------------------------------- */

/* Run a command with its arguments (@argv[0] is its name). For main() and tests. */
int cli_main(int argc, char **argv);

/* cli/output.c ------------------------------------------------------------------------ */

/*
 * Say what went wrong, as text on standard error or {"error":...} on standard output; returns
 * @code. The text says what happened, to which file, and what to do.
 */
int cli_fail(struct cli *cli, int code, const char *format, ...)
	__attribute__((format(printf, 3, 4)));

/* As cli_fail(), with what @error (negative errno) means at the end; the code follows from it. */
int cli_fail_errno(struct cli *cli, int error, const char *format, ...)
	__attribute__((format(printf, 3, 4)));

/* A word about the side: standard error, not with --json. */
void cli_note(struct cli *cli, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* Print @object as one line of JSON. Takes the reference. Returns @code, or FAILED. */
int cli_print_json(struct cli *cli, json_t *object, int code);

/* Escapes for colours: "" unless standard output is a terminal. */
enum paint { PAINT_NONE, PAINT_GOOD, PAINT_BUSY, PAINT_BAD, PAINT_DIM };
const char *paint(enum paint colour);

/* @text with bytes that could confuse a terminal replaced by '?'. Caller frees. */
char *printable(const char *text);

/*
 * A line of progress on standard error: replaced in place on a terminal; else printed at most
 * every few seconds. progress_end() clears it, so that other text can follow.
 */
void cli_progress(struct cli *cli, const char *format, ...) __attribute__((format(printf, 2, 3)));
void cli_progress_end(struct cli *cli);

/*
 * The same for files that are read: "3 of 7 files @what, 1.2 GiB of 4 GiB, 310 MiB/s, 9 s left".
 * Nothing in the first half second since @start_ns (monotonic), no rate in the first two.
 */
void cli_progress_bytes(struct cli *cli, const char *what, int64_t start_ns, uint64_t files,
			uint64_t of_files, uint64_t bytes, uint64_t of_bytes);

/* "90s" etc. of option @id, @fallback when not given. False: complained already. */
bool cli_duration(struct cli *cli, enum option_id id, int64_t fallback, int64_t *ret_ns);

/* Pause, shortened by a signal. */
void cli_pause(int64_t ns);
