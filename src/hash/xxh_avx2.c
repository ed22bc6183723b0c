/* SPDX-License-Identifier: Apache-2.0 */

/* Compiled for AVX2 (meson.build), with the library's code inside. */
#define XXH_INLINE_ALL
#include "hash/xxh.h"

#include "hash/xxh_table.h"

const struct xxh *xxh_avx2(void)
{
	return __builtin_cpu_supports("avx2") ? &table : NULL;
}
