/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * Scoped release: variables that free what they own when they go out of scope.
 * Initialise at declaration (NULL, -1).
 */
#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#define cleanup_with(fn) __attribute__((cleanup(fn)))

/* Define fn##_slot(), which calls @fn on the variable a cleanup attribute hands it. */
#define DEFINE_CLEANUP(type, fn)                                                                   \
	static inline void fn##_slot(type *slot)                                                   \
	{                                                                                          \
		if (*slot)                                                                         \
			fn(*slot);                                                                 \
	}

DEFINE_CLEANUP(void *, free)
DEFINE_CLEANUP(FILE *, fclose)
DEFINE_CLEANUP(DIR *, closedir)

static inline void free_any_slot(void *slot)
{
	free(*(void **)slot);
}

static inline void close_fd_slot(const int *fd)
{
	int saved = errno;

	if (*fd >= 0)
		(void)close(*fd); /* read side only: writers check close() themselves */
	errno = saved;
}

#define cleanup_free cleanup_with(free_any_slot)
#define cleanup_close cleanup_with(close_fd_slot)
#define cleanup_fclose cleanup_with(fclose_slot)
#define cleanup_closedir cleanup_with(closedir_slot)

/* Move a pointer out of a scoped variable: the caller owns it now. */
#define take_ptr(ptr)                                                                              \
	({                                                                                         \
		__typeof__(ptr) taken_ = (ptr);                                                    \
		(ptr) = NULL;                                                                      \
		taken_;                                                                            \
	})

/* Move a descriptor out of a scoped variable. */
#define take_fd(fd)                                                                                \
	({                                                                                         \
		int taken_ = (fd);                                                                 \
		(fd) = -1;                                                                         \
		taken_;                                                                            \
	})

#define ARRAY_SIZE(array) (sizeof(array) / sizeof((array)[0]))
