/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * Report: cards and clips as pages and lists. The data are JSON, as the request "report" gives
 * them: an array of cards, each with "clips"; report_conclude() adds to each clip "meta",
 * what mediafs-probe(1) found in its files and what follows from it:
 *
 *   end, duration  timecode behind the last frame; of so many frames
 *   rate           "23.976"
 *   seconds        how long it is
 *
 * Names in it are json_path()s from strangers: only the functions at the end write them.
 */
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

#include "util/json.h"

struct cli;

struct report {
	json_t *cards; /* owned */
	char *site;    /* owned */
	char *path;    /* owned; "" the whole volume */
	int64_t now_ns;
	int64_t tiers;
	json_t *policy; /* owned; {copies, offsite, distinct_devices} */
	char *no_meta;  /* owned; why nobody could look into files; "": somebody did */
};

/* What the files of each clip say, as one "meta". -ENOMEM. */
int report_conclude(struct report *report);

/* The local day of a card, "2026-11-28"; "" when no file says one. Into @buffer. */
const char *report_day(const json_t *card, char buffer[32]);

/* What the catalog knows of a card. None of them is a permission: the card was not looked at. */
enum report_verdict {
	REPORT_INCOMPLETE, /* damaged, not verified, or still arriving */
	REPORT_FEW,       /* fewer copies than mediafs.conf wants of a card that may be formatted */
	REPORT_UNCHECKED, /* nothing is against it that can be seen from here */
	REPORT_VERDICTS
};
extern const char *const report_verdicts[REPORT_VERDICTS]; /* as people read them */

struct reasons {
	char *list[32]; /* owned; texts */
	size_t count;
};
enum report_verdict report_reasons(const struct report *report, const json_t *card,
				   struct reasons *ret_reasons);
void reasons_fini(struct reasons *reasons);

/* Reels whose numbers lie between others and are not there: "A003, A005 to A007"; "" none. Caller
 * frees; NULL without memory. */
char *report_missing_reels(const json_t *cards);

void report_write_html(const struct report *report, FILE *out);
void report_write_csv(const struct report *report, FILE *out);

/*
 * The clips of one rate (as "rate" says it); *ret_left counts those without timecode or length,
 * of all rates.
 */
void report_write_ale(const struct report *report, const char *rate, FILE *out);

/* The rates of clips that an ALE can hold, most of them first; caller frees the array only. */
int report_rates(const struct report *report, const char ***ret_rates, size_t *ret_count,
		 size_t *ret_left);

/* Text out ------------------------------------------------------------------------------- */

/* A string, or a json_path(), as bytes; "" for anything else. Caller frees; NULL without memory. */
char *report_text(const json_t *value);

/* For HTML: escaped; what is no UTF-8 as U+FFFD; what cannot be seen, or turns the direction of
 * others, as its code. */
void report_put_html(FILE *out, const char *text);

/* A field of RFC 4180; what a spreadsheet would take for a formula gets an apostrophe before it. */
void report_put_csv(FILE *out, const char *text);

/* A cell of an ALE: no tabs, no line ends. */
void report_put_ale(FILE *out, const char *text);
