/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* Whole reads and writes, small files, names. Negative errno; EINTR is handled inside. */
#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

/* All @length bytes; -ENODATA when the file ends before. */
int read_at(int fd, void *buffer, size_t length, off_t offset);
int write_at(int fd, const void *buffer, size_t length, off_t offset);

/* All @length bytes to where @fd is (a pipe, a tape), in one write() where it takes them so. */
int write_all(int fd, const void *bytes, size_t length);

/* The whole file, NUL-terminated after @ret_length bytes; caller frees. -EFBIG above @max_bytes. */
int read_file(int dir_fd, const char *name, size_t max_bytes, char **ret_bytes, size_t *ret_length);

/* Replace @name atomically and durably: temporary name beside it, fsync, rename, fsync of the
 * folder. */
int write_file(int dir_fd, const char *name, const void *bytes, size_t length, mode_t mode);

/* fsync the folder @name lies in (relative to @dir_fd). */
int sync_parent(int dir_fd, const char *name);

/* mkdir -p of @path's folders below @dir_fd (not of its last part), mode 0777 & ~umask; new ones
 * durable. */
int make_parents(int dir_fd, const char *path);

/* One file name: 1 to 255 bytes, no '/', not "." or "..". */
bool name_ok(const char *name);

/* A relative path of such names joined by single '/', at most 4095 bytes. "" is not one. */
bool path_ok(const char *path);

/* "@parent/@name", or "@name" when @parent is "". Caller frees; NULL without memory. */
char *path_join(const char *parent, const char *name);

/* Random UUID (version 4) as text. -errno of getrandom(). */
int uuid_make(char ret_uuid[37]);
bool uuid_ok(const char *uuid);

/* fnmatch() without special treatment of leading dots; case is ignored. */
bool glob_matches(const char *glob, const char *text);
