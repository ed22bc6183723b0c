/* SPDX-License-Identifier: Apache-2.0 */
#include "hash/crc64.h"

#include <endian.h>
#include <pthread.h>
#include <string.h>

/* The polynomial, its bits in reverse: bit 63 is the coefficient of x^0. */
#define POLYNOMIAL 0x9a6c9329ac4bc9b5u
#define ONE (1ull << 63)

/* What one byte does, followed by so many bytes of zeros. */
#define SLICES 8
static uint64_t slices[SLICES][256];
static pthread_once_t slices_once = PTHREAD_ONCE_INIT;

static uint64_t times_x(uint64_t value)
{
	return value >> 1 ^ (value & 1 ? POLYNOMIAL : 0);
}

static void fill_slices(void)
{
	for (unsigned byte = 0; byte < 256; byte++) {
		uint64_t crc = byte;

		for (unsigned bit = 0; bit < 8; bit++)
			crc = times_x(crc);
		slices[0][byte] = crc;
	}
	for (unsigned byte = 0; byte < 256; byte++)
		for (unsigned i = 1; i < SLICES; i++)
			slices[i][byte] =
				slices[i - 1][byte] >> 8 ^ slices[0][slices[i - 1][byte] & 0xff];
}

uint64_t crc64_nvme(uint64_t crc, const void *bytes, size_t length)
{
	const uint8_t *at = bytes;

	(void)pthread_once(&slices_once, fill_slices);
	crc = ~crc;
	for (; length >= SLICES; at += SLICES, length -= SLICES) {
		uint64_t word;

		memcpy(&word, at, sizeof(word));
		crc ^= le64toh(word);
		crc = slices[7][crc & 0xff] ^ slices[6][crc >> 8 & 0xff] ^
		      slices[5][crc >> 16 & 0xff] ^ slices[4][crc >> 24 & 0xff] ^
		      slices[3][crc >> 32 & 0xff] ^ slices[2][crc >> 40 & 0xff] ^
		      slices[1][crc >> 48 & 0xff] ^ slices[0][crc >> 56];
	}
	for (; length; at++, length--)
		crc = crc >> 8 ^ slices[0][(crc ^ *at) & 0xff];
	return ~crc;
}

/* Of polynomials, modulo the one. */
static uint64_t product(uint64_t a, uint64_t b)
{
	uint64_t sum = 0;

	for (; a; a <<= 1, b = times_x(b))
		if (a & ONE)
			sum ^= b;
	return sum;
}

uint64_t crc64_nvme_join(uint64_t first, uint64_t second, uint64_t length)
{
	uint64_t power = ONE >> 8; /* x^8: a byte of zeros behind the first */

	/* The ones of begin and end fall out of the sum. */
	for (; length; length >>= 1, power = product(power, power))
		if (length & 1)
			first = product(first, power);
	return first ^ second;
}
