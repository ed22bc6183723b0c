/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* The few XML answers of S3, read by util/xml.h, which has the limits. Namespaces are ignored. No
 * I/O. */
#include <stddef.h>

/*
 * Called at the end of each element, children before parents: @path are the names from the root
 * ("ListPartsResult/Part/ETag"), @text what stands directly in it. Non-zero stops and
 * is returned.
 */
typedef int (*s3_xml_fn)(void *arg, const char *path, const char *text);

/* -EPROTO: not XML, has a DTD, or is beyond the limits. -ENOMEM. */
int s3_xml_read(const void *bytes, size_t length, s3_xml_fn fn, void *arg);

/* @text as it may stand in an element. Caller frees; NULL without memory. */
char *s3_xml_escape(const char *text);
