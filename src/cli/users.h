/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include <stddef.h>

/*
 * Who has files or folders below @mountpoint open, as far as we may see: "cp (123), bash (99)";
 * "" when nobody is seen. At most a few.
 */
void users_of(const char *mountpoint, char *ret_text, size_t size);

/*
 * The same for processes in other mount namespaces (containers, sandboxes) in which the volume of
 * @store is still mounted: each keeps a mount of its own, which no unmount here ends.
 */
void users_elsewhere(const char *store, char *ret_text, size_t size);
