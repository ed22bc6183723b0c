/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include "hash/readback.h" /* shared with tier/, which does not know store/ */
