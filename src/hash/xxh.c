/* SPDX-License-Identifier: Apache-2.0 */
#include "hash/xxh.h"

#include "hash/xxh_table.h"

const struct xxh *xxh_plain(void)
{
	return &table;
}

const struct xxh *xxh_best(void)
{
	const struct xxh *fast = xxh_avx2();

	return fast ? fast : &table;
}
