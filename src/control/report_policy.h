/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * Policy: has a file as many copies as mediafs.conf wants before a card may be formatted ([safe])?
 * By what the catalog says of them; `mediafs safe` asks the copies themselves, and counts alike.
 */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "store/settings.h"

#define POLICY_TIERS_MAX SETTINGS_TIERS_MAX

struct policy {
	int64_t copies, offsite; /* wanted */
	struct {
		bool offsite;
		/* The same disk as the store's, or as that of an earlier tier. */
		bool shares[POLICY_TIERS_MAX + 1]; /* 0 the store, 1 the first tier */
	} tiers[POLICY_TIERS_MAX];
	size_t tier_count;
};

/* That of @settings for the store whose folder has the device @store (st_dev), in their order. */
void policy_init(struct policy *policy, const struct settings *settings, uint64_t store);

/* A file: whole in the store, or not; the tiers that have a good copy. True: they are enough. */
struct policy_count {
	int64_t copies, offsite; /* that count */
};
bool policy_is_met(const struct policy *policy, bool in_store, const bool in_tier[POLICY_TIERS_MAX],
		   struct policy_count *ret_count);
