/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * The history of one offload: whether it can be written now, and what is written. Digests are those
 * of the catalog, made when the files were read back; only a format that nobody asked for then (of
 * a history that came with the card) has the files read. Blocks for as long as that takes.
 */
#include "manifest/verdict.h"
#include "store/settings.h"
#include "volume/internal.h"

struct history_task {
	struct volume *volume;
	uint64_t folder;  /* of the offload */
	const char *path; /* its; relative to the root, not "" */
	enum manifest_kind kind;
	unsigned formats; /* HASH_BIT()s */
	bool seal;        /* the folder, when all is as its manifest says */
	tree_tick tick;   /* not 0: stop (-ECANCELED) */
	void *arg;
};

struct history_result {
	/* Not "": nothing was looked at yet, since this is so; it may pass by itself. */
	char waits[512];
	struct verdict verdict; /* otherwise; nothing written when all was written before */
};

/* 0 with @ret_result (verdict_fini() by the caller), or an error that may pass. */
int history_make(const struct history_task *task, struct history_result *ret_result);

/* What read-back is to compute for manifests besides XXH3-128, as it is set now: HASH_BIT()s. */
unsigned history_formats(struct volume *volume);
