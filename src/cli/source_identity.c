/* SPDX-License-Identifier: Apache-2.0 */
#include <ctype.h>
#include <dirent.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <linux/stat.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/sysmacros.h>

#include "cli/source.h"
#include "util/cleanup.h"
#include "util/io.h"

#define SECTOR_BYTES 512 /* of /sys/dev/block/.../size, whatever the device has */

#ifndef STATX_ATTR_MOUNT_ROOT
#define STATX_ATTR_MOUNT_ROOT 0x2000 /* Linux 5.8 */
#endif

/* struct fsuuid2 and FS_IOC_GETFSUUID of linux/fs.h, Linux 6.9; Debian's headers may be older. */
struct uuid_answer {
	uint8_t length;
	uint8_t bytes[16];
};
#define GET_UUID _IOR(0x15, 0, struct uuid_answer)

static bool is_mount_root(int fd)
{
	struct statx st;

	return statx(fd, "", AT_EMPTY_PATH, STATX_TYPE, &st) == 0 &&
	       (st.stx_attributes & STATX_ATTR_MOUNT_ROOT);
}

/* Names of links have "\x20" for what a file name cannot show. Source: systemd's udev. */
static void unescape(char *text)
{
	char *to = text;

	for (const char *at = text; *at; to++) {
		char hex[3] = { 0 };

		if (at[0] == '\\' && at[1] == 'x' && isxdigit((unsigned char)at[2]) &&
		    isxdigit((unsigned char)at[3])) {
			memcpy(hex, at + 2, 2);
			*to = (char)strtoul(hex, NULL, 16);
			at += 4;
		} else {
			*to = *at++;
		}
	}
	*to = '\0';
}

/* The name under which udev has a link to @device in @folder, "" none. */
static void find_link(const char *folder, dev_t device, char *ret_name, size_t size)
{
	cleanup_closedir DIR *dir = opendir(folder);
	const struct dirent *entry;
	struct stat st;

	while (dir && (entry = readdir(dir))) {
		if (fstatat(dirfd(dir), entry->d_name, &st, 0) < 0 || !S_ISBLK(st.st_mode) ||
		    st.st_rdev != device)
			continue;
		(void)snprintf(ret_name, size, "%s", entry->d_name);
		unescape(ret_name);
		return;
	}
}

/* What the mounted file system itself says: not each can. */
static void ask_label(int fd, char *ret_label, size_t size)
{
	char label[FSLABEL_MAX] = "";

	if (ioctl(fd, FS_IOC_GETFSLABEL, label) == 0)
		(void)snprintf(ret_label, size, "%.*s", FSLABEL_MAX - 1, label);
}

static void ask_uuid(int fd, char *ret_uuid, size_t size)
{
	struct uuid_answer answer = { 0 };
	const uint8_t *b = answer.bytes;

	if (ioctl(fd, GET_UUID, &answer) < 0)
		return;
	if (answer.length == 16)
		(void)snprintf(ret_uuid, size,
			       "%02x%02x%02x%02x-%02x%02x-%02x%02x-%02x%02x-"
			       "%02x%02x%02x%02x%02x%02x",
			       b[0], b[1], b[2], b[3], b[4], b[5], b[6], b[7], b[8], b[9], b[10],
			       b[11], b[12], b[13], b[14], b[15]);
	else if (answer.length == 4) /* of FAT and exFAT, lowest byte first */
		(void)snprintf(ret_uuid, size, "%02X%02X-%02X%02X", b[3], b[2], b[1], b[0]);
}

static uint64_t size_of(const struct source *source)
{
	cleanup_free char *text = NULL;
	struct statvfs fs;
	char path[64];
	size_t length;

	(void)snprintf(path, sizeof(path), "/sys/dev/block/%u:%u/size", major(source->device),
		       minor(source->device));
	if (read_file(AT_FDCWD, path, 64, &text, &length) == 0)
		return strtoull(text, NULL, 10) * SECTOR_BYTES;
	return fstatvfs(source->fd, &fs) == 0 ? (uint64_t)fs.f_blocks * fs.f_frsize : 0;
}

void source_identify(const struct source *source, struct source_identity *ret_identity)
{
	struct source_identity *it = ret_identity;

	*it = (struct source_identity){ .is_whole = is_mount_root(source->fd),
					.device_bytes = size_of(source) };
	find_link("/dev/disk/by-label", source->device, it->label, sizeof(it->label));
	find_link("/dev/disk/by-uuid", source->device, it->uuid, sizeof(it->uuid));
	if (!*it->label)
		ask_label(source->fd, it->label, sizeof(it->label));
	if (!*it->uuid)
		ask_uuid(source->fd, it->uuid, sizeof(it->uuid));
}
