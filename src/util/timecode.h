/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * Timecode: frames since midnight, as "hh:mm:ss:ff" or, with frame numbers dropped, "hh:mm:ss;ff".
 * Source: SMPTE ST 12-1: drop-frame leaves out the first two numbers (four at a base of 60) of each
 * minute but every tenth.
 */
#include <stdbool.h>
#include <stdint.h>

#define TIMECODE_SIZE 16 /* of a text, with its end */

/* Numbers a second; a rate of 23.976 counts as 24. */
#define TIMECODE_BASE_MAX 240

struct timecode {
	uint64_t frame; /* since midnight, below 24 hours */
	unsigned base;  /* frames that are counted as a second */
	bool drop;
};

/* The base that goes with @numerator / @denominator frames a second; 0: none does. */
unsigned timecode_base(int64_t numerator, int64_t denominator);

/* -EINVAL: no timecode, or none of @base (a dropped number, frame 30 of 25). */
int timecode_parse(const char *text, unsigned base, struct timecode *ret_timecode);

/* @count frames later, past midnight if need be. */
struct timecode timecode_add(const struct timecode *timecode, uint64_t count);

/* Into @buffer, which is returned. */
char *timecode_format(const struct timecode *timecode, char buffer[TIMECODE_SIZE]);
