/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * XXH3 as this machine does it fastest: the library's own code, which is built for any CPU, or
 * the same compiled for AVX2 (about 2.5 times as fast). Inside hash/ only.
 */
#include <stddef.h>
#include <stdint.h>
#define XXH_STATIC_LINKING_ONLY /* the state's size, so that it can be part of ours */
#include <xxhash.h>

struct xxh128 {
	uint64_t low, high;
};

struct xxh {
	uint64_t (*hash64)(const void *bytes, size_t length);
	struct xxh128 (*hash128)(const void *bytes, size_t length);
	/* @state: a XXH3_state_t; XXH3_INITSTATE() before the first reset. */
	void (*reset64)(void *state);
	void (*update64)(void *state, const void *bytes, size_t length);
	uint64_t (*final64)(const void *state);
	void (*reset128)(void *state);
	void (*update128)(void *state, const void *bytes, size_t length);
	struct xxh128 (*final128)(const void *state);
};

/* Never NULL. Cheap. */
const struct xxh *xxh_best(void);

const struct xxh *xxh_plain(void);
const struct xxh *xxh_avx2(void); /* NULL: not on this machine */
