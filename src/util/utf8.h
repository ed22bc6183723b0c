/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include <stddef.h>
#include <stdint.h>

/*
 * The character at @text (NUL-terminated): its bytes and *ret_code; 0 when it is not well-formed
 * UTF-8. The end is a character of one byte. Source: Unicode Standard, table 3-7.
 */
size_t utf8_decode(const char *text, uint32_t *ret_code);
