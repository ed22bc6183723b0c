/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * The few XML answers of S3. No DTD, so no entities but the built-in ones; depth and sizes
 * are limited. Prefixes and namespaces are ignored. No I/O.
 */
#include <stddef.h>

#define S3_XML_PATH_MAX 256
#define S3_XML_TEXT_MAX 8192

/*
 * Called at the end of each element, children before parents: @path are the names from the root
 * ("ListPartsResult/Part/ETag"), @text what stands directly in it. Non-zero stops and
 * is returned.
 */
typedef int (*s3_xml_fn)(void *arg, const char *path, const char *text);

/* -EPROTO: not XML, has a DTD, or is beyond the limits. -ENOMEM. */
int s3_xml_read(const void *bytes, size_t length, s3_xml_fn fn, void *arg);

/* @text with & < > " and ' as entities. Caller frees; NULL without memory. */
char *s3_xml_escape(const char *text);
