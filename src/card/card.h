/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * Card: what a list of names and sizes is when it is a camera's or a recorder's card. Pure: it is
 * given the list, and reads nothing. A marker (a folder, a file) decides the family; the clips'
 * names only give the reel.
 */
#include <stddef.h>
#include <stdint.h>

#include "card/rules.h"

struct card_entry {
	const char *path; /* relative to the card; folders end with '/' */
	uint64_t size;    /* bytes; 0 for folders */
};

enum card_warning_kind {
	CARD_ZERO_BYTES,      /* a file of a clip is empty */
	CARD_MISSING_SEGMENT, /* of a clip */
	CARD_MISSING_FRAMES,
	CARD_MISSING_SIDECAR, /* a clip lacks a file it cannot do without */
	CARD_MISSING_MEDIA,   /* a clip has such files, and neither picture nor sound */
	CARD_TWO_REELS,
	CARD_WARNING_COUNT
};

struct card_warning {
	enum card_warning_kind kind;
	char *text; /* owned; names the clip or file */
};

struct card_clip {
	char *name, *in; /* owned; in: tells two of one name apart, mostly "" */
	char *reel;      /* owned; where the card has several, and the name tells; else NULL */
	const struct card_family *family; /* borrowed from the rules */
	uint64_t files, media, bytes;     /* media: how many of the files */
	uint64_t segments, frames;        /* 0: files are not counted that way */
};

/* From where the reel's name is. */
enum card_reel_source { REEL_NONE, REEL_FROM_FOLDER, REEL_FROM_CLIPS, REEL_FROM_NAME };

/* Where an entry belongs. */
struct card_place {
	uint32_t clip; /* index, or CARD_NO_CLIP */
	bool media;    /* picture or sound of that clip */
};
#define CARD_NO_CLIP UINT32_MAX

struct card {
	const struct card_family **families; /* owned array; several on a mixed card */
	size_t family_count;
	char **reels; /* owned, sorted; more than one is a warning, too */
	size_t reel_count;
	enum card_reel_source reel_source;
	char camera[8];          /* letter, "" unknown */
	struct card_clip *clips; /* owned, by name */
	size_t clip_count;
	struct card_place *places;     /* owned; one for each entry, in the order they were given */
	struct card_warning *warnings; /* owned */
	size_t warning_count;
	uint64_t warnings_more;           /* that many more were left off */
	uint64_t files, bytes;            /* all but junk */
	uint64_t other_files, junk_files; /* other: of no clip, and unknown to the rules */
};

#define CARD_WARNINGS_MAX 200 /* of one kind */

/*
 * What @entries are. @name: the card's own (its volume's label, its folder), "" when it has none;
 * also helps when the folder is not the card but the one folder that is on it (A001R2EC, X.RDM).
 * 1 a card (card_free()), 0 none, -ENOMEM. @rules must outlive the card. Some hundred thousand
 * entries take less than a second.
 */
int card_look(const struct card_rules *rules, const char *name, const struct card_entry *entries,
	      size_t count, struct card **ret_card);
void card_free(struct card *card);
DEFINE_CLEANUP(struct card *, card_free)

/* True when somebody gave a card that name, false for "", Untitled, DCIM and the like. */
bool card_name_is_given(const struct card_rules *rules, const char *name);

/* True when a family of @card knows @path (a folder's with '/' at its end) as a part of such cards.
 */
bool card_knows(const struct card *card, const char *path);

/* True for what computers leave on cards; folders end with '/'. */
bool card_path_is_junk(const struct card_rules *rules, const char *path);

/* "missing-segment"; static. */
const char *card_warning_name(enum card_warning_kind kind);

/* "folder", "clips", "name", NULL for none; static. */
const char *card_reel_source_name(enum card_reel_source source);
