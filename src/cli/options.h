/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * Options: one table a command drives the parser and --help. Pure: prints nothing
 * unless asked to (options_print()).
 *
 * Options and arguments may be mixed; "--" ends the options; -lR, -n5, -n 5, --name=5 and
 * --name 5 are understood.
 */
#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>

enum option_id {
	OPT_END = 0, /* ends a table */
	OPT_HELP,
	OPT_STORE,
	OPT_JSON,
	OPT_ALE,
	OPT_AUTHOR,
	OPT_BUCKET,
	OPT_CLIPS,
	OPT_COMMENT,
	OPT_CSV,
	OPT_EMAIL,
	OPT_DAYS,
	OPT_DRY_RUN,
	OPT_FOLLOW,
	OPT_FOR,
	OPT_FORCE,
	OPT_FOREGROUND,
	OPT_FORMAT,
	OPT_FAKE,
	OPT_HASH,
	OPT_HTML,
	OPT_IGNORE, /* collected, joined by newlines */
	OPT_INTERVAL,
	OPT_JOIN,
	OPT_LAZY,
	OPT_LINES,
	OPT_LOCATION,
	OPT_LONG,
	OPT_MAX_FILES,
	OPT_MAX_RATIO,
	OPT_MAX_SIZE,
	OPT_METERED,
	OPT_MOUNT, /* -o: collected, joined by ',' */
	OPT_NAME,
	OPT_OFFLINE,
	OPT_OFFLOAD,
	OPT_PENDING,
	OPT_PROCESS,
	OPT_RECURSIVE,
	OPT_REPLACE,
	OPT_REREAD,
	OPT_RESTORE,
	OPT_ROOT,
	OPT_SITE,
	OPT_SKIP_EXISTING,
	OPT_SLOPPY,
	OPT_SPEED, /* --restore-tier */
	OPT_TIER,
	OPT_TIMEOUT,
	OPT_TO,
	OPT_TYPE,
	OPT_VERBOSE,
	OPT_VERIFY,
	OPT_WATCH,
	OPT_WHOLE,
	OPT_NO_MTAB,
	OPTION_COUNT
};

struct option_spec {
	enum option_id id;
	char letter;          /* 0: none */
	const char *name;     /* without "--"; NULL: none */
	const char *argument; /* what it is called in help; NULL: a flag */
	const char *help;     /* one line */
};

struct options {
	bool given[OPTION_COUNT];
	const char *value[OPTION_COUNT]; /* borrowed from argv or @joined */
	char *joined[OPTION_COUNT];      /* owned; of what is collected */
	const char **args;               /* owned array of borrowed strings, NULL at the end */
	size_t arg_count;
};

/*
 * Parse @argv[0..argc) (without the command's name) by @tables (NULL-terminated list of
 * tables, each ended by OPT_END). -EINVAL with one line in @ret_message; -ENOMEM.
 * @ret_options must be given to options_fini() in any case.
 */
int options_parse(const struct option_spec *const *tables, int argc, char *const *argv,
		  struct options *ret_options, char *ret_message, size_t message_size);
void options_fini(struct options *options);

/* One line an option, aligned. */
void options_print(const struct option_spec *table, FILE *out);
