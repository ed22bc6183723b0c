/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * Sums: lists of checksums as md5sum, sha1sum and xxhsum write them, and files that hold the value
 * of one other file. No I/O.
 */
#include "manifest/list.h"

#define SUMS_MAX_BYTES (64u << 20)

/* The format that the ending of the file @name tells: "x.md5" is one. False: it is no such file. */
bool sums_format(const char *name, enum hash_format *ret_format);

/*
 * Read the file @name of @length bytes. -EPROTO: *ret_why (static) says what is wrong in *ret_line;
 * -ENOMEM. list_fini() by the caller in any case.
 */
int sums_read(const char *name, const char *bytes, size_t length, struct list *ret_list,
	      const char **ret_why, unsigned long *ret_line);
