/* SPDX-License-Identifier: Apache-2.0 */
/* mediafs-probe(1): what media files say of themselves, a line of JSON each. */
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "mediafs/exit.h"
#include "probe/look.h"
#include "probe/run.h"
#include "util/clock.h"
#include "util/error.h"
#include "util/units.h"

#define DEFAULT_TIMEOUT_NS (10 * NS_PER_SEC)

/* So many files at once: each waits for disk and process more than it computes. */
#define MAX_RUNNING 4

struct running {
	char *path; /* owned */
	struct run run;
};

struct job {
	int root; /* -1: paths as they are */
	int64_t timeout_ns;
	struct running running[MAX_RUNNING]; /* a ring, oldest first */
	unsigned first, count;
};

static const char usage[] =
	"Usage: mediafs-probe [OPTION...] [FILE...]\n\n"
	"What media files say of themselves: timecode, rate, size, codec, reel, scene, take. A "
	"line\n"
	"of JSON for each FILE, or for each path on standard input, where a NUL ends each. A file "
	"is\n"
	"looked at by a process that can do nothing but read it: one that crashes or hangs costs\n"
	"only what is known of it (\"error\").\n\n"
	"Options:\n"
	"      --in FOLDER          paths are below FOLDER, and no symbolic link is followed\n"
	"      --timeout TIME       that long for one file (10s)\n"
	"  -h, --help               print this help\n"
	"  -V, --version            print the version\n\n"
	"Exit codes: 0 every path has its line, 1 failed, 2 wrong usage.\n";

static int fail(const char *path, int error)
{
	(void)fprintf(stderr, "mediafs-probe: %s: %s\n", path, error_text(error));
	return error;
}

/* The answer that is due next. */
static int finish_oldest(struct job *job)
{
	struct running *oldest = &job->running[job->first];
	cleanup_free char *path = take_ptr(oldest->path);
	cleanup_json json_t *fields = NULL;
	int r = run_finish(&oldest->run, &fields);

	job->first = (job->first + 1) % MAX_RUNNING;
	job->count--;
	if (r == 0 && json_object_set_new(fields, "path", json_path(path)) < 0)
		r = -ENOMEM;
	if (r < 0)
		return fail(path, r);
	if (json_dumpf(fields, stdout, JSON_COMPACT) < 0 || putchar('\n') == EOF ||
	    fflush(stdout) != 0)
		return fail(path, -EPIPE);
	return 0;
}

static int probe_one(struct job *job, const char *path)
{
	struct running next = { .path = strdup(path) };
	int r = next.path ? 0 : -ENOMEM;

	if (r == 0 && job->count == MAX_RUNNING)
		r = finish_oldest(job);
	if (r == 0)
		r = run_start(job->root, path, look_at_file, job->timeout_ns, &next.run);
	if (r < 0) {
		free(next.path);
		return fail(path, r);
	}
	job->running[(job->first + job->count++) % MAX_RUNNING] = next;
	return 0;
}

static int probe_input(struct job *job)
{
	cleanup_free char *path = NULL;
	size_t size = 0;
	int r = 0;

	while (r == 0 && getdelim(&path, &size, '\0', stdin) > 0)
		r = probe_one(job, path);
	return r;
}

/* -1: go on; else the exit code. */
static int parse(int argc, char **argv, struct job *job)
{
	static const struct option options[] = {
		{ "in", required_argument, NULL, 'i' },
		{ "timeout", required_argument, NULL, 't' },
		{ "help", no_argument, NULL, 'h' },
		{ "version", no_argument, NULL, 'V' },
		{ 0 },
	};
	int option;

	while ((option = getopt_long(argc, argv, "hV", options, NULL)) != -1) {
		switch (option) {
		case 'i':
			job->root = open(optarg, O_PATH | O_DIRECTORY | O_CLOEXEC);
			if (job->root >= 0)
				break;
			(void)fprintf(stderr, "mediafs-probe: %s: %s\n", optarg,
				      error_text(-errno));
			return MEDIAFS_EXIT_FAILED;
		case 't':
			if (parse_duration(optarg, &job->timeout_ns) == 0 && job->timeout_ns > 0)
				break;
			(void)fprintf(stderr, "mediafs-probe: --timeout %s is no time (10s)\n",
				      optarg);
			return MEDIAFS_EXIT_USAGE;
		case 'h':
			(void)fputs(usage, stdout);
			return MEDIAFS_EXIT_OK;
		case 'V':
			(void)puts("mediafs-probe " MEDIAFS_VERSION);
			return MEDIAFS_EXIT_OK;
		default:
			(void)fputs("See mediafs-probe --help\n", stderr);
			return MEDIAFS_EXIT_USAGE;
		}
	}
	return -1;
}

int main(int argc, char **argv)
{
	struct job job = { .root = -1, .timeout_ns = DEFAULT_TIMEOUT_NS };
	int code = parse(argc, argv, &job);
	int r = 0;

	if (code >= 0)
		return code;
	if (optind == argc)
		r = probe_input(&job);
	for (int i = optind; r == 0 && i < argc; i++)
		r = probe_one(&job, argv[i]);
	while (job.count > 0) {
		int ended = finish_oldest(&job);

		r = r < 0 ? r : ended;
	}
	return r == 0 ? MEDIAFS_EXIT_OK : MEDIAFS_EXIT_FAILED;
}
