/* SPDX-License-Identifier: Apache-2.0 */
#include "util/units.h"

#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>
#include <time.h>

#include "util/clock.h"

#define MAX_DECIMALS 9

/* "123.45": whole 123, fraction 450000000 (10^-9), decimals 2. */
struct number {
	uint64_t whole;
	uint64_t fraction;
	unsigned decimals;
};

/* Own parser: strtod() follows the locale and takes "inf", "0x10" and signs. */
static int parse_number(const char **text, struct number *ret_number)
{
	struct number number = { 0 };
	const char *at = *text;

	if (*at < '0' || *at > '9')
		return -EINVAL;
	for (; *at >= '0' && *at <= '9'; at++) {
		if (__builtin_mul_overflow(number.whole, 10u, &number.whole) ||
		    __builtin_add_overflow(number.whole, (uint64_t)(*at - '0'), &number.whole))
			return -EINVAL;
	}
	if (*at == '.') {
		uint64_t unit = 100000000;

		for (at++; *at >= '0' && *at <= '9'; at++, unit /= 10) {
			if (number.decimals++ == MAX_DECIMALS)
				return -EINVAL;
			number.fraction += unit * (uint64_t)(*at - '0');
		}
		if (!number.decimals)
			return -EINVAL;
	}
	while (*at == ' ')
		at++;
	*text = at;
	*ret_number = number;
	return 0;
}

static int scale(const struct number *number, uint64_t unit, uint64_t *ret_value)
{
	uint64_t value;
	unsigned __int128 part = (unsigned __int128)number->fraction * unit / 1000000000u;

	if (__builtin_mul_overflow(number->whole, unit, &value) ||
	    __builtin_add_overflow(value, (uint64_t)part, &value))
		return -EINVAL;
	*ret_value = value;
	return 0;
}

int parse_bytes(const char *text, uint64_t *ret_bytes)
{
	static const char letters[] = "kmgt";
	struct number number;
	uint64_t unit = 1;
	const char *letter;
	int r = parse_number(&text, &number);

	if (r < 0)
		return r;
	letter = *text ? strchr(letters, *text | 0x20) : NULL;
	if (letter) {
		unit = 1ull << (10 * (letter - letters + 1));
		text++;
		if ((*text | 0x20) == 'i') {
			text++;
			if ((*text | 0x20) != 'b')
				return -EINVAL;
		}
	}
	if (*text && (*text | 0x20) == 'b')
		text++;
	if (*text || (unit == 1 && number.decimals))
		return -EINVAL;
	return scale(&number, unit, ret_bytes);
}

int parse_rate(const char *text, uint64_t *ret_per_second)
{
	char copy[64];
	size_t length = strlen(text);
	uint64_t bytes = 0;
	int r = 0;

	if (length >= sizeof(copy))
		return -EINVAL;
	memcpy(copy, text, length + 1);
	if (length > 2 && strcmp(copy + length - 2, "/s") == 0)
		copy[length - 2] = 0;
	if (strcmp(copy, "none") != 0)
		r = parse_bytes(copy, &bytes);
	if (r < 0 || bytes > INT64_MAX)
		return -EINVAL;
	*ret_per_second = bytes;
	return 0;
}

int parse_duration(const char *text, int64_t *ret_ns)
{
	static const struct {
		const char *name;
		int64_t ns;
	} units[] = {
		{ "", NS_PER_SEC },           { "ms", NS_PER_MS },
		{ "s", NS_PER_SEC },          { "sec", NS_PER_SEC },
		{ "m", 60 * NS_PER_SEC },     { "min", 60 * NS_PER_SEC },
		{ "h", 3600 * NS_PER_SEC },   { "d", 86400 * NS_PER_SEC },
		{ "w", 604800 * NS_PER_SEC },
	};
	struct number number;
	uint64_t ns;
	int r = parse_number(&text, &number);

	if (r < 0)
		return r;
	for (size_t i = 0; i < sizeof(units) / sizeof(units[0]); i++) {
		if (strcasecmp(text, units[i].name) != 0)
			continue;
		r = scale(&number, (uint64_t)units[i].ns, &ns);
		if (r < 0 || ns > INT64_MAX)
			return -EINVAL;
		*ret_ns = (int64_t)ns;
		return 0;
	}
	return -EINVAL;
}

int parse_percent(const char *text, int64_t *ret_per_mille)
{
	struct number number;
	uint64_t per_mille;
	int r = parse_number(&text, &number);

	if (r < 0)
		return r;
	if (strcmp(text, "%") != 0 || number.decimals > 1)
		return -EINVAL;
	r = scale(&number, 10, &per_mille);
	if (r < 0 || per_mille > 1000)
		return -EINVAL;
	*ret_per_mille = (int64_t)per_mille;
	return 0;
}

char *format_bytes(uint64_t bytes, char *buffer, size_t size)
{
	static const char *const units[] = { "B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB" };
	double value = (double)bytes;
	size_t unit = 0;

	/* 1023.95 would print as 1024.0. */
	while (value >= (unit ? 1023.95 : 1024) && unit + 1 < sizeof(units) / sizeof(units[0])) {
		value /= 1024;
		unit++;
	}
	(void)snprintf(buffer, size, unit ? "%.1f %s" : "%.0f %s", value, units[unit]);
	return buffer;
}

char *format_duration(int64_t ns, char *buffer, size_t size)
{
	int64_t s = ns / NS_PER_SEC;

	if (ns < 0)
		(void)snprintf(buffer, size, "unknown");
	else if (s == 0)
		(void)snprintf(buffer, size, "%d ms", (int)(ns / NS_PER_MS));
	else if (s < 60)
		(void)snprintf(buffer, size, "%d s", (int)s);
	else if (s < 3600)
		(void)snprintf(buffer, size, "%d min %02d s", (int)(s / 60), (int)(s % 60));
	else if (s < 86400)
		(void)snprintf(buffer, size, "%d h %02d min", (int)(s / 3600), (int)(s / 60 % 60));
	else
		(void)snprintf(buffer, size, "%lld d %02d h", (long long)(s / 86400),
			       (int)(s / 3600 % 24));
	return buffer;
}

char *format_time(int64_t realtime_ns, char *buffer, size_t size)
{
	struct timespec ts = ns_timespec(realtime_ns);
	struct tm local;

	if (!localtime_r(&ts.tv_sec, &local) ||
	    !strftime(buffer, size, "%Y-%m-%d %H:%M:%S", &local))
		(void)snprintf(buffer, size, "?");
	return buffer;
}
