/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <spawn.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "cli/cli.h"
#include "cli/report.h"
#include "util/cleanup.h"
#include "util/error.h"
#include "util/timecode.h"

extern char **environ;

/* What is looked at, in the order of the answers. */
struct target {
	json_t *meta; /* borrowed from the clip */
	enum { TARGET_FIRST, TARGET_SEGMENT, TARGET_SIDECAR } kind;
};

struct targets {
	struct target *list; /* owned */
	size_t count, room;
	FILE *paths; /* owned; each with a NUL */
};

static int add_target(struct targets *targets, json_t *meta, int kind, const json_t *path)
{
	cleanup_free char *text = json_path_value(path);

	if (!text)
		return -ENOMEM;
	if (targets->count == targets->room) {
		size_t room = targets->room ? targets->room * 2 : 256;
		void *grown = reallocarray(targets->list, room, sizeof(*targets->list));

		if (!grown)
			return -ENOMEM;
		targets->list = grown;
		targets->room = room;
	}
	targets->list[targets->count++] = (struct target){ meta, kind };
	(void)fwrite(text, 1, strlen(text) + 1, targets->paths);
	return 0;
}

/* All segments, for they are as long as the clip only together; else the first file tells. */
static int add_clip(struct targets *targets, json_t *clip)
{
	const json_t *media = json_object_get(clip, "media"), *xml = json_object_get(clip, "xml");
	bool segments = json_int_or(clip, "segments", 0) > 1;
	json_t *meta = json_object();
	const json_t *path;
	size_t i;
	int r = 0;

	if (json_object_set_new(clip, "meta", meta) < 0)
		return -ENOMEM;
	json_array_foreach(media, i, path)
	{
		if (r == 0 && (i == 0 || segments))
			r = add_target(targets, meta, i ? TARGET_SEGMENT : TARGET_FIRST, path);
	}
	json_array_foreach(xml, i, path)
	{
		if (r == 0)
			r = add_target(targets, meta, TARGET_SIDECAR, path);
	}
	return r;
}

/* A further segment makes the clip longer, when both lengths are known. */
static void add_length(json_t *meta, const json_t *answer, const char *key)
{
	int64_t sum;

	if (json_int_or(meta, key, 0) > 0 && json_int_or(answer, key, 0) > 0 &&
	    !__builtin_add_overflow(json_int_or(meta, key, 0), json_int_or(answer, key, 0), &sum))
		(void)json_object_set_new(meta, key, json_integer(sum));
	else
		(void)json_object_del(meta, key);
}

static void merge(const struct target *target, json_t *answer)
{
	const char *key;
	json_t *value;

	(void)json_object_del(answer, "path");
	if (target->kind == TARGET_SEGMENT) {
		add_length(target->meta, answer, "frames");
		add_length(target->meta, answer, "samples");
		return;
	}
	/* What XML cannot say is no error of the clip's. */
	if (target->kind == TARGET_SIDECAR) {
		(void)json_object_del(answer, "error");
		(void)json_object_del(answer, "format");
	}
	json_object_foreach(answer, key, value)
	{
		if (!json_object_get(target->meta, key))
			(void)json_object_set(target->meta, key, value);
	}
}

/* What follows ------------------------------------------------------------------------------ */

/* "23.976" of 24000/1001. */
static char *rate_text(int64_t numerator, int64_t denominator, char *buffer, size_t size)
{
	size_t length;

	(void)snprintf(buffer, size, "%.3f", (double)numerator / (double)denominator);
	for (length = strlen(buffer); length > 0 && buffer[length - 1] == '0';)
		buffer[--length] = '\0';
	if (length > 0 && buffer[length - 1] == '.')
		buffer[length - 1] = '\0';
	return buffer;
}

/* Frames of @base that are as long as the clip; 0 unknown. */
static uint64_t length_of(const json_t *meta, unsigned base, int64_t numerator, int64_t denominator)
{
	int64_t frames = json_int_or(meta, "frames", 0), samples = json_int_or(meta, "samples", 0);
	int64_t per_second = json_int_or(meta, "audio_rate", 0);
	unsigned whole = timecode_base(numerator, denominator);

	if (frames > 0)
		return (uint64_t)((unsigned __int128)(uint64_t)frames * base / whole);
	if (samples > 0 && per_second > 0)
		return (uint64_t)((unsigned __int128)(uint64_t)samples * (uint64_t)numerator /
				  ((unsigned __int128)(uint64_t)per_second *
				   (uint64_t)denominator));
	return 0;
}

static void add_times(json_t *meta, unsigned base, uint64_t length)
{
	const char *start = json_string_or(meta, "timecode", NULL);
	struct timecode timecode = { .base = base }, end;
	char text[TIMECODE_SIZE];

	if (!length || length >= 86400ull * base)
		return;
	if (start && timecode_parse(start, base, &timecode) == 0) {
		end = timecode_add(&timecode, length);
		(void)json_object_set_new(meta, "end", json_string(timecode_format(&end, text)));
	} else if (start) {
		(void)json_object_del(meta, "timecode"); /* not at this rate */
	}
	timecode.frame = length;
	(void)json_object_set_new(meta, "duration", json_string(timecode_format(&timecode, text)));
}

static void add_seconds(json_t *meta, int64_t numerator, int64_t denominator)
{
	int64_t frames = json_int_or(meta, "frames", 0), samples = json_int_or(meta, "samples", 0);
	int64_t per_second = json_int_or(meta, "audio_rate", 0);
	double seconds = frames > 0 && numerator > 0
				 ? (double)frames * (double)denominator / (double)numerator
			 : samples > 0 && per_second > 0 ? (double)samples / (double)per_second
							 : 0;

	if (seconds > 0)
		(void)json_object_set_new(meta, "seconds", json_real(seconds));
}

static void conclude(json_t *clip)
{
	json_t *meta = json_object_get(clip, "meta");
	int64_t numerator = 0, denominator = 1, pictures = json_int_or(clip, "frames", 0);
	unsigned base = 0;
	char text[32];

	if (json_int_or(clip, "segments", 0) >
	    (int64_t)json_array_size(json_object_get(clip, "media")))
		(void)json_object_del(meta, "frames"); /* some were not looked at */
	if (pictures > 0)
		(void)json_object_set_new(meta, "frames", json_integer(pictures));
	if (sscanf(json_string_or(meta, "fps", ""), "%" SCNd64 "/%" SCNd64, &numerator,
		   &denominator) == 2)
		base = timecode_base(numerator, denominator);
	if (base) {
		int64_t other = json_int_or(meta, "timecode_base", base);
		unsigned counted = other > 0 && other < TIMECODE_BASE_MAX ? (unsigned)other : base;

		(void)json_object_set_new(
			meta, "rate",
			json_string(rate_text(numerator, denominator, text, sizeof(text))));
		add_times(meta, counted, length_of(meta, counted, numerator, denominator));
	}
	add_seconds(meta, base ? numerator : 0, denominator);
}

/* The program ------------------------------------------------------------------------------- */

/* Beside the program that runs. */
static int find_program(char path[PATH_MAX])
{
	static const char name[] = "mediafs-probe";
	ssize_t length = readlink("/proc/self/exe", path, PATH_MAX - sizeof(name));
	char *slash;

	if (length < 0)
		return -errno;
	path[length] = '\0';
	slash = strrchr(path, '/');
	if (!slash)
		return -ENOENT;
	memcpy(slash + 1, name, sizeof(name));
	return access(path, X_OK) < 0 ? -errno : 0;
}

static int start(const char *tree, int paths_fd, pid_t *ret_pid, FILE **ret_answers)
{
	char program[PATH_MAX];
	char *const words[] = { program, (char *)"--in", (char *)tree, NULL };
	posix_spawn_file_actions_t actions;
	int fds[2], r = find_program(program);

	if (r < 0)
		return r;
	if (pipe2(fds, O_CLOEXEC) < 0)
		return -errno;
	r = posix_spawn_file_actions_init(&actions);
	if (r == 0) {
		r = posix_spawn_file_actions_adddup2(&actions, paths_fd, STDIN_FILENO);
		if (r == 0)
			r = posix_spawn_file_actions_adddup2(&actions, fds[1], STDOUT_FILENO);
		if (r == 0)
			r = posix_spawn(ret_pid, program, &actions, NULL, words, environ);
		(void)posix_spawn_file_actions_destroy(&actions);
	}
	(void)close(fds[1]);
	*ret_answers = r == 0 ? fdopen(fds[0], "r") : NULL;
	if (!*ret_answers)
		(void)close(fds[0]);
	return r == 0 && !*ret_answers ? -ENOMEM : -r;
}

static size_t read_answers(struct cli *cli, const struct targets *targets, FILE *answers)
{
	cleanup_free char *line = NULL;
	size_t size = 0, done = 0;
	ssize_t length;

	while (done < targets->count && (length = getline(&line, &size, answers)) > 0) {
		cleanup_json json_t *answer = json_loadb(line, (size_t)length, 0, NULL);

		if (!json_is_object(answer))
			break;
		merge(&targets->list[done++], answer);
		cli_progress(cli, "looked at %zu of %zu files", done, targets->count);
	}
	cli_progress_end(cli);
	return done;
}

static int look(struct cli *cli, struct report *report, const char *store,
		const struct targets *targets)
{
	cleanup_free char *tree = NULL;
	FILE *answers = NULL;
	pid_t pid = 0;
	size_t done;
	int r;

	if (asprintf(&tree, "%s/tree", store) < 0)
		return -ENOMEM;
	if (fflush(targets->paths) != 0 || lseek(fileno(targets->paths), 0, SEEK_SET) != 0)
		return -EIO;
	r = start(tree, fileno(targets->paths), &pid, &answers);
	if (r < 0) {
		report->no_meta = r == -ENOENT ? "mediafs-probe is not installed beside mediafs"
					       : error_text(r);
		return 0;
	}
	done = read_answers(cli, targets, answers);
	(void)fclose(answers);
	while (waitpid(pid, NULL, 0) < 0 && errno == EINTR)
		;
	if (done < targets->count)
		report->no_meta = "mediafs-probe ended early";
	return 0;
}

static FILE *memory_file(void)
{
	int fd = memfd_create("mediafs-paths", MFD_CLOEXEC);
	FILE *file = fd < 0 ? NULL : fdopen(fd, "w+");

	if (!file && fd >= 0)
		(void)close(fd);
	return file;
}

int report_probe(struct cli *cli, struct report *report, const char *store)
{
	struct targets targets = { .paths = memory_file() };
	const json_t *card;
	json_t *clip;
	size_t i, j;
	int r = targets.paths ? 0 : -ENOMEM;

	json_array_foreach(report->cards, i, card)
	{
		json_array_foreach(json_object_get(card, "clips"), j, clip)
		{
			if (r == 0)
				r = add_clip(&targets, clip);
		}
	}
	if (r == 0 && targets.count)
		r = look(cli, report, store, &targets);
	json_array_foreach(report->cards, i, card)
	{
		json_array_foreach(json_object_get(card, "clips"), j, clip)
		{
			conclude(clip);
		}
	}
	if (targets.paths)
		(void)fclose(targets.paths);
	free(targets.list);
	return r;
}
