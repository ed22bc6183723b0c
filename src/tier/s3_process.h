/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* credential_process: a program that prints keys. */
#include "tier/s3_credentials.h"

/* Run @line (no shell) for a minute at most. -EINVAL when it fails or prints no keys. */
int s3_run_process(const char *line, struct s3_keys *ret_keys);
