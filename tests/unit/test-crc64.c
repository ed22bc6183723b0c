/* SPDX-License-Identifier: Apache-2.0 */
#include "hash/crc64.h"

#include <stdlib.h>

#include "test.h"

/* Source: CRC RevEng, catalogue of parametrised CRC algorithms, "CRC-64/NVME": check. */
TEST(the_published_check)
{
	check(crc64_nvme(0, "123456789", 9) == 0xae8b14860a799888u);
	check(crc64_nvme(0, "", 0) == 0);
}

/* Source: NVM Express NVM Command Set Specification, "64b CRC Test Cases": 4 KiB of data. */
TEST(the_test_cases_of_the_specification)
{
	uint8_t bytes[4096] = { 0 };

	check(crc64_nvme(0, bytes, sizeof(bytes)) == 0x6482d367eb22b64eu);
	memset(bytes, 0xff, sizeof(bytes));
	check(crc64_nvme(0, bytes, sizeof(bytes)) == 0xc0ddba7302eca3acu);
	for (size_t i = 0; i < sizeof(bytes); i++)
		bytes[i] = (uint8_t)i;
	check(crc64_nvme(0, bytes, sizeof(bytes)) == 0x3e729f5f6750449cu);
	for (size_t i = 0; i < sizeof(bytes); i++)
		bytes[i] = (uint8_t)(0xff - i);
	check(crc64_nvme(0, bytes, sizeof(bytes)) == 0x9a2df64b8e9e517eu);
}

TEST(however_the_bytes_are_cut_it_is_the_same)
{
	enum { SIZE = 1000 };
	uint8_t bytes[SIZE];
	uint32_t noise = 7;
	uint64_t whole;

	for (size_t i = 0; i < SIZE; i++)
		bytes[i] = (uint8_t)((noise = noise * 1664525 + 1013904223) >> 24);
	whole = crc64_nvme(0, bytes, SIZE);
	for (size_t cut = 0; cut <= SIZE; cut++) {
		uint64_t head = crc64_nvme(0, bytes, cut);
		uint64_t tail = crc64_nvme(0, bytes + cut, SIZE - cut);

		check(crc64_nvme(head, bytes + cut, SIZE - cut) == whole);
		check(crc64_nvme_join(head, tail, SIZE - cut) == whole);
	}
}

TEST(what_is_joined_may_be_long)
{
	uint64_t zeros = 0, byte = crc64_nvme(0, "x", 1);
	uint8_t zero = 0;

	/* 2^20 bytes of zeros, doubled from one. */
	zeros = crc64_nvme(0, &zero, 1);
	for (unsigned i = 0; i < 20; i++)
		zeros = crc64_nvme_join(zeros, zeros, 1ull << i);
	{
		uint8_t *all = calloc(1, 1 << 20);

		check(all != NULL);
		check(crc64_nvme(0, all, 1 << 20) == zeros);
		check(crc64_nvme(byte, all, 1 << 20) == crc64_nvme_join(byte, zeros, 1 << 20));
		free(all);
	}
}
