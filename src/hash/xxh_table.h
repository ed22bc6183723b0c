/* SPDX-License-Identifier: Apache-2.0 */

/* The functions of struct xxh, in terms of whatever XXH3_*() the including file was given. */

static uint64_t hash64(const void *bytes, size_t length)
{
	return XXH3_64bits(bytes, length);
}

static struct xxh128 hash128(const void *bytes, size_t length)
{
	XXH128_hash_t hash = XXH3_128bits(bytes, length);

	return (struct xxh128){ .low = hash.low64, .high = hash.high64 };
}

/* What the library returns here is an error for NULL, and nothing else. */
static void reset64(void *state)
{
	(void)XXH3_64bits_reset(state);
}

static void update64(void *state, const void *bytes, size_t length)
{
	(void)XXH3_64bits_update(state, bytes, length);
}

static uint64_t final64(const void *state)
{
	return XXH3_64bits_digest(state);
}

static void reset128(void *state)
{
	(void)XXH3_128bits_reset(state);
}

static void update128(void *state, const void *bytes, size_t length)
{
	(void)XXH3_128bits_update(state, bytes, length);
}

static struct xxh128 final128(const void *state)
{
	XXH128_hash_t hash = XXH3_128bits_digest(state);

	return (struct xxh128){ .low = hash.low64, .high = hash.high64 };
}

static const struct xxh table = {
	.hash64 = hash64,
	.hash128 = hash128,
	.reset64 = reset64,
	.update64 = update64,
	.final64 = final64,
	.reset128 = reset128,
	.update128 = update128,
	.final128 = final128,
};
