/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * Rules: card families as data, read from files (mediafs-cards(5)). A section is a family; one of
 * the same name in a file that is read later takes its place. Constant once loaded.
 */
#include <stdbool.h>
#include <stddef.h>

#include "card/pattern.h"
#include "util/cleanup.h"

enum card_role {
	/* What says that it is this family. */
	ROLE_MARKER,      /* a folder, with '/' at its end */
	ROLE_MARKER_FILE, /* a file */
	ROLE_MARKER_NAME, /* the card's own name */
	ROLE_LOOSE,       /* three of five files are like that, and no marker says anything */
	/* What the files are. */
	ROLE_MEDIA,    /* picture or sound of a clip */
	ROLE_REQUIRED, /* belongs to a clip, and no clip may lack it */
	ROLE_SIDECAR,  /* belongs to a clip */
	ROLE_KNOWN,    /* belongs to the card, to no clip */
	ROLE_COUNT
};

struct card_rule {
	enum card_role role;
	struct pattern pattern;
};

struct card_family {
	char *name, *title;      /* owned */
	struct card_rule *rules; /* owned, in the order of the file */
	size_t count;
	unsigned roles; /* 1 << enum card_role */
	unsigned line;  /* of its section */
	bool off;
};

struct card_rules {
	struct card_family *families; /* owned */
	size_t count;
	struct pattern *junk; /* owned; paths that systems leave behind */
	size_t junk_count;
	struct pattern *nameless; /* owned; names of cards that nobody gave */
	size_t nameless_count;
	char **errors; /* owned; "FILE: line N: what" of files that were left out */
	size_t error_count;
};

/* Where files are looked for, in this order: what mediafs brings, the machine's. */
#define CARD_RULES_LOCAL "/etc/mediafs/cards.d"

/*
 * All *.conf of the standard folders and of @more (NULL: none; later files win), by name. Folders
 * that do not exist are fine. $MEDIAFS_CARDS is read instead of the folder mediafs was installed
 * with. A file that is wrong is left out whole and named in errors. -ENOMEM.
 */
int card_rules_load(const char *more, struct card_rules **ret_rules);

/*
 * The rules in @text (@length bytes; @file names it in errors) on top of those in @rules. -EINVAL:
 * nothing of it was taken, an error was added; -ENOMEM.
 */
int card_rules_add(struct card_rules *rules, const char *file, const char *text, size_t length);

struct card_rules *card_rules_new(void); /* NULL without memory */
void card_rules_free(struct card_rules *rules);
DEFINE_CLEANUP(struct card_rules *, card_rules_free)
