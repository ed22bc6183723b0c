/* SPDX-License-Identifier: Apache-2.0 */
#include "volume/media.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "catalog/catalog.h"
#include "catalog/said.h"
#include "mediafs/probe.h"
#include "store/store.h"
#include "util/cleanup.h"
#include "util/clock.h"
#include "util/error.h"

#define CLIP_MEDIA_MAX 16
#define CLIP_SIDECARS_MAX 2
#define TICK_NS (200 * NS_PER_MS)
#define LINE_MAX_BYTES (128u << 10) /* mediafs-probe gives at most half of it */
#define AGAIN "again"               /* the probe: another look at the same bytes may say more */

extern char **environ;

/* Which files ------------------------------------------------------------------------------- */

/* What was taken of each clip so far. */
struct taken {
	unsigned media, sidecars;
};

static bool is_xml(const char *path)
{
	size_t length = strlen(path);

	return length > 4 && strcasecmp(path + length - 4, ".xml") == 0;
}

/*
 * All segments, for only together they are as long as the clip; else its first file tells. Of
 * frames the last one is what a copy ended with, if it was broken off.
 */
static bool takes(const struct card_clip *clip, const struct card_place *place, const char *path,
		  struct taken *taken, enum media_kind *ret_kind)
{
	if (place->media) {
		unsigned before = taken->media++;

		*ret_kind = !before              ? MEDIA_FIRST
			    : clip->segments > 1 ? MEDIA_SEGMENT
						 : MEDIA_OTHER;
		return clip->frames ? !before || taken->media == clip->media
				    : before < CLIP_MEDIA_MAX;
	}
	*ret_kind = MEDIA_SIDECAR;
	return is_xml(path) && taken->sidecars++ < CLIP_SIDECARS_MAX;
}

int media_of(const struct offload *offload, struct media *ret_media)
{
	const struct card *card = offload->card;
	cleanup_free struct taken *taken = calloc(card->clip_count + 1, sizeof(*taken));
	struct media media = { .files = calloc(offload->name_count + 1, sizeof(*media.files)) };

	if (!taken || !media.files) {
		free(media.files);
		return -ENOMEM;
	}
	for (size_t i = 0; i < offload->name_count; i++) {
		const struct offload_name *name = &offload->names[i];
		uint32_t clip = card->places[i].clip;
		struct media_file *file = &media.files[media.count];

		if (clip == CARD_NO_CLIP || !S_ISREG(name->row.mode) ||
		    !takes(&card->clips[clip], &card->places[i], name->path, &taken[clip],
			   &file->kind))
			continue;
		file->name = name;
		file->clip = clip;
		media.count++;
	}
	*ret_media = media;
	return 0;
}

void media_fini(struct media *media)
{
	for (size_t i = 0; i < media->count; i++)
		json_decref(media->files[i].said);
	free(media->files);
	*media = (struct media){ 0 };
}

/* What is kept ------------------------------------------------------------------------------ */

static bool is_here(const struct node_row *row)
{
	return (row->state != FILE_EVICTED && row->state != FILE_HYDRATING) ||
	       row->resident_bytes == row->size;
}

static int recall(const struct media_look *look, struct media_file *file)
{
	const struct node_row *row = &file->name->row;
	cleanup_free char *text = NULL;
	int64_t version = 0;
	int r = row->content ? catalog_get_said(look->catalog, row->content, &version, &text) : 0;

	if (r <= 0)
		return r;
	/* An older look is better than none. */
	if (version >= MEDIAFS_PROBE_VERSION || !is_here(row))
		file->said = json_loads(text, 0, NULL); /* NULL: as if it were not there */
	return 0;
}

static uint64_t whole_bytes(const json_t *said)
{
	int64_t bytes = json_int_or(said, "whole_bytes", 0);

	return bytes > 0 ? (uint64_t)bytes : 0;
}

int media_whole_bytes(struct catalog *catalog, uint64_t content, uint64_t *ret_bytes)
{
	cleanup_free char *text = NULL;
	cleanup_json json_t *said = NULL;
	int64_t version;
	int r = content ? catalog_get_said(catalog, content, &version, &text) : 0;

	if (r > 0)
		said = json_loads(text, 0, NULL);
	*ret_bytes = whole_bytes(said);
	return r < 0 ? r : 0;
}

int media_cut_off(struct catalog *catalog, const struct offload *offload, const char **ret_path,
		  uint64_t *ret_files)
{
	cleanup_with(media_fini) struct media media = { 0 };
	int r = media_of(offload, &media);

	*ret_files = 0;
	for (size_t i = 0; r == 0 && i < media.count; i++) {
		const struct offload_name *name = media.files[i].name;
		uint64_t bytes = 0;

		r = media_whole_bytes(catalog, name->row.content, &bytes);
		if (r == 0 && bytes && !(*ret_files)++)
			*ret_path = name->path;
	}
	return r < 0 ? r : *ret_files > 0;
}

/* 1: what was looked at, under its path, is still the content whose row we had. */
static int is_same(const struct media_look *look, const struct media_file *file)
{
	const struct node_row *row = &file->name->row;
	struct node_row now;
	int r = catalog_lookup_path(look->catalog, file->name->path, &now);

	return r <= 0 ? r
		      : now.id == row->id && now.generation == row->generation &&
				now.content == row->content;
}

static int keep(const struct media_look *look, const struct media_file *file)
{
	cleanup_free char *text = NULL;
	int r = file->name->row.content ? is_same(look, file) : 0;

	if (r <= 0)
		return r;
	text = json_dumps(file->said, JSON_COMPACT);
	if (!text)
		return -ENOMEM;
	return catalog_put_said(look->catalog, file->name->row.content, MEDIAFS_PROBE_VERSION,
				text);
}

/* The program ------------------------------------------------------------------------------- */

struct asking {
	const struct media_look *look;
	struct media_file **files; /* owned array; what is asked for, in order */
	size_t count, done;
	bool *lasts; /* owned; for each */
	pid_t pid;
	int fd; /* answers; -1 */
};

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

static int spawn(char *const *words, int in_fd, int out_fd, pid_t *ret_pid)
{
	posix_spawn_file_actions_t actions;
	posix_spawnattr_t attributes;
	sigset_t none;
	int r;

	(void)sigemptyset(&none); /* the daemon's threads block all signals */
	if (posix_spawn_file_actions_init(&actions) != 0)
		return -ENOMEM;
	if (posix_spawnattr_init(&attributes) != 0) {
		(void)posix_spawn_file_actions_destroy(&actions);
		return -ENOMEM;
	}
	r = posix_spawn_file_actions_adddup2(&actions, in_fd, STDIN_FILENO);
	if (r == 0)
		r = posix_spawn_file_actions_adddup2(&actions, out_fd, STDOUT_FILENO);
	if (r == 0)
		r = posix_spawnattr_setsigmask(&attributes, &none);
	if (r == 0)
		r = posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETSIGMASK);
	if (r == 0)
		r = posix_spawn(ret_pid, words[0], &actions, &attributes, words, environ);
	(void)posix_spawnattr_destroy(&attributes);
	(void)posix_spawn_file_actions_destroy(&actions);
	return -r;
}

/* A file in memory with the paths, each with its NUL, to be read from its start; caller closes. */
static int write_paths(const struct asking *asking)
{
	cleanup_close int fd = memfd_create("mediafs-paths", MFD_CLOEXEC);
	FILE *file = fd < 0 ? NULL : fdopen(fcntl(fd, F_DUPFD_CLOEXEC, 0), "w");
	bool ok = file != NULL;

	for (size_t i = 0; ok && i < asking->count; i++) {
		const char *path = asking->files[i]->name->path;

		ok = fwrite(path, 1, strlen(path) + 1, file) == strlen(path) + 1;
	}
	if (file && fclose(file) != 0)
		ok = false;
	if (!ok || lseek(fd, 0, SEEK_SET) != 0)
		return -ENOMEM;
	return take_fd(fd);
}

static int start(struct asking *asking)
{
	cleanup_close int paths_fd = -1;
	cleanup_free char *tree = store_file(asking->look->store, "tree");
	char program[PATH_MAX];
	char *const words[] = { program, (char *)"--in", tree, NULL };
	int fds[2], r = find_program(program);

	if (r < 0)
		return r;
	paths_fd = tree ? write_paths(asking) : -ENOMEM;
	if (paths_fd < 0)
		return paths_fd;
	if (pipe2(fds, O_CLOEXEC) < 0)
		return -errno;
	r = spawn(words, paths_fd, fds[1], &asking->pid);
	(void)close(fds[1]);
	if (r < 0)
		(void)close(fds[0]);
	else
		asking->fd = fds[0];
	return r;
}

static int take_answer(struct asking *asking, const char *line, size_t length)
{
	json_t *answer = json_loadb(line, length, 0, NULL);

	if (!json_is_object(answer) || asking->done == asking->count) {
		json_decref(answer);
		return -EPROTO;
	}
	asking->lasts[asking->done] = !json_object_get(answer, AGAIN);
	(void)json_object_del(answer, AGAIN);
	(void)json_object_del(answer, "path");
	asking->files[asking->done++]->said = answer;
	return 0;
}

/* All whole lines of @buffer, whose rest moves to its front. */
static int take_answers(struct asking *asking, char *buffer, size_t *used)
{
	size_t start = 0;
	char *end;
	int r = 0;

	while (r == 0 && (end = memchr(buffer + start, '\n', *used - start)) != NULL) {
		r = take_answer(asking, buffer + start, (size_t)(end - buffer) - start);
		start = (size_t)(end - buffer) + 1;
	}
	memmove(buffer, buffer + start, *used - start);
	*used -= start;
	return r == 0 && *used == LINE_MAX_BYTES ? -EPROTO : r;
}

/* Until the program ends. -EPROTO when what it says makes no sense. */
static int read_answers(struct asking *asking)
{
	const struct media_look *look = asking->look;
	cleanup_free char *buffer = malloc(LINE_MAX_BYTES);
	int64_t due_ns = 0;
	size_t used = 0;
	int r = buffer ? 0 : -ENOMEM;

	while (r == 0) {
		struct pollfd poll_fd = { .fd = asking->fd, .events = POLLIN };
		ssize_t n;

		if (look->tick && monotonic_ns() >= due_ns) {
			due_ns = monotonic_ns() + TICK_NS;
			r = look->tick(look->arg, asking->done, asking->count);
			if (r != 0)
				break;
		}
		if (poll(&poll_fd, 1, (int)(TICK_NS / NS_PER_MS)) <= 0)
			continue;
		n = read(asking->fd, buffer + used, LINE_MAX_BYTES - used);
		if (n == 0)
			break;
		if (n < 0 && errno != EINTR)
			return -errno;
		used += n > 0 ? (size_t)n : 0;
		r = take_answers(asking, buffer, &used);
	}
	return r;
}

static int ask(struct asking *asking, const char **ret_error)
{
	int r = start(asking);

	if (r < 0) {
		*ret_error = r == -ENOENT ? "mediafs-probe is not installed beside mediafs"
					  : error_text(r);
		return r == -ENOMEM ? r : 0;
	}
	r = read_answers(asking);
	(void)close(asking->fd);
	if (r != 0)
		(void)kill(asking->pid, SIGKILL);
	while (waitpid(asking->pid, NULL, 0) < 0 && errno == EINTR)
		;
	if (r == -EPROTO || (r == 0 && asking->done < asking->count)) {
		*ret_error = "mediafs-probe ended early";
		r = 0;
	}
	return r;
}

int media_look(const struct media_look *look, struct media *media)
{
	cleanup_free struct media_file **files =
		calloc(media->count + 1, sizeof(struct media_file *));
	cleanup_free bool *lasts = calloc(media->count + 1, sizeof(*lasts));
	struct asking asking = { .look = look, .files = files, .lasts = lasts, .fd = -1 };
	int r = files && lasts ? 0 : -ENOMEM;

	for (size_t i = 0; r == 0 && i < media->count; i++) {
		r = recall(look, &media->files[i]);
		if (r == 0 && !media->files[i].said)
			files[asking.count++] = &media->files[i];
	}
	if (r == 0 && asking.count)
		r = ask(&asking, &media->error);
	if (r != 0 || !asking.done)
		return r;
	/* What was written meanwhile is another content, and the catalog knows. */
	if (catalog_barrier(look->catalog) < 0)
		return 0;
	for (size_t i = 0; r == 0 && i < asking.done; i++)
		r = lasts[i] ? keep(look, files[i]) : 0;
	/* Who asks next finds it there. */
	(void)catalog_barrier(look->catalog);
	return 0;
}
