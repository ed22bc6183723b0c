/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * XML, in and out. Reading: no DTD, so no entities but the built-in ones; depth, text and size are
 * limited. No I/O.
 */
#include <stddef.h>
#include <stdio.h>

#define XML_PATH_MAX 512
#define XML_TEXT_MAX 65536 /* bytes in one element, with the NUL */
#define XML_DEPTH_MAX 32   /* nothing that we read is deeper than 5; metadata of others may be */

/* Above this a document is refused: about two million files. */
#define XML_DOCUMENT_MAX ((size_t)1 << 30)

/*
 * One element. @path are the local names from the root ("hashlist/hashes/hash"); an element in
 * another namespace than the root's has the name "?", which nothing matches.
 */
struct xml_element {
	const char *path;
	const char **attributes; /* at its start: name, value, ..., NULL; without namespaces */
	const char *text;        /* at its end: what stands directly in it after its last child */
	const char *namespace;   /* of the root; "" for none */
};

/* Called at the start (@text NULL) and at the end of each. Not 0 stops and is returned. */
typedef int (*xml_fn)(void *arg, const struct xml_element *element);

/* -EPROTO: not XML, has a DTD, or is beyond the limits; *ret_line says where. -ENOMEM. */
int xml_read(const void *bytes, size_t length, xml_fn fn, void *arg, unsigned long *ret_line);

/* The same with the local name of every element, whatever its prefix; @namespace is NULL. */
int xml_read_any_namespace(const void *bytes, size_t length, xml_fn fn, void *arg,
			   unsigned long *ret_line);

/* The value of @name; NULL when there is none. */
const char *xml_attribute(const struct xml_element *element, const char *name);

/*
 * Can XML carry @text? It has to be UTF-8 of XML 1.0's characters: no control characters but
 * tab, newline and return.
 */
_Bool xml_can_carry(const char *text);

/* Write @text, escaped for elements and attributes alike; white space survives any reader. */
void xml_put(FILE *out, const char *text);
