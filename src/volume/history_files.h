/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * Manifests onto the disk through the volume: they are received, verified, sent and told to other
 * sites as what people write is, and the kernel hears of them.
 */
#include "manifest/files.h"
#include "volume/volume.h"

struct history_files {
	struct volume *volume; /* borrowed */
	const char *top;       /* the offload, relative to the volume's root; borrowed */
	struct caller caller;  /* whose the files are to be */
};

/* @files: borrowed for as long as the result is used. */
struct manifest_files history_files_of(struct history_files *files);
