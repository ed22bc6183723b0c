/* SPDX-License-Identifier: Apache-2.0 */

/* mediafs.conf: read, and changed in its place (store/settings.h). */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "store/settings_parts.h"
#include "store/settings_table.h"
#include "util/cleanup.h"
#include "util/conf.h"
#include "util/io.h"

#define CONF_NAME "mediafs.conf"

/* The section and the key in it that SECTION.KEY has in the file. Caller frees both. */
static int split_key(const char *key, char **ret_section, char **ret_name)
{
	const char *part = key_tier_part(key);
	size_t length = part ? (size_t)(part - key) - 1 : strcspn(key, ".");
	char *section = strndup(key, length), *name = strdup(key + length + 1);

	if (!section || !name) {
		free(section);
		free(name);
		return -ENOMEM;
	}
	if (part)
		section[strlen("tier")] = ' ';
	*ret_section = section;
	*ret_name = name;
	return 0;
}

struct conf_file {
	int dir_fd; /* owned */
	char *text; /* owned; "" when there is no file */
	size_t length;
	mode_t mode;
};

static void conf_file_fini(struct conf_file *file)
{
	close_fd_slot(&file->dir_fd);
	free(file->text);
}

/* PATH/mediafs.conf. @ret_file is to be ended after an error, too. */
static int load_file(const char *store_path, struct conf_file *ret_file)
{
	struct stat st;
	int r;

	*ret_file = (struct conf_file){ .mode = 0644 };
	ret_file->dir_fd = open(store_path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (ret_file->dir_fd < 0)
		return -errno;
	r = read_file(ret_file->dir_fd, CONF_NAME, CONF_MAX_BYTES, &ret_file->text,
		      &ret_file->length);
	if (r == -ENOENT) {
		ret_file->text = strdup("");
		return ret_file->text ? 0 : -ENOMEM;
	}
	if (r < 0)
		return r;
	ret_file->mode =
		fstatat(ret_file->dir_fd, CONF_NAME, &st, 0) == 0 ? st.st_mode & 0777 : 0600;
	return 0;
}

int settings_load(const char *store_path, struct settings **ret_settings, char **ret_message)
{
	cleanup_with(conf_file_fini) struct conf_file file;
	int r = load_file(store_path, &file);

	*ret_message = NULL;
	return r < 0 ? r : settings_parse(file.text, file.length, ret_settings, ret_message);
}

/* What was set must read back as it is: else nothing is written. */
static int check_saved(const struct settings *settings, const char *text, size_t length)
{
	cleanup_with(settings_free_slot) struct settings *saved = NULL;
	cleanup_free char *message = NULL;
	int r;

	r = settings_parse(text, length, &saved, &message);
	if (r < 0)
		return r;
	for (size_t i = 0; i < settings->entry_count; i++) {
		const struct entry *entry = &settings->entries[i];
		const struct entry *found = settings_find(saved, entry->key);

		if (!entry->changed)
			continue;
		if (!found != !entry->value || (found && strcmp(found->value, entry->value) != 0))
			return -EUCLEAN;
	}
	return 0;
}

static int apply_entry(const struct entry *entry, char **text, size_t *length)
{
	cleanup_free char *section = NULL, *name = NULL;
	char *changed;
	int r;

	r = split_key(entry->key, &section, &name);
	if (r < 0)
		return r;
	r = conf_set(*text, *length, section, name, entry->value, &changed);
	if (r < 0)
		return r;
	free(*text);
	*text = changed;
	*length = strlen(changed);
	return 0;
}

int settings_save(struct settings *settings, const char *store_path)
{
	cleanup_with(conf_file_fini) struct conf_file file;
	int r = load_file(store_path, &file);

	for (size_t i = 0; r == 0 && i < settings->entry_count; i++) {
		if (settings->entries[i].changed)
			r = apply_entry(&settings->entries[i], &file.text, &file.length);
	}
	if (r == 0)
		r = check_saved(settings, file.text, file.length);
	if (r == 0)
		r = write_file(file.dir_fd, CONF_NAME, file.text, file.length, file.mode);
	for (size_t i = 0; r == 0 && i < settings->entry_count; i++)
		settings->entries[i].changed = false;
	return r;
}
