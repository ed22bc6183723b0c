/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * Sandbox: what a process that looks at a hostile file may still do: read what it has open, write
 * to one pipe, take some memory, and end.
 */

#define SANDBOX_CPU_SECONDS 5u
#define SANDBOX_MEMORY_BYTES (1ull << 30) /* of address space; the libraries take a third */

/*
 * Give up everything but @read_fd and @write_fd, for good: other descriptors are closed; no new
 * ones, no files, no network, no processes, no code that was not there; limits on memory and CPU.
 * -EOPNOTSUPP or another errno: the kernel will not; then nothing hostile may be looked at.
 */
int sandbox_enter(int read_fd, int write_fd);
