/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* Answers of requests that made and opened a file. */
#include "fs/session.h"

/* Consumes @file and the lookup count of @entry. */
void reply_create(fuse_req_t req, const struct volume_entry *entry, struct file *file,
		  struct fuse_file_info *fi);
