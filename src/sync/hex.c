/* SPDX-License-Identifier: Apache-2.0 */
#include "sync/hex.h"

#include <stdint.h>
#include <string.h>

void hex_write(const void *bytes, size_t length, char *ret_text)
{
	static const char digits[] = "0123456789abcdef";
	const uint8_t *from = bytes;

	for (size_t i = 0; i < length; i++) {
		*ret_text++ = digits[from[i] >> 4];
		*ret_text++ = digits[from[i] & 15];
	}
	*ret_text = '\0';
}

static int digit_value(char digit)
{
	if (digit >= '0' && digit <= '9')
		return digit - '0';
	if (digit >= 'a' && digit <= 'f')
		return digit - 'a' + 10;
	return -1;
}

bool hex_read(const char *text, void *ret_bytes, size_t length)
{
	uint8_t *to = ret_bytes;

	if (strlen(text) != length * 2)
		return false;
	for (size_t i = 0; i < length; i++) {
		int high = digit_value(text[2 * i]), low = digit_value(text[2 * i + 1]);

		if (high < 0 || low < 0)
			return false;
		to[i] = (uint8_t)(high << 4 | low);
	}
	return true;
}
