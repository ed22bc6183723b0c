/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * Verdict: what a check of files against manifests came to, each finding by name; and the three
 * things that are done with manifests: verify, create, flatten.
 */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "manifest/files.h"
#include "manifest/history.h"
#include "manifest/tree.h"

enum finding_kind {
	FINDING_DAMAGED,    /* other bytes than recorded */
	FINDING_SIZE,       /* another size than recorded (legacy lists) */
	FINDING_FOLDER,     /* a folder's own hash is another */
	FINDING_MISSING,    /* recorded and not there, or no regular file any more */
	FINDING_NEW,        /* there and not recorded */
	FINDING_UNREADABLE, /* could not be read: says nothing about its bytes */
	FINDING_HISTORY,    /* a history further down, which is referred to, is gone */
	FINDING_RENAMED,    /* has another name than before; @detail is the old one */
	FINDING_ODD,        /* symbolic link or special file: in no manifest */
	FINDING_NAME,       /* XML cannot carry the name: nothing was written */
	FINDING_NOTE,       /* @detail says it; changes nothing */
};

struct finding {
	enum finding_kind kind;
	char *path;   /* owned */
	char *detail; /* owned; NULL */
	/* Of damage: which hash was looked at; owned, NULL otherwise. */
	const char *format;
	char *recorded, *actual;
};

struct verdict {
	enum verdict_class class;
	char *why; /* owned; of a class that is about the history itself; else NULL */
	struct finding *findings; /* owned */
	size_t count;
	uint64_t files, bytes; /* that were hashed */
	uint64_t cached_files; /* of them read from memory, since the medium could not be reached */
	char **written;        /* owned strings: files made */
	size_t written_count;
};

void verdict_fini(struct verdict *verdict);

/* The name of the kind, for JSON and people. Static. */
const char *finding_name(enum finding_kind kind);
const char *verdict_name(enum verdict_class class);

/* -ENOMEM. @detail (NULL: none) is a printf format. */
int verdict_add(struct verdict *verdict, enum finding_kind kind, const char *path,
		const char *detail, ...) __attribute__((format(printf, 4, 5)));

/* As FINDING_DAMAGED or FINDING_FOLDER, with both values. */
int verdict_add_hash(struct verdict *verdict, enum finding_kind kind, const char *path,
		     const struct list_hash *recorded, const struct list_hash *actual);

/* Note that the file @name was made. -ENOMEM. */
int verdict_wrote(struct verdict *verdict, const char *folder, const char *name);

/* The class that the findings make, as the reference orders them. */
enum verdict_class verdict_judge(const struct verdict *verdict);

/* Parts of verify that create needs too: the findings about @tree against its histories. */
int verdict_missing(struct verdict *verdict, const struct tree *tree);
int verdict_unreadable(struct verdict *verdict, const struct tree *tree);
int verdict_odd(struct verdict *verdict, const struct tree *tree);
int verdict_histories(struct verdict *verdict, const struct tree *tree);

/*
 * Load the tree of @path, which has to have a history; the references in its manifests are checked
 * too. What is wrong with that is the verdict, with verdict->class. -ENOMEM.
 */
int manifest_load(const char *path, const struct tree_options *options, struct tree *tree,
		  struct verdict *verdict);

struct manifest_watch {
	tree_tick tick; /* NULL: none */
	void *arg;
};

/*
 * All functions below: 0 with @ret_verdict, which also tells what is wrong with the files or
 * with the manifests; negative errno for what has nothing to do with them (-ENOMEM, -ECANCELED).
 * verdict_fini() by the caller in any case.
 */

/* The folder @path, by the history in it, those below included. Nothing is written. */
int manifest_verify(const char *path, const struct manifest_watch *watch,
		    struct verdict *ret_verdict);

/*
 * The one list @file, of either kind. @root: the folder that its paths are relative to; NULL: the
 * one it lies in, of a manifest in an `ascmhl` folder the one above that.
 */
int manifest_verify_list(const char *file, const char *root, const struct manifest_watch *watch,
			 struct verdict *ret_verdict);

/* What a legacy list can carry of what is computed today. */
#define MANIFEST_LEGACY_FORMATS (HASH_BIT(HASH_MD5) | HASH_BIT(HASH_SHA1) | HASH_BIT(HASH_XXH64))

struct manifest_create {
	const char *path;
	unsigned formats; /* HASH_BIT()s; of a legacy list: MD5, SHA1, XXH64 */
	bool asc, legacy;
	enum list_process process;
	struct list_creator creator;
	char *const *ignore;
	size_t ignore_count;

	/*
	 * For who makes manifests unasked: the comment that tells them from others (it takes the
	 * place of creator.comment). Then a generation is only written when the newest is not one
	 * of these, or does not tell of each file as it is; a legacy list only when none does; and
	 * one of these that no chain names, of a run that was interrupted, is removed. NULL:
	 * always.
	 */
	const char *unasked;
	tree_known known;            /* see tree.h; NULL */
	void *arg;                   /* of @known */
	struct manifest_files files; /* without functions: directly */
};

/*
 * Hash the folder and write the next generation of its history (and of those below), or the first;
 * and a legacy list where that is asked for. Durable when it returns; a crash leaves what was
 * valid before. Nothing is written when a file cannot be read or named.
 */
int manifest_create(const struct manifest_create *create, const struct manifest_watch *watch,
		    struct verdict *ret_verdict);

/*
 * Write a packing list of all that the histories of the folder @path record into a new collection
 * in the folder @to. No media is read.
 */
int manifest_flatten(const char *path, const char *to, const struct list_creator *creator,
		     struct verdict *ret_verdict);
