/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* Sizes, rates, durations as people write and read them. */
#include <stddef.h>
#include <stdint.h>

/* "20M", "1.5GiB", "512": K M G T are 1024-based with or without iB/B. -EINVAL. */
int parse_bytes(const char *text, uint64_t *ret_bytes);

/* Bytes a second: as parse_bytes(), also with "/s" after it; "none" is 0. At most INT64_MAX.
 * -EINVAL. */
int parse_rate(const char *text, uint64_t *ret_per_second);

/* "90s", "5min", "2h", "30d", "100ms", "0". -EINVAL. */
int parse_duration(const char *text, int64_t *ret_ns);

/* "80%" or "80.5%" as per mille. -EINVAL outside 0..100. */
int parse_percent(const char *text, int64_t *ret_per_mille);

/* "1.4 GiB", "512 B"; into @buffer (at least 16 bytes), which is returned. */
char *format_bytes(uint64_t bytes, char *buffer, size_t size);

/* "2 h 05 min", "43 s", "850 ms". */
char *format_duration(int64_t ns, char *buffer, size_t size);

/* Local time "2026-11-28 18:20:31". */
char *format_time(int64_t realtime_ns, char *buffer, size_t size);
