/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * Generation: the manifests that one run writes into the histories of a tree, and how they get
 * onto the disk. A manifest comes before the chain that names it; a new history appears as a
 * whole. So a crash leaves what was valid before, and at most something that no chain names.
 */
#include "manifest/verdict.h"

struct generation {
	char *name;     /* owned by who made it: of the folder at the top */
	int64_t now_ns; /* when the run began: the same for all */
	enum list_process process;
	struct list_creator creator; /* borrowed strings */
	unsigned formats;            /* of folders */
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

/* Write @list and its name into a chain or collection @chain_name in the folder @fd. */
int generation_add(int fd, const char *chain_name, struct chain *chain, const char *name,
		   const struct list *list, uint8_t *ret_c4);
