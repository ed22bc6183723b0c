/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * Width: how many parts of large objects may be on their way to one tier at a time. It follows
 * goodput: a wider one is tried now and then and kept where more bytes a second pass, a narrower
 * one is kept where no fewer do; what the server or the line does not bear halves it. Pure: the
 * time is the caller's (monotonic), so are the locks.
 */
#include <stdbool.h>
#include <stdint.h>

#define S3_WIDTH_FIRST 4u /* where it begins, and what it does not fall below without trouble */
#define S3_WIDTH_LEAST 2u

struct s3_width {
	unsigned now;         /* parts that may be on their way */
	unsigned least, most; /* constant */
	unsigned first;       /* constant */

	/* The window that is open. */
	int64_t start_ns;
	uint64_t bytes;
	int64_t held_ns;
	unsigned looks, wanted;
	bool troubled;

	/* A trial of another width. */
	int step;         /* that it is from the last one that was kept; 0: none goes on */
	unsigned kept;    /* that one */
	double rate;      /* with that one, bytes a second; 0 not known */
	unsigned skip;    /* windows that say nothing yet: connections begin slowly */
	unsigned rest;    /* windows until the next trial */
	unsigned pause;   /* rest after one that brought nothing; doubles */
	bool narrow_next; /* what the next one tries */
};

/* What happened since the last look. */
struct s3_moved {
	uint64_t bytes;  /* of parts, each counted once however often it is sent */
	int64_t held_ns; /* that a rate limit or a pause took of it */
	bool wanted;     /* a part is ready to go, and only the width keeps it */
};

/* @most is at least 1. */
void s3_width_init(struct s3_width *width, unsigned most);

/* Called several times a second while parts are on their way. */
void s3_width_look(struct s3_width *width, int64_t now_ns, const struct s3_moved *moved);

/* The server asked for less, or something broke. Halves once in a window. */
void s3_width_trouble(struct s3_width *width);
