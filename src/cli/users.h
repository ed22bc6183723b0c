/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include <stddef.h>

/*
 * Who has files or folders below @mountpoint open, as far as we may see: "cp (123), bash (99)";
 * "" when nobody is seen. At most a few.
 */
void users_of(const char *mountpoint, char *ret_text, size_t size);
