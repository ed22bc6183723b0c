/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * CRC-64/NVME, the checksum that S3 keeps of whole objects: reflected, polynomial
 * 0xad93d23594c93659, begun with and inverted by all ones.
 * Source: NVM Express NVM Command Set Specification, "64b CRC Definition".
 */
#include <stddef.h>
#include <stdint.h>

/* Of what @crc is of (0: nothing) with the @length bytes behind it. */
uint64_t crc64_nvme(uint64_t crc, const void *bytes, size_t length);

/* Of what @first and @second are of, one behind the other; @length bytes of the second. */
uint64_t crc64_nvme_join(uint64_t first, uint64_t second, uint64_t length);
