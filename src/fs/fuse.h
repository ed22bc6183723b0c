/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* The one way to libfuse: FUSE_USE_VERSION is set by meson.build to what was found. */
#include <fuse_lowlevel.h>
