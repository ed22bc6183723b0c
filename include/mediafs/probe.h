/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * What mediafs-probe(1) says of the same bytes changes with this number: raise it when it learns to
 * say more, and what the catalog keeps of before is looked at again as soon as the bytes are here.
 */
#define MEDIAFS_PROBE_VERSION 2
