/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * Pattern: a POSIX extended regular expression for a whole path, case ignored, in which groups
 * can have a name: (?<clip>[^/]+). Groups of one name are joined: of
 * (?<reel>A004)C010_261128_(?<reel>R1JL) the reel is A004R1JL. Pure.
 */
#include <regex.h>
#include <stdbool.h>
#include <stddef.h>

enum group {
	GROUP_NONE,
	GROUP_CLIP,    /* what the files of one clip have in common: its name */
	GROUP_IN,      /* what tells clips of one name apart: a folder */
	GROUP_REEL,    /* the card's name */
	GROUP_CAMERA,  /* the camera's letter */
	GROUP_SEGMENT, /* digits: which part of the clip, from 1 */
	GROUP_FRAME,   /* digits: which frame of the clip */
	GROUP_COUNT
};

#define PATTERN_MAX_GROUPS 15
#define PATTERN_MAX_BYTES 1000

struct pattern {
	regex_t regex;
	unsigned char kinds[PATTERN_MAX_GROUPS + 2]; /* enum group, by the regex's own index */
	size_t groups;
	unsigned has; /* 1 << enum group */
};

/* What a pattern found in a path: the last group of a name, and all of them joined. */
struct found {
	regmatch_t spans[PATTERN_MAX_GROUPS + 2];
};

/*
 * -EINVAL with *ret_message (caller frees): what is wrong with @text; -ENOMEM. Beyond what
 * regcomp() refuses: back references, a repetition of a repetition, + and {} after a group, more
 * than 255 times.
 */
int pattern_compile(const char *text, struct pattern *ret_pattern, char **ret_message);
void pattern_fini(struct pattern *pattern);

/* True when all of @path matches; the groups only when @ret_found is not NULL. See pattern_error().
 */
bool pattern_matches(const struct pattern *pattern, const char *path, struct found *ret_found);

/*
 * -ENOMEM: for want of memory a pattern was said not to match in this thread, since this was last
 * asked. Who judges by patterns asks at the end.
 */
int pattern_error(void);

/*
 * What the groups named @group hold, joined, into @buffer of @size bytes, cut to fit. Returns the
 * length, 0 when there are none.
 */
size_t pattern_group(const struct pattern *pattern, const struct found *found, enum group group,
		     const char *path, char *buffer, size_t size);
