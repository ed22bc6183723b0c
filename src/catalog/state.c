/* SPDX-License-Identifier: Apache-2.0 */
#include "catalog/state.h"

#define BIT(state) (1u << (state))

/* Damaged is reachable from every state in which bytes can be checked. */
static const unsigned may_go[FILE_STATE_COUNT] = {
	[FILE_RECEIVING] = BIT(FILE_RECEIVED) | BIT(FILE_DAMAGED),
	[FILE_RECEIVED] = BIT(FILE_RECEIVING) | BIT(FILE_VERIFIED) | BIT(FILE_DAMAGED),
	[FILE_VERIFIED] =
		BIT(FILE_RECEIVING) | BIT(FILE_QUEUED) | BIT(FILE_STORED) | BIT(FILE_DAMAGED),
	[FILE_QUEUED] = BIT(FILE_RECEIVING) | BIT(FILE_VERIFIED) | BIT(FILE_UPLOADING) |
			BIT(FILE_STORED) | BIT(FILE_DAMAGED),
	[FILE_UPLOADING] = BIT(FILE_RECEIVING) | BIT(FILE_VERIFIED) | BIT(FILE_QUEUED) |
			   BIT(FILE_STORED) | BIT(FILE_DAMAGED),
	[FILE_STORED] = BIT(FILE_RECEIVING) | BIT(FILE_VERIFIED) | BIT(FILE_QUEUED) |
			BIT(FILE_EVICTED) | BIT(FILE_DAMAGED),
	[FILE_EVICTED] =
		BIT(FILE_RECEIVING) | BIT(FILE_HYDRATING) | BIT(FILE_STORED) | BIT(FILE_DAMAGED),
	[FILE_HYDRATING] =
		BIT(FILE_RECEIVING) | BIT(FILE_EVICTED) | BIT(FILE_STORED) | BIT(FILE_DAMAGED),
	/* Repaired from a good copy, or written again by a person. */
	[FILE_DAMAGED] =
		BIT(FILE_RECEIVING) | BIT(FILE_VERIFIED) | BIT(FILE_STORED) | BIT(FILE_EVICTED),
	[FILE_ANNOUNCED] = BIT(FILE_RECEIVING) | BIT(FILE_EVICTED),
};

static const char *const names[FILE_STATE_COUNT] = {
	[FILE_RECEIVING] = "receiving", [FILE_RECEIVED] = "received",
	[FILE_VERIFIED] = "verified",   [FILE_QUEUED] = "queued",
	[FILE_UPLOADING] = "uploading", [FILE_STORED] = "stored",
	[FILE_EVICTED] = "evicted",     [FILE_HYDRATING] = "hydrating",
	[FILE_DAMAGED] = "damaged",     [FILE_ANNOUNCED] = "announced",
};

const char *file_state_name(enum file_state state)
{
	if ((int)state <= 0 || (int)state >= FILE_STATE_COUNT)
		return "unknown";
	return names[state];
}

bool file_state_may(enum file_state from, enum file_state to)
{
	if ((int)from <= 0 || (int)from >= FILE_STATE_COUNT || (int)to <= 0 ||
	    (int)to >= FILE_STATE_COUNT)
		return false;
	return from == to || (may_go[from] & BIT(to)) != 0;
}

bool file_state_is_verified(enum file_state state)
{
	return state >= FILE_VERIFIED && state <= FILE_HYDRATING;
}

bool file_state_is_stored(enum file_state state)
{
	return state >= FILE_STORED && state <= FILE_HYDRATING;
}
