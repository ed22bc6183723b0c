/* SPDX-License-Identifier: Apache-2.0 */
#include "control/report_policy.h"

#include <string.h>
#include <sys/stat.h>

#include "util/disk.h"

#define FOLDER_SCHEME "file://"

/* NULL: the tier is no folder. */
static const char *folder_of(const struct settings_tier *tier)
{
	size_t scheme = strncmp(tier->url, FOLDER_SCHEME, strlen(FOLDER_SCHEME)) == 0
				? strlen(FOLDER_SCHEME)
				: 0;

	return tier->url[scheme] == '/' ? tier->url + scheme : NULL;
}

/* False: it is not known, for there is none, or it is away. */
static bool find_device(const char *folder, dev_t *ret_device)
{
	struct stat st;

	if (!folder || stat(folder, &st) < 0)
		return false;
	*ret_device = st.st_dev;
	return true;
}

void policy_init(struct policy *policy, const struct settings *settings, uint64_t store)
{
	bool distinct = settings_get(settings, SETTING_SAFE_DISTINCT);
	dev_t devices[POLICY_TIERS_MAX + 1] = { (dev_t)store };
	bool known[POLICY_TIERS_MAX + 1] = { true };

	*policy = (struct policy){ .copies = settings_get(settings, SETTING_SAFE_COPIES),
				   .offsite = settings_get(settings, SETTING_SAFE_OFFSITE) };
	for (size_t i = 0; i < settings_tier_count(settings) && i < POLICY_TIERS_MAX; i++) {
		const struct settings_tier *tier = settings_tier(settings, i);
		const char *folder = folder_of(tier);

		policy->tiers[i].offsite = tier->offsite >= 0 ? tier->offsite : !folder;
		known[i + 1] = find_device(folder, &devices[i + 1]);
		for (size_t j = 0; distinct && j <= i; j++)
			policy->tiers[i].shares[j] =
				known[i + 1] && known[j] && disk_same(devices[i + 1], devices[j]);
		policy->tier_count = i + 1;
	}
}

bool policy_is_met(const struct policy *policy, bool in_store, const bool in_tier[POLICY_TIERS_MAX],
		   struct policy_count *ret_count)
{
	*ret_count = (struct policy_count){ .copies = in_store };
	for (size_t i = 0; i < policy->tier_count; i++) {
		bool repeats = in_store && policy->tiers[i].shares[0];

		for (size_t j = 0; j < i; j++)
			repeats = repeats || (in_tier[j] && policy->tiers[i].shares[j + 1]);
		if (!in_tier[i] || repeats)
			continue;
		ret_count->copies++;
		ret_count->offsite += policy->tiers[i].offsite;
	}
	return ret_count->copies >= policy->copies && ret_count->offsite >= policy->offsite;
}
