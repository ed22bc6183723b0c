/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include <stdio.h>

/*
 * A stream into memory, like open_memstream(): after fflush() and fclose() *ret_text (caller frees)
 * is what was written, a NUL behind it, and *ret_length its length. Unlike glibc's (2.36), which
 * drops what it finds no memory for and says nothing, it then fails: ferror() after fflush(), and
 * fclose(). NULL without memory.
 */
FILE *text_open(char **ret_text, size_t *ret_length);
