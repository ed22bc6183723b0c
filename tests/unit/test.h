/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * Unit tests: TEST(name) { check(...); } registers itself; main() runs all and prints
 * what failed. A name is the rule it states. An argument runs only tests containing it.
 */
#include <inttypes.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

typedef void (*test_fn)(void);
void test_register(const char *name, test_fn fn);
void test_fail(const char *file, int line, const char *format, ...)
	__attribute__((format(printf, 3, 4)));

#define TEST(name)                                                                                 \
	static void test_##name(void);                                                             \
	__attribute__((constructor)) static void register_##name(void)                             \
	{                                                                                          \
		test_register(#name, test_##name);                                                 \
	}                                                                                          \
	static void test_##name(void)

/* A failed check ends the test at once. */
#define check(condition)                                                                           \
	do {                                                                                       \
		if (!(condition))                                                                  \
			test_fail(__FILE__, __LINE__, "%s", #condition);                           \
	} while (0)
#define check_int(actual, expected)                                                                \
	do {                                                                                       \
		int64_t actual_ = (int64_t)(actual), expected_ = (int64_t)(expected);              \
		if (actual_ != expected_)                                                          \
			test_fail(__FILE__, __LINE__, "%s is %" PRId64 ", not %" PRId64, #actual,  \
				  actual_, expected_);                                             \
	} while (0)
#define check_str(actual, expected)                                                                \
	do {                                                                                       \
		const char *actual_ = (actual), *expected_ = (expected);                           \
		if (!actual_ || strcmp(actual_, expected_) != 0)                                   \
			test_fail(__FILE__, __LINE__, "%s is \"%s\", not \"%s\"", #actual,         \
				  actual_ ? actual_ : "(null)", expected_);                        \
	} while (0)

/* A private folder, removed with all in it by scratch_free(). */
struct scratch {
	char *path;
};
struct scratch *scratch_new(void);
void scratch_free(struct scratch *scratch);
static inline void scratch_free_slot(struct scratch **slot)
{
	scratch_free(*slot);
}
/* "PATH/name", in one of eight static buffers. */
const char *scratch_file(const struct scratch *scratch, const char *name);
