/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* Bytes as lower-case hex digits and back. */
#include <stdbool.h>
#include <stddef.h>

/* 2 * @length digits and a NUL into @ret_text. */
void hex_write(const void *bytes, size_t length, char *ret_text);

/* True when @text is exactly 2 * @length lower-case hex digits: one writing for each value. */
bool hex_read(const char *text, void *ret_bytes, size_t length);
