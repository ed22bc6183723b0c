/* SPDX-License-Identifier: Apache-2.0 */
#include "catalog/state.h"

#include "test.h"

TEST(nothing_is_stored_that_was_not_verified)
{
	for (int from = 1; from < FILE_STATE_COUNT; from++) {
		if (from == FILE_DAMAGED || file_state_is_verified(from))
			continue;
		check(!file_state_may(from, FILE_STORED));
		check(!file_state_may(from, FILE_UPLOADING));
		check(!file_state_may(from, FILE_QUEUED));
	}
}

TEST(damaged_is_reached_from_every_state_with_bytes)
{
	for (int from = 1; from < FILE_ANNOUNCED; from++)
		check(file_state_may(from, FILE_DAMAGED));
}

TEST(damaged_is_never_sent)
{
	check(!file_state_may(FILE_DAMAGED, FILE_QUEUED));
	check(!file_state_may(FILE_DAMAGED, FILE_UPLOADING));
}

TEST(only_what_is_stored_is_evicted)
{
	for (int from = 1; from < FILE_STATE_COUNT; from++) {
		if (from == FILE_STORED || from == FILE_HYDRATING || from == FILE_EVICTED ||
		    from == FILE_DAMAGED || from == FILE_ANNOUNCED)
			continue;
		check(!file_state_may(from, FILE_EVICTED));
	}
}

TEST(numbers_that_are_no_state_may_do_nothing)
{
	check(!file_state_may(0, FILE_STORED));
	check(!file_state_may(99, FILE_STORED));
	check_str(file_state_name(99), "unknown");
	check_str(file_state_name(FILE_EVICTED), "evicted");
}
