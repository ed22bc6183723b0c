/* SPDX-License-Identifier: Apache-2.0 */
#include "fs/options.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>

#include "util/cleanup.h"

enum kind {
	KIND_IGNORED, /* told to mount(8), fstab(5) or systemd, not to us */
	KIND_FLAG_SET,
	KIND_FLAG_CLEAR,
	KIND_ACCESS,
	KIND_ALLOW,
	KIND_VERIFY,
	KIND_PENDING,
	KIND_URING,
	KIND_FSNAME,
	KIND_SUBTYPE,
	KIND_REMOUNT,
};

struct option {
	const char *name; /* with '=': takes a value; ends with '*': any that starts so */
	enum kind kind;
	unsigned long value;
	const char *help; /* NULL: an option of mount(8) that needs no words of ours */
};

static const struct option table[] = {
	{ "ro", KIND_ACCESS, FS_ACCESS_READ_ONLY, "nothing is changed (default of a joined site)" },
	{ "rw", KIND_ACCESS, FS_ACCESS_READ_WRITE,
	  "reading and writing (default of a site that is not joined)" },
	{ "allow_other", KIND_ALLOW, FS_ALLOW_OTHER,
	  "all users may use the mount (default for root)" },
	{ "allow_owner", KIND_ALLOW, FS_ALLOW_OWNER, "only who mounts may use it" },
	{ "verify=", KIND_VERIFY, 0,
	  "async (default): files are read back in the background; close: close(2) waits for it" },
	{ "pending=", KIND_PENDING, 0,
	  "hide (default) or show files that other sites have announced but not stored yet" },
	{ "uring", KIND_URING, 0, "FUSE over io_uring, where kernel and library offer it" },
	{ "fsname=", KIND_FSNAME, 0, "the source shown by mount(8) (default: the store's path)" },
	{ "subtype=", KIND_SUBTYPE, 0, "the type shown is fuse.SUBTYPE (default: mediafs)" },
	{ "remount", KIND_REMOUNT, 0, "change ro, rw, noatime, suid, dev, exec of a mount" },
	{ "noatime", KIND_FLAG_SET, MS_NOATIME, NULL },
	{ "atime", KIND_FLAG_CLEAR, MS_NOATIME, NULL },
	{ "nodiratime", KIND_IGNORED, 0, NULL },
	{ "diratime", KIND_IGNORED, 0, NULL },
	{ "nosuid", KIND_FLAG_SET, MS_NOSUID, NULL },
	{ "suid", KIND_FLAG_CLEAR, MS_NOSUID, NULL },
	{ "nodev", KIND_FLAG_SET, MS_NODEV, NULL },
	{ "dev", KIND_FLAG_CLEAR, MS_NODEV, NULL },
	{ "noexec", KIND_FLAG_SET, MS_NOEXEC, NULL },
	{ "exec", KIND_FLAG_CLEAR, MS_NOEXEC, NULL },
	{ "sync", KIND_FLAG_SET, MS_SYNCHRONOUS, NULL },
	{ "async", KIND_FLAG_CLEAR, MS_SYNCHRONOUS, NULL },
	{ "dirsync", KIND_FLAG_SET, MS_DIRSYNC, NULL },
	{ "defaults", KIND_IGNORED, 0, NULL },
	{ "default_permissions", KIND_IGNORED, 0, NULL }, /* always on */
	{ "relatime", KIND_IGNORED, 0, NULL },
	{ "norelatime", KIND_IGNORED, 0, NULL },
	{ "strictatime", KIND_IGNORED, 0, NULL },
	{ "nostrictatime", KIND_IGNORED, 0, NULL },
	{ "lazytime", KIND_IGNORED, 0, NULL },
	{ "nolazytime", KIND_IGNORED, 0, NULL },
	{ "iversion", KIND_IGNORED, 0, NULL },
	{ "noiversion", KIND_IGNORED, 0, NULL },
	{ "silent", KIND_IGNORED, 0, NULL },
	{ "loud", KIND_IGNORED, 0, NULL },
	{ "auto", KIND_IGNORED, 0, NULL },
	{ "noauto", KIND_IGNORED, 0, NULL },
	{ "user", KIND_IGNORED, 0, NULL },
	{ "user=", KIND_IGNORED, 0, NULL },
	{ "users", KIND_IGNORED, 0, NULL },
	{ "nouser", KIND_IGNORED, 0, NULL },
	{ "owner", KIND_IGNORED, 0, NULL },
	{ "group", KIND_IGNORED, 0, NULL },
	{ "nofail", KIND_IGNORED, 0, NULL },
	{ "_netdev", KIND_IGNORED, 0, NULL },
	{ "comment=", KIND_IGNORED, 0, NULL },
	{ "x-*", KIND_IGNORED, 0, NULL },
	{ "X-*", KIND_IGNORED, 0, NULL },
};

int fs_options_init(struct fs_options *options, const char *store, const char *mountpoint)
{
	*options = (struct fs_options){ 0 };
	options->store = strdup(store);
	options->mountpoint = strdup(mountpoint);
	if (options->store && options->mountpoint)
		return 0;
	fs_options_fini(options);
	return -ENOMEM;
}

void fs_options_fini(struct fs_options *options)
{
	free(options->store);
	free(options->mountpoint);
	free(options->fsname);
	free(options->subtype);
	*options = (struct fs_options){ 0 };
}

/* What follows the name of @option in @text (NULL: another option). */
static const char *match(const struct option *option, const char *text)
{
	size_t length = strlen(option->name);

	if (option->name[length - 1] == '*')
		return strncmp(text, option->name, length - 1) == 0 ? "" : NULL;
	if (strncmp(text, option->name, length) != 0)
		return NULL;
	if (option->name[length - 1] != '=' && text[length] != '\0')
		return NULL;
	return text + length;
}

static const struct option *find(const char *text, const char **ret_value)
{
	for (size_t i = 0; i < ARRAY_SIZE(table); i++) {
		*ret_value = match(&table[i], text);
		if (*ret_value)
			return &table[i];
	}
	return NULL;
}

static int complain(char **ret_message, const char *format, const char *text)
{
	return asprintf(ret_message, format, text) < 0 ? -ENOMEM : -EINVAL;
}

/* One of two words. */
static int choose(const char *value, const char *first, const char *second, int *ret_index)
{
	if (strcmp(value, first) != 0 && strcmp(value, second) != 0)
		return -EINVAL;
	*ret_index = strcmp(value, first) == 0 ? 0 : 1;
	return 0;
}

static int set_text(char **slot, const char *value)
{
	char *copy = strdup(value);

	if (!copy)
		return -ENOMEM;
	free(*slot);
	*slot = copy;
	return 0;
}

static void set_flag(struct fs_options *options, unsigned long flag, bool on)
{
	if (on) {
		options->set_flags |= flag;
		options->clear_flags &= ~flag;
	} else {
		options->set_flags &= ~flag;
		options->clear_flags |= flag;
	}
}

static int take_value(struct fs_options *options, const struct option *option, const char *value,
		      char **ret_message)
{
	int index = 0;

	switch (option->kind) {
	case KIND_VERIFY:
		if (choose(value, "async", "close", &index) < 0)
			return complain(ret_message, "verify=%s: async or close", value);
		options->verify = index ? FS_VERIFY_CLOSE : FS_VERIFY_ASYNC;
		return 0;
	case KIND_PENDING:
		if (choose(value, "hide", "show", &index) < 0)
			return complain(ret_message, "pending=%s: show or hide", value);
		options->show_pending = index == 1;
		return 0;
	case KIND_FSNAME:
		return *value ? set_text(&options->fsname, value)
			      : complain(ret_message, "fsname=%s: a name is missing", value);
	case KIND_SUBTYPE:
		if (!*value || strchr(value, '.') || strchr(value, '/'))
			return complain(ret_message, "subtype=%s: a word without . and /", value);
		return set_text(&options->subtype, value);
	default:
		return 0;
	}
}

static int take(struct fs_options *options, const char *text, char **ret_message)
{
	const char *value;
	const struct option *option = find(text, &value);

	if (!option)
		return complain(ret_message, "unknown mount option \"%s\"", text);
	switch (option->kind) {
	case KIND_FLAG_SET:
	case KIND_FLAG_CLEAR:
		set_flag(options, option->value, option->kind == KIND_FLAG_SET);
		return 0;
	case KIND_ACCESS:
		options->access = (enum fs_access)option->value;
		return 0;
	case KIND_ALLOW:
		options->allow = (enum fs_allow)option->value;
		return 0;
	case KIND_URING:
		options->uring = true;
		return 0;
	case KIND_REMOUNT:
		options->remount = true;
		return 0;
	default:
		return take_value(options, option, value, ret_message);
	}
}

/* The next option of *@list into @word, with "\x" made "x"; false at the end. */
static bool next_word(const char **list, char *word)
{
	const char *at = *list;

	if (!*at)
		return false;
	for (; *at && *at != ','; at++) {
		if (*at == '\\' && at[1])
			at++;
		*word++ = *at;
	}
	*word = '\0';
	*list = *at ? at + 1 : at;
	return true;
}

int fs_options_parse(struct fs_options *options, const char *list, char **ret_message)
{
	cleanup_free char *word = malloc(strlen(list) + 1);

	*ret_message = NULL;
	if (!word)
		return -ENOMEM;
	while (next_word(&list, word)) {
		int r = *word ? take(options, word, ret_message) : 0;

		if (r < 0)
			return r;
	}
	return 0;
}

int fs_options_describe(unsigned index, const char **ret_name, const char **ret_help)
{
	for (size_t i = 0; i < ARRAY_SIZE(table); i++) {
		if (!table[i].help || index-- > 0)
			continue;
		*ret_name = table[i].name;
		*ret_help = table[i].help;
		return 0;
	}
	return -ENOENT;
}
