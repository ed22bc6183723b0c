/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* Only for this folder: one look at a card, and its clips while that goes on. */
#include "card/card.h"
#include "util/table.h"

/* Digits from @first to @last that are not there. */
struct look_gap {
	uint64_t first, last;
};

struct look_clip {
	struct look_clip *next, *same_hash;
	struct card_clip clip;
	uint32_t index;     /* in the card, once sorted */
	unsigned required;  /* bits of the rules of ROLE_REQUIRED that it has a file for */
	uint64_t *segments; /* owned */
	uint64_t last_frame;
	struct look_gap *gaps; /* owned; between frames, the first of them */
	size_t gap_count;
	uint64_t frames_missing;
};

/* The file before was this frame of a clip: when the next differs in those digits only, so is
 * it. */
struct look_again {
	struct look_clip *clip; /* NULL: it was none */
	const char *path;       /* borrowed */
	size_t length, start, end;
};

struct look {
	const struct card_rules *rules;
	const char *name;
	size_t prefix; /* bytes of "NAME/" before each path; 0: the folder is the card */
	const struct card_entry **entries; /* owned; sorted, without junk */
	size_t count;
	const struct card_entry *given; /* borrowed; all, as they were given */
	size_t given_count;
	struct look_clip **owners; /* owned; the clip of each that was given, or NULL */
	char *scratch;             /* owned; any path with its prefix */
	struct card *card;
	size_t warned[CARD_WARNING_COUNT]; /* of each kind, up to CARD_WARNINGS_MAX */
	struct look_clip *clips;           /* owned */
	size_t clip_count;
	struct table by_hash;
	struct look_again again;
};

int look_warn(struct look *look, enum card_warning_kind kind, const char *format, ...)
	__attribute__((format(printf, 3, 4)));

/* Parts may come in any order, frames rise. -ENOMEM. */
int look_add_segment(struct look_clip *clip, uint64_t number);
int look_add_frame(struct look_clip *clip, uint64_t number);

/* Look the clips over and hand them to the card, sorted. */
int look_finish_clips(struct look *look);
void look_clip_free(struct look_clip *clip);
