/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * What libfuse 3.17 and later can do (library.c), and how that is missing in 3.14
 * (library_none.c).
 */
#include "fs/session.h"

/* Ask for @capability (FUSE_CAP_*) if the kernel offers it; true when it does. */
bool feature_want(struct fuse_conn_info *conn, uint64_t capability);
void feature_refuse(struct fuse_conn_info *conn, uint64_t capability);

/* Set-id bits handled by us, mmap of direct files, passthrough: sets fs->can_pass. */
void features_negotiate(struct fs *fs, struct fuse_conn_info *conn);

/* Operations that older ones do not have: tmpfile. */
void features_ops(struct fuse_lowlevel_ops *ops);

/* A backing id for @fd, or 0. Its end. */
int feature_pass_open(fuse_req_t req, int fd);
void feature_pass_close(fuse_req_t req, int backing_id);

/* @fi's file is read by the kernel from @backing_id. */
void feature_pass_set(struct fuse_file_info *fi, int backing_id);

/* The library's option for FUSE over io_uring; NULL when it has none. */
const char *feature_uring_option(void);
