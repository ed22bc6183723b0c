/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* Disks: which file systems share one. */
#include <stdbool.h>
#include <sys/types.h>

/*
 * True when the file systems with these st_dev are on one disk, as far as the kernel tells:
 * partitions are known, and what lies on one device (encryption, volumes, the first disk of an
 * array). What is no block device (network, btrfs) shares a disk with itself only.
 */
bool disk_same(dev_t first, dev_t second);
