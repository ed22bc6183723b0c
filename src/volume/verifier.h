/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * Verifier: read-back of what was received (DESIGN D3). Two threads, one queue of node
 * ids by due time; steps aside for bytes that arrive where the disk is behind (aside.h), keeps to
 * verify_rate.
 */
#include "volume/internal.h"

struct verifier *verifier_new(struct volume *volume);
int verifier_start(
	struct verifier *verifier); /* also queues what the catalog says is RECEIVING/RECEIVED */
void verifier_free(struct verifier *verifier); /* stops and joins */

/* The file was closed, or must be looked at again. Due after a short pause; without memory for it,
 * at the next start. */
void verifier_add(struct verifier *verifier, uint64_t id);

/* Verify now in this thread (verify=close, fsck through the daemon). 0, -EBADMSG, errors. */
int verifier_run(struct verifier *verifier, uint64_t id);

void verifier_get(struct verifier *verifier, uint64_t *ret_backlog, uint64_t *ret_rate);

/* Files wait for their read-back because the disk is behind with what arrives. */
bool verifier_steps_aside(struct verifier *verifier);
