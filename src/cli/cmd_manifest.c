/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "cli/cli.h"
#include "cli/findings.h"
#include "manifest/verdict.h"
#include "util/xml.h"
#include "util/cleanup.h"
#include "util/clock.h"
#include "util/io.h"
#include "util/units.h"

struct manifest_job {
	struct cli *cli;
	int64_t start_ns;
};

static int tick(void *arg, const struct tree_progress *progress)
{
	struct manifest_job *job = arg;

	cli_progress_bytes(job->cli, "hashed", job->start_ns, progress->files, progress->of_files,
			   progress->bytes, progress->of_bytes);
	return interrupted();
}

/* What came of it ------------------------------------------------------------------------ */

static int print_json(struct cli *cli, const struct verdict *verdict)
{
	json_t *written = json_array(), *object;

	for (size_t i = 0; i < verdict->written_count; i++)
		(void)json_array_append_new(written, json_path(verdict->written[i]));
	object = json_pack("{s:s,s:i,s:I,s:I,s:I,s:o,s:o}", "result", verdict_name(verdict->class),
			   "code", (int)verdict->class, "files", (json_int_t)verdict->files,
			   "bytes", (json_int_t)verdict->bytes, "cached_files",
			   (json_int_t)verdict->cached_files, "findings", findings_json(verdict),
			   "written", written);
	if (object && verdict->why)
		(void)json_object_set_new(object, "error", json_path(verdict->why));
	return cli_print_json(cli, object, (int)verdict->class);
}

static const char *class_text(enum verdict_class class)
{
	switch (class) {
	case CLASS_OK:
		return "all as recorded";
	case CLASS_MISSING:
		return "recorded files or folders are missing";
	case CLASS_DAMAGED:
		return "DAMAGED: bytes are not as recorded";
	case CLASS_FOLDER:
		return "the hash of a folder is not as recorded";
	case CLASS_NEW:
		return "there are files that nobody recorded";
	default:
		return "could not be checked";
	}
}

/* Prints the verdict, with @good instead of "all as recorded" where something was made. */
static int tell(struct cli *cli, const struct manifest_job *job, const struct verdict *verdict,
		const char *good)
{
	bool is_good = verdict->class == CLASS_OK;
	char bytes[32], spent[32];

	cli_progress_end(cli);
	if (cli->json)
		return print_json(cli, verdict);
	findings_print(verdict, SIZE_MAX);
	for (size_t i = 0; i < verdict->written_count; i++) {
		cleanup_free char *path = printable(verdict->written[i]);

		(void)printf("written     %s\n", path ? path : "?");
	}
	if (verdict->cached_files)
		cli_note(cli, "%" PRIu64 " files were read from memory, not from the medium",
			 verdict->cached_files);
	if (verdict->why)
		return cli_fail(cli, (int)verdict->class, "%s", verdict->why);
	(void)printf(
		"%s%s%s: %" PRIu64 " file%s, %s in %s\n", paint(is_good ? PAINT_GOOD : PAINT_BAD),
		is_good ? good : class_text(verdict->class), paint(PAINT_NONE), verdict->files,
		verdict->files == 1 ? "" : "s", format_bytes(verdict->bytes, bytes, sizeof(bytes)),
		format_duration(monotonic_ns() - job->start_ns, spent, sizeof(spent)));
	return fflush(stdout) == 0 ? (int)verdict->class : MEDIAFS_EXIT_FAILED;
}

/* The end of all three: @r is what the job returned. */
static int finish(struct cli *cli, const struct manifest_job *job, struct verdict *verdict, int r,
		  const char *good)
{
	int code;

	if (r == -ECANCELED)
		code = cli_fail(cli, MEDIAFS_EXIT_FAILED, "interrupted: nothing was decided");
	else if (r < 0)
		code = cli_fail_errno(cli, r, "%s", cli->options.args[1]);
	else
		code = tell(cli, job, verdict, good);
	verdict_fini(verdict);
	return code;
}

/* Verify --------------------------------------------------------------------------------- */

/* The one legacy list in the folder @path: 1, *ret_file owned by the caller; 0 none; -EEXIST. */
static int find_list(const char *path, char **ret_file)
{
	cleanup_closedir DIR *dir = opendir(path);
	cleanup_free char *found = NULL;

	if (!dir)
		return -errno;
	for (const struct dirent *entry = readdir(dir); entry; entry = readdir(dir)) {
		if (!history_is_manifest(entry->d_name))
			continue;
		if (found)
			return -EEXIST;
		found = path_join(path, entry->d_name);
		if (!found)
			return -ENOMEM;
	}
	*ret_file = take_ptr(found);
	return *ret_file ? 1 : 0;
}

/* A folder: its history; without one, the legacy list in it. */
static int verify_folder(struct cli *cli, const char *path, const struct manifest_watch *watch,
			 struct verdict *verdict, int *ret_r)
{
	cleanup_free char *history = path_join(path, HISTORY_FOLDER);
	cleanup_free char *list = NULL;
	struct stat st;
	int r;

	if (!history)
		return cli_fail_errno(cli, -ENOMEM, "%s", path);
	if (lstat(history, &st) < 0) {
		r = find_list(path, &list);
		if (r == -EEXIST)
			return cli_fail(cli, MEDIAFS_EXIT_USAGE,
					"%s: there are several lists in it: name the one that is "
					"meant",
					path);
		if (r < 0)
			return cli_fail_errno(cli, r, "%s", path);
	}
	*ret_r = list ? manifest_verify_list(list, path, watch, verdict)
		      : manifest_verify(path, watch, verdict);
	return 0;
}

static int run_verify(struct cli *cli)
{
	struct manifest_job job = { cli, monotonic_ns() };
	const struct manifest_watch watch = { tick, &job };
	const char *path = cli->options.args[1], *root = cli->options.value[OPT_ROOT];
	struct verdict verdict = { 0 };
	struct stat st;
	int code, r = 0;

	if (cli->options.arg_count != 2)
		return cli_fail(cli, MEDIAFS_EXIT_USAGE, "one PATH is wanted: a folder or a list");
	if (stat(path, &st) < 0)
		return cli_fail_errno(cli, -errno, "%s", path);
	catch_interrupts();
	if (!S_ISDIR(st.st_mode)) {
		r = manifest_verify_list(path, root, &watch, &verdict);
	} else if (root) {
		return cli_fail(cli, MEDIAFS_EXIT_USAGE, "--root goes with a list, %s is a folder",
				path);
	} else {
		code = verify_folder(cli, path, &watch, &verdict, &r);
		if (code)
			return code;
	}
	return finish(cli, &job, &verdict, r, "all as recorded");
}

/* Create --------------------------------------------------------------------------------- */

/* "md5,xxh128" as bits. 0: complained already. */
static unsigned parse_formats(struct cli *cli, const char *text)
{
	unsigned formats = 0;

	for (;;) {
		size_t length = strcspn(text, ",");
		enum hash_format format;

		if (hash_format_parse(text, length, &format) < 0 || format == HASH_XXH32) {
			(void)cli_fail(cli, MEDIAFS_EXIT_USAGE,
				       "--hash: c4, md5, sha1, xxh128, xxh3 or xxh64 are wanted, "
				       "not \"%.*s\"",
				       (int)length, text);
			return 0;
		}
		formats |= HASH_BIT(format);
		if (!text[length])
			return formats;
		text += length + 1;
	}
}

/* What the schema wants of an address: [^@]+@[^.]+\..+ (ASCMHL.xsd). */
static bool is_email(const char *text)
{
	const char *at = strchr(text, '@'), *dot = at ? strchr(at, '.') : NULL;

	return at && at > text && dot && dot > at + 1 && dot[1] && !strchr(at + 1, '@');
}

/* 0, or the exit code. */
static int take_creator(struct cli *cli, struct list_creator *creator)
{
	static const enum option_id texts[] = { OPT_AUTHOR, OPT_EMAIL, OPT_LOCATION, OPT_COMMENT,
						OPT_IGNORE };
	const char *const *value = cli->options.value;

	for (size_t i = 0; i < ARRAY_SIZE(texts); i++) {
		if (value[texts[i]] && !xml_can_carry(value[texts[i]]))
			return cli_fail(cli, MEDIAFS_EXIT_USAGE,
					"\"%s\": a manifest cannot carry control characters, nor "
					"what is no UTF-8",
					value[texts[i]]);
	}
	if (value[OPT_EMAIL] && !is_email(value[OPT_EMAIL]))
		return cli_fail(cli, MEDIAFS_EXIT_USAGE, "--email: \"%s\" is no address",
				value[OPT_EMAIL]);
	if (value[OPT_EMAIL] && !value[OPT_AUTHOR])
		return cli_fail(cli, MEDIAFS_EXIT_USAGE, "--email wants --author too");
	*creator = (struct list_creator){ value[OPT_AUTHOR], value[OPT_EMAIL], value[OPT_LOCATION],
					  value[OPT_COMMENT] };
	return 0;
}

/* 0, or the exit code. */
static int take_options(struct cli *cli, struct manifest_create *create)
{
	const char *format = cli->options.value[OPT_FORMAT];
	const char *process = cli->options.value[OPT_PROCESS];
	const char *hash = cli->options.value[OPT_HASH];

	create->asc = !format || strcmp(format, "asc") == 0 || strcmp(format, "both") == 0;
	create->legacy = format && (strcmp(format, "legacy") == 0 || strcmp(format, "both") == 0);
	if (!create->asc && !create->legacy)
		return cli_fail(cli, MEDIAFS_EXIT_USAGE,
				"--format: asc, legacy or both is wanted, not \"%s\"", format);
	if (process && strcmp(process, "transfer") == 0)
		create->process = PROCESS_TRANSFER;
	else if (process && strcmp(process, "in-place") != 0)
		return cli_fail(cli, MEDIAFS_EXIT_USAGE,
				"--process: in-place or transfer is wanted, not \"%s\"", process);
	create->formats = parse_formats(cli, hash ? hash : create->asc ? "xxh128" : "xxh64");
	if (!create->formats)
		return MEDIAFS_EXIT_USAGE;
	if (!create->asc && (create->formats & ~MANIFEST_LEGACY_FORMATS))
		return cli_fail(cli, MEDIAFS_EXIT_USAGE,
				"--hash: a legacy list has md5, sha1 or xxh64");
	return take_creator(cli, &create->creator);
}

static int run_create(struct cli *cli)
{
	struct manifest_job job = { cli, monotonic_ns() };
	const struct manifest_watch watch = { tick, &job };
	struct manifest_create create = { .path = cli->options.args[1] };
	cleanup_free char *lines = NULL;
	cleanup_free char **ignore = NULL;
	struct verdict verdict = { 0 };
	char *rest = NULL;
	int code, r;

	if (cli->options.arg_count != 2)
		return cli_fail(cli, MEDIAFS_EXIT_USAGE, "one PATH is wanted: a folder");
	code = take_options(cli, &create);
	if (code)
		return code;
	lines = strdup(cli->options.given[OPT_IGNORE] ? cli->options.value[OPT_IGNORE] : "");
	ignore = lines ? calloc(strlen(lines) + 1, sizeof(char *)) : NULL;
	if (!ignore)
		return cli_fail_errno(cli, -ENOMEM, "cannot start");
	for (char *line = strtok_r(lines, "\n", &rest); line; line = strtok_r(NULL, "\n", &rest))
		ignore[create.ignore_count++] = line;
	create.ignore = ignore;
	catch_interrupts();
	r = manifest_create(&create, &watch, &verdict);
	return finish(cli, &job, &verdict, r, "recorded");
}

/* Flatten -------------------------------------------------------------------------------- */

static int run_flatten(struct cli *cli)
{
	struct manifest_job job = { cli, monotonic_ns() };
	struct verdict verdict = { 0 };
	struct list_creator creator;
	int code, r;

	if (cli->options.arg_count != 3)
		return cli_fail(cli, MEDIAFS_EXIT_USAGE,
				"two folders are wanted: PATH, and where the list goes");
	code = take_creator(cli, &creator);
	if (code)
		return code;
	r = manifest_flatten(cli->options.args[1], cli->options.args[2], &creator, &verdict);
	return finish(cli, &job, &verdict, r, "packing list made");
}

static int run(struct cli *cli)
{
	static const struct {
		const char *name;
		int (*run)(struct cli *cli);
		enum option_id takes[10];
	} verbs[] = {
		{ "verify", run_verify, { OPT_ROOT } },
		{ "create",
		  run_create,
		  { OPT_HASH, OPT_FORMAT, OPT_PROCESS, OPT_IGNORE, OPT_AUTHOR, OPT_EMAIL,
		    OPT_LOCATION, OPT_COMMENT } },
		{ "flatten", run_flatten, { OPT_AUTHOR, OPT_EMAIL, OPT_LOCATION, OPT_COMMENT } },
	};
	const char *what = cli->options.args[0];

	for (size_t i = 0; i < ARRAY_SIZE(verbs); i++) {
		if (strcmp(what, verbs[i].name) != 0)
			continue;
		for (const struct option_spec *spec = cli->command->options; spec->id; spec++) {
			bool takes = !cli->options.given[spec->id];

			for (size_t j = 0; verbs[i].takes[j]; j++)
				takes = takes || verbs[i].takes[j] == spec->id;
			if (!takes)
				return cli_fail(cli, MEDIAFS_EXIT_USAGE,
						"--%s does not go with %s (see mediafs manifest "
						"--help)",
						spec->name, what);
		}
		return verbs[i].run(cli);
	}
	return cli_fail(cli, MEDIAFS_EXIT_USAGE, "create, verify or flatten is wanted, not \"%s\"",
			what);
}

static const struct option_spec options[] = {
	{ OPT_HASH, 0, "hash", "LIST",
	  "create: c4, md5, sha1, xxh128 (default), xxh3, xxh64, by commas" },
	{ OPT_FORMAT, 0, "format", "FORMAT", "create: asc (default), legacy or both" },
	{ OPT_PROCESS, 0, "process", "WORD",
	  "create: in-place (default), or transfer: copied and compared just now" },
	{ OPT_IGNORE, 0, "ignore", "PATTERN",
	  "create: leave out from now on, as in .gitignore; repeatable" },
	{ OPT_AUTHOR, 0, "author", "NAME", "create, flatten: who does it" },
	{ OPT_EMAIL, 0, "email", "ADDRESS", "create, flatten: the author's" },
	{ OPT_LOCATION, 0, "location", "TEXT", "create, flatten: where" },
	{ OPT_COMMENT, 0, "comment", "TEXT", "create, flatten: what else is to be said" },
	{ OPT_ROOT, 0, "root", "FOLDER", "verify: what the paths of a list are relative to" },
	{ OPT_END, 0, NULL, NULL, NULL },
};

const struct command cmd_manifest = {
	.name = "manifest",
	.args = "create|verify PATH | flatten PATH FOLDER",
	.help = "ASC MHL histories and MHL lists: make, continue, prove",
	.text = "create: reads every file, past the page cache, checks what is recorded and writes "
		"the\n"
		"next generation of the history (ascmhl) in the folder PATH and below, or the "
		"first.\n"
		"verify: reads and compares, writes nothing. PATH is a folder with a history or "
		"one\n"
		"legacy list in it, or a list of either kind.\n"
		"flatten: a packing list of what the histories record, in a collection in FOLDER.\n"
		"\n"
		"Exit codes are those of the reference implementation: 0 all as recorded, 10 "
		"missing,\n"
		"11 damaged, 12 the hash of a folder differs, 21 new files, 30 no history, 31 a\n"
		"manifest was altered, 32 no chain, 33 a manifest is gone; 1 something cannot be "
		"read.\n"
		"create writes its generation at 0, 10 and 11.\n",
	.min_args = 2,
	.max_args = 3,
	.options = options,
	.run = run,
};
