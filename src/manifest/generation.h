/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * Generation: the manifests that one run writes into the histories of a tree, and how they get
 * onto the disk. A manifest comes before the chain that names it; a new history appears as a
 * whole. So a crash leaves what was valid before, and at most something that no chain names.
 */
#include "manifest/files.h"
#include "manifest/verdict.h"

struct generation {
	char *name;     /* owned by who made it: of the folder at the top */
	int64_t now_ns; /* when the run began: the same for all */
	enum list_process process;
	struct list_creator creator; /* borrowed strings */
	unsigned formats;            /* of folders */
	struct manifest_files files; /* how it gets onto the disk */
	const char *unasked;         /* as of manifest_create() */
};

/* What the folder @path is called. Caller frees; NULL without memory, or when it is gone. */
char *generation_folder(const char *path);

/* @name as part of a file's name: all of it, or as many whole characters as leave room. */
int generation_name_length(const char *name);

/*
 * Write the next generation of every history of @tree, whose nodes carry what is to be said.
 * Negative errno: what was written until then is valid.
 */
int generation_write(const struct generation *generation, struct tree *tree,
		     struct verdict *verdict);

/* Where a list goes: @folder of @files, into the chain or collection called @chain_name there. */
struct generation_place {
	const struct manifest_files *files;
	const char *folder, *chain_name;
};

/* Write @list as the file @name, and its name into the chain. */
int generation_add(const struct generation_place *place, struct chain *chain, const char *name,
		   const struct list *list, uint8_t *ret_c4);
