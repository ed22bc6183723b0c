/* SPDX-License-Identifier: Apache-2.0 */

/* CRC-64/NVME byte by byte: what src/hash/crc64.c is compared with. */
#include <stddef.h>
#include <stdint.h>

uint64_t crc64(const unsigned char *bytes, size_t length)
{
	uint64_t crc = ~0ull, table[256];

	for (unsigned i = 0; i < 256; i++) {
		table[i] = i;
		for (int bit = 0; bit < 8; bit++)
			table[i] = table[i] >> 1 ^ (table[i] & 1 ? 0x9a6c9329ac4bc9b5u : 0);
	}
	for (size_t i = 0; i < length; i++)
		crc = crc >> 8 ^ table[(crc ^ bytes[i]) & 0xff];
	return ~crc;
}
