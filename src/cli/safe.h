/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * Safe: may this card be formatted? The parts of `mediafs safe`, in the order in which they run;
 * each adds what it finds wrong, and marks the files with what they passed. A card is safe when
 * nothing was found and every file passed everything: a check that did not run cannot be forgotten.
 */
#include <stdarg.h>

#include "card/card.h"
#include "cli/cli.h"
#include "cli/source.h"
#include "cli/target.h"
#include "manifest/expected.h"
#include "util/thread.h"

enum safe_reason {
	SAFE_UNCHECKED,    /* no volume, no daemon, interrupted: it was not checked to its end */
	SAFE_EMPTY,        /* nothing to check */
	SAFE_HOLDS_COPIES, /* the card is, or holds, a place for copies */
	SAFE_UNREADABLE,   /* on the card */
	SAFE_NOT_A_FILE,   /* link or device on the card */
	SAFE_CARD_CHANGED, /* while it was checked */
	SAFE_NEVER,        /* not one file of the card is in the volume */
	SAFE_MISSING,      /* not in the volume */
	SAFE_DIFFERENT,    /* the volume has other bytes under its name */
	SAFE_UNVERIFIED,   /* not read back yet */
	SAFE_DAMAGED,      /* in the store */
	SAFE_STORE,        /* cannot be read in the store */
	SAFE_VOLUME_CHANGED,
	SAFE_COPY_DAMAGED,
	SAFE_COPY_MISSING,
	SAFE_COPY_UNREACHABLE,
	SAFE_COPY_UNSETTLED,
	SAFE_POLICY,     /* fewer copies than mediafs.conf wants */
	SAFE_MANIFEST,   /* the card is not what its own manifest says */
	SAFE_CUT_OFF,    /* shorter than it says, and no card to compare it with */
	SAFE_UNFINISHED, /* `mediafs offload` has more to bring, and no card to ask */
	SAFE_REASONS
};

struct safe_finding {
	enum safe_reason reason;
	char *path;   /* owned; "" when it is about no file */
	char *detail; /* owned; "" nothing */
};

enum safe_passed {
	PASSED_READ = 1 << 0,    /* its digest is known */
	PASSED_FOUND = 1 << 1,   /* the volume has it, verified */
	PASSED_STORE = 1 << 2,   /* what is here of it was read without a mistake */
	PASSED_COPIES = 1 << 3,  /* the policy is met */
	PASSED_STILL = 1 << 4,   /* nothing of this has changed at the end */
	PASSED_ON_CARD = 1 << 5, /* the same on the card */
	PASSED_ALL = (1 << 6) - 1,
};

struct safe_file {
	const char *path;                 /* borrowed; relative to the card or folder */
	const struct source_entry *entry; /* borrowed; NULL without a card */
	uint64_t size;
	struct digest digest;
	unsigned passed; /* enum safe_passed */

	/* In the volume: */
	char *at; /* owned; the path of what has its bytes, or only its name; NULL */
	uint64_t id, generation;
};

#define SAFE_PLACES_MAX 24

struct safe_place {
	char name[64]; /* of the tier, or "store" */
	bool offsite;
	uint64_t files; /* that have a good copy there */
};

#define SAFE_DISKS_MAX 64

struct safe_disks {
	dev_t first, second;
	bool same;
};

struct safe {
	struct cli *cli;
	struct target target;
	struct client *client; /* owned */

	char *name;           /* owned; as a person calls what is judged */
	struct source source; /* the card; nothing in it without one */
	bool has_card;
	struct source_identity identity;
	struct card_rules *rules; /* owned */
	struct safe_file *files;  /* owned */
	char **paths;             /* owned strings; what files' paths are without a card */
	size_t count;
	uint64_t bytes, litter_files, litter_bytes;
	const char *litter; /* the first of them, borrowed */
	char *folder;       /* owned; in the volume: given, or where most of it is; NULL */
	bool is_folder_given;
	struct expected *expected; /* owned; what the card's manifests say; NULL without a card */
	uint64_t manifests;        /* of the card, that were compared */
	uint64_t cached_files;     /* read from memory, since the medium could not be reached */

	int64_t want_copies, want_offsite;
	bool want_distinct;

	int64_t start_ns; /* of the part that runs */
	_Atomic uint64_t done_files, done_bytes;

	struct mutex lock;             /* rank 12; guards the rest while threads run */
	struct safe_finding *findings; /* owned */
	size_t finding_count;
	bool is_out_of_memory;
	uint64_t cut_off; /* files that are shorter than they say, on the card too */
	uint64_t spare;   /* copies that are bad, of files that have enough others */
	struct safe_place places[SAFE_PLACES_MAX];
	size_t place_count;
	struct safe_disks disks[SAFE_DISKS_MAX]; /* pairs that were compared */
	size_t disk_count;
};

void safe_fini(struct safe *safe);

/* Note what is wrong. Never fails: without memory the verdict is not safe either. */
void safe_add(struct safe *safe, enum safe_reason reason, const char *path, const char *detail, ...)
	__attribute__((format(printf, 4, 5)));

/* The verdict as it stands. */
bool safe_is_safe(const struct safe *safe);

/* All was checked, whatever came of it. */
bool safe_was_checked(const struct safe *safe);

/* safe_card.c ------------------------------------------------------------------------- */

/* List the card @path. What is wrong with it as a whole is a finding. */
void safe_list_card(struct safe *safe, const char *path);

/* What the manifests that lie on it say of its files. */
void safe_read_manifests(struct safe *safe);

/* Read every file of it, once, and compare it with that. */
void safe_read_card(struct safe *safe);

/* Look at it again: is it still what was read? */
void safe_look_again(struct safe *safe);

/* safe_offload.c ---------------------------------------------------------------------- */

/* The daemon's answer, or NULL with a finding: nothing more can be asked. @request: taken. */
json_t *safe_ask(struct safe *safe, struct client *client, json_t *request, client_line_fn fn,
		 void *arg);

/* The policy, of the running volume. */
void safe_ask_policy(struct safe *safe);

/* The path of the offload that --offload names, by path, number or reel. 0, or the exit code. */
int safe_find_offload(struct safe *safe, const char *given);

/* safe_find.c ------------------------------------------------------------------------- */

/* Without a card: the files of the folder. */
void safe_list_folder(struct safe *safe);

/* Which files of the volume have the bytes of the card's. */
void safe_find_files(struct safe *safe);

/* Are they still the same files, verified? */
void safe_ask_again(struct safe *safe);

/* safe_copies.c ----------------------------------------------------------------------- */

/* What is here of them is read, and the tiers are asked. */
void safe_check_copies(struct safe *safe);

/* safe_say.c -------------------------------------------------------------------------- */

/* The verdict into the volume's log, then to the person; the exit code. */
int safe_say(struct safe *safe);
