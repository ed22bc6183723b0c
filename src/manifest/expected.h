/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * Expected: what the manifests that lie in a folder say of its files, for who reads the files
 * anyway. All kinds at once: ASC MHL histories, lists (*.mhl), lists of checksums
 * (manifest/sums.h). Where they tell of one file in several ways, all have to be right.
 */
#include <stdbool.h>
#include <stdint.h>

#include "hash/formats.h"
#include "util/cleanup.h"

struct expected;

/* Called for a manifest that cannot be used, and why; for a file that is listed and missing. */
typedef void (*expected_fn)(void *arg, const char *path, const char *what);

/* None yet. NULL without memory. */
struct expected *expected_new(void);
void expected_free(struct expected *expected);
DEFINE_CLEANUP(struct expected *, expected_free)

/*
 * Read @path (relative to the folder @root_fd; @folder: it is one) if its name is a manifest's.
 * What is wrong with it is told to @problem and no failure. -ENOMEM.
 */
int expected_add(struct expected *expected, int root_fd, const char *path, bool folder,
		 expected_fn problem, void *arg);

/* How many manifests were read. */
size_t expected_count(const struct expected *expected);

/* HASH_BIT()s of what is said of the file @path; 0: nothing. */
unsigned expected_formats(const struct expected *expected, const char *path);

/*
 * Are these the values of @path? @values: of expected_formats(). @size: its bytes. 1 they are, or
 * nothing is said; 0 with *ret_why for a person (owned by the caller); -ENOMEM.
 */
int expected_check(const struct expected *expected, const char *path, uint64_t size,
		   uint8_t values[HASH_FORMATS][HASH_MAX_BYTES], char **ret_why);

/* Tell of each file that is listed and is not in the folder @root_fd. -ENOMEM. */
int expected_missing(const struct expected *expected, int root_fd, expected_fn fn, void *arg);
