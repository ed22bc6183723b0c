/* SPDX-License-Identifier: Apache-2.0 */
#include "volume/history_files.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "util/cleanup.h"
#include "util/io.h"
#include "volume/file.h"
#include "volume/internal.h"

#define FILE_MODE 0666
#define FOLDER_MODE 0777

/* A folder of the volume that is known for as long as this lives. */
struct inside {
	struct volume *volume;
	uint64_t id; /* 0: none */
	const char *name;
};

static void inside_fini(struct inside *inside)
{
	if (inside->id && inside->id != CATALOG_ROOT)
		volume_forget(inside->volume, inside->id, 1);
}

/* Down from the root, name by name; each folder is known as long as the one below it is. */
static int go_down(struct inside *inside, char *path)
{
	char *rest = NULL;

	inside->id = CATALOG_ROOT;
	for (char *part = strtok_r(path, "/", &rest); part; part = strtok_r(NULL, "/", &rest)) {
		struct volume_entry entry;
		int r = volume_lookup(inside->volume, inside->id, part, &entry);

		if (r < 0)
			return r;
		inside_fini(inside);
		inside->id = entry.id;
		if (!S_ISDIR(entry.st.st_mode))
			return -ENOTDIR;
	}
	return 0;
}

/* The folder that @path of the offload lies in, and its own name there (in @path). */
static int enter(const struct history_files *files, const char *path, struct inside *ret_inside)
{
	const char *slash = strrchr(path, '/');
	cleanup_free char *above = strndup(path, slash ? (size_t)(slash - path) : 0);
	cleanup_free char *folder = NULL;
	struct inside inside = { files->volume, 0, slash ? slash + 1 : path };
	int r;

	if (!above)
		return -ENOMEM;
	folder = *above ? path_join(files->top, above) : strdup(files->top);
	r = folder ? go_down(&inside, folder) : -ENOMEM;
	if (r < 0)
		inside_fini(&inside);
	else
		*ret_inside = inside;
	return r;
}

static int sync_folder(const struct inside *inside)
{
	struct folder *folder;
	int r = volume_opendir(inside->volume, inside->id, &folder);

	if (r < 0)
		return r;
	r = volume_fsyncdir(folder);
	volume_closedir(folder);
	return r;
}

static void tell(const struct inside *inside, const char *name)
{
	volume_notify_entry(inside->volume, inside->id, name);
}

static int make_folder(void *arg, const char *path)
{
	const struct history_files *files = arg;
	cleanup_with(inside_fini) struct inside inside = { 0 };
	struct volume_entry entry;
	int r = enter(files, path, &inside);

	if (r == 0)
		r = volume_mkdir(files->volume, &files->caller, inside.id, inside.name, FOLDER_MODE,
				 &entry);
	if (r < 0)
		return r;
	volume_forget(files->volume, entry.id, 1);
	tell(&inside, inside.name);
	return 0;
}

static int write_file_bytes(struct file *file, const char *bytes, size_t length)
{
	size_t at = 0;

	while (at < length) {
		size_t piece = length - at < WRITE_MAX_BYTES ? length - at : WRITE_MAX_BYTES;
		ssize_t n = volume_write(file, NULL, bytes + at, piece, (off_t)at);

		if (n <= 0)
			return n < 0 ? (int)n : -EIO;
		at += (size_t)n;
	}
	return volume_fsync(file, false);
}

/* A new file called @name that holds all of it, on the disk. */
static int make_file(const struct history_files *files, const struct inside *inside,
		     const char *name, const void *bytes, size_t length)
{
	struct volume_entry entry;
	struct file *file;
	int r, closed;

	r = volume_create(files->volume, &files->caller, inside->id, name, FILE_MODE,
			  O_CREAT | O_EXCL | O_WRONLY, &entry, &file);
	if (r < 0)
		return r;
	r = write_file_bytes(file, bytes, length);
	closed = volume_flush(file);
	volume_release(file);
	volume_forget(files->volume, entry.id, 1);
	return r < 0 ? r : closed;
}

static int write_bytes(void *arg, const char *path, const void *bytes, size_t length)
{
	const struct history_files *files = arg;
	cleanup_with(inside_fini) struct inside inside = { 0 };
	/* manifest/ knows leftovers by the beginning, the rules what never leaves by the end. */
	char name[5 + 36 + 5], uuid[37];
	int r = enter(files, path, &inside);

	if (r == 0)
		r = uuid_make(uuid);
	if (r < 0)
		return r;
	(void)snprintf(name, sizeof(name), ".tmp-%s.tmp", uuid);
	r = make_file(files, &inside, name, bytes, length);
	if (r == 0)
		r = volume_rename(files->volume, inside.id, name, inside.id, inside.name, 0);
	if (r < 0)
		(void)volume_unlink(files->volume, inside.id, name); /* the first error says more */
	if (r == 0)
		r = sync_folder(&inside);
	tell(&inside, inside.name);
	return r;
}

static int rename_path(void *arg, const char *path, const char *new_path)
{
	const struct history_files *files = arg;
	cleanup_with(inside_fini) struct inside inside = { 0 };
	const char *slash = strrchr(new_path, '/');
	const char *name = slash ? slash + 1 : new_path;
	int r = enter(files, path, &inside);

	if (r == 0)
		r = volume_rename(files->volume, inside.id, inside.name, inside.id, name,
				  RENAME_NOREPLACE);
	if (r < 0)
		return r;
	r = sync_folder(&inside);
	tell(&inside, inside.name);
	tell(&inside, name);
	return r;
}

static int remove_path(void *arg, const char *path)
{
	const struct history_files *files = arg;
	cleanup_with(inside_fini) struct inside inside = { 0 };
	int r = enter(files, path, &inside);

	if (r == 0)
		r = volume_unlink(files->volume, inside.id, inside.name);
	if (r == -EISDIR)
		r = volume_rmdir(files->volume, inside.id, inside.name);
	if (r == 0)
		tell(&inside, inside.name);
	return r;
}

struct manifest_files history_files_of(struct history_files *files)
{
	/* Nothing is refused to the historian (seals_exempt_me()). */
	return (struct manifest_files){ make_folder, write_bytes, rename_path,
					remove_path, NULL,        files };
}
