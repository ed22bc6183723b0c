/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * What media files say of themselves (mediafs-probe(1)), by content: kept so that it is known when
 * the bytes are here no more. Another look at them would say the same, so nothing is lost with it
 * while they are.
 */
#include "catalog/catalog.h"

/*
 * Keep @text, a JSON object, of @content; what was kept before is replaced. @version:
 * MEDIAFS_PROBE_VERSION of who looked. Queued. -ENOMEM.
 */
int catalog_put_said(struct catalog *catalog, uint64_t content, int64_t version, const char *text);

/* 1 found (caller frees *ret_text), 0 not. */
int catalog_get_said(struct catalog *catalog, uint64_t content, int64_t *ret_version,
		     char **ret_text);
