/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * Sandbox: what a process that looks at a hostile file may still do: read what it has open, write
 * to one pipe, take some memory, and end.
 */

#include <stdint.h>

#define SANDBOX_ANY_TIME 0u

/*
 * Give up everything but @read_fd and @write_fd, for good: other descriptors are closed; no new
 * ones, no files, no network, no processes, no code that was not there; at most @cpu_seconds
 * (SANDBOX_ANY_TIME: no limit) and @memory_bytes of address space, with that of the libraries.
 * -EOPNOTSUPP or another errno: the kernel will not; then nothing hostile may be looked at.
 */
int sandbox_enter(int read_fd, int write_fd, unsigned cpu_seconds, uint64_t memory_bytes);
