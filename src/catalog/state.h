/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * Life of a generation: one version of a file's bytes.
 * The legal steps are one table in state.c; DESIGN section 2 has the words.
 */
#include <stdbool.h>

/* Stored in the catalog by number: never renumber. */
enum file_state {
	FILE_RECEIVING = 1, /* open for writing, or written and not yet closed */
	FILE_RECEIVED = 2,  /* closed; not yet read back */
	FILE_VERIFIED = 3,  /* read back from the medium and equal */
	FILE_QUEUED = 4,    /* verified and waiting for a tier */
	FILE_UPLOADING = 5, /* verified and on its way */
	FILE_STORED = 6,    /* the tier confirmed a checksum over the same bytes */
	FILE_EVICTED = 7,   /* stored; some blocks are not here */
	FILE_HYDRATING = 8, /* evicted; blocks are coming back */
	FILE_DAMAGED = 9,   /* bytes were checked and did not match, or were lost */
	FILE_ANNOUNCED = 10 /* another site has it, no tier has it yet */
};

#define FILE_STATE_COUNT 11

/* "receiving", ...; "unknown" for a number that is none. Static. */
const char *file_state_name(enum file_state state);

/* True when a generation may go from @from to @to. A new generation starts at RECEIVING. */
bool file_state_may(enum file_state from, enum file_state to);

/* Verified against the medium and not damaged since: VERIFIED up to HYDRATING. */
bool file_state_is_verified(enum file_state state);

/* A tier confirmed it: STORED, EVICTED, HYDRATING. */
bool file_state_is_stored(enum file_state state);
