/* SPDX-License-Identifier: Apache-2.0 */
#include "tier/s3_xml.h"

#include <errno.h>
#include <expat.h>
#include <limits.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "util/cleanup.h"
#include "util/markup.h"

#define MAX_DEPTH 8

struct reader {
	XML_Parser parser; /* owned by s3_xml_read() */
	s3_xml_fn fn;
	void *arg;
	int result; /* not 0: stopped */

	char path[S3_XML_PATH_MAX];
	size_t path_length;
	size_t starts[MAX_DEPTH]; /* where each name begins in path */
	unsigned depth;

	/* Of the innermost element: what stands between children is white space. */
	char text[S3_XML_TEXT_MAX];
	size_t text_length;
};

static void stop(struct reader *reader, int result)
{
	if (reader->result == 0)
		reader->result = result;
	(void)XML_StopParser(reader->parser, XML_FALSE); /* fails only when stopped already */
}

static void XMLCALL on_start(void *arg, const XML_Char *name, const XML_Char **attributes)
{
	struct reader *reader = arg;
	const char *colon = strrchr(name, ':');
	const char *local = colon ? colon + 1 : name;
	size_t length = strlen(local), slash = reader->depth ? 1 : 0;

	(void)attributes;
	if (reader->depth == MAX_DEPTH ||
	    reader->path_length + slash + length >= sizeof(reader->path)) {
		stop(reader, -EPROTO);
		return;
	}
	reader->starts[reader->depth++] = reader->path_length;
	if (slash)
		reader->path[reader->path_length++] = '/';
	memcpy(reader->path + reader->path_length, local, length + 1);
	reader->path_length += length;
	reader->text_length = 0;
}

static void XMLCALL on_text(void *arg, const XML_Char *text, int length)
{
	struct reader *reader = arg;

	if ((size_t)length >= sizeof(reader->text) - reader->text_length) {
		stop(reader, -EPROTO);
		return;
	}
	memcpy(reader->text + reader->text_length, text, (size_t)length);
	reader->text_length += (size_t)length;
}

static void XMLCALL on_end(void *arg, const XML_Char *name)
{
	struct reader *reader = arg;
	int r;

	(void)name;
	/* expat still tells the end of an empty element whose start has stopped it. */
	if (reader->result != 0)
		return;
	reader->text[reader->text_length] = 0;
	r = reader->fn(reader->arg, reader->path, reader->text);
	if (r != 0)
		stop(reader, r);
	reader->path_length = reader->starts[--reader->depth];
	reader->path[reader->path_length] = 0;
	reader->text_length = 0;
}

static void XMLCALL on_doctype(void *arg, const XML_Char *name, const XML_Char *system,
			       const XML_Char *public, int has_internal)
{
	(void)name, (void)system, (void)public, (void)has_internal;
	stop(arg, -EPROTO);
}

int s3_xml_read(const void *bytes, size_t length, s3_xml_fn fn, void *arg)
{
	cleanup_free struct reader *reader = calloc(1, sizeof(*reader));
	const char *start = bytes;
	enum XML_Status status;

	/* Servers that take long keep the line alive with white space before the answer. */
	while (length && strchr(" \r\n\t", *start) && *start) {
		start++;
		length--;
	}
	if (!reader || length > INT_MAX)
		return reader ? -EPROTO : -ENOMEM;
	reader->parser = XML_ParserCreate(NULL);
	if (!reader->parser)
		return -ENOMEM;
	reader->fn = fn;
	reader->arg = arg;
	XML_SetUserData(reader->parser, reader);
	XML_SetElementHandler(reader->parser, on_start, on_end);
	XML_SetCharacterDataHandler(reader->parser, on_text);
	XML_SetStartDoctypeDeclHandler(reader->parser, on_doctype);
	status = XML_Parse(reader->parser, start, (int)length, XML_TRUE);
	XML_ParserFree(reader->parser);
	if (reader->result != 0)
		return reader->result;
	return status == XML_STATUS_OK ? 0 : -EPROTO;
}

char *s3_xml_escape(const char *text)
{
	char *escaped = NULL;
	size_t length;
	FILE *out = open_memstream(&escaped, &length);

	if (!out)
		return NULL;
	for (; *text; text++) {
		const char *entity = markup_entity((unsigned char)*text);

		(void)(entity ? fputs(entity, out) : fputc(*text, out));
	}
	if (fclose(out) != 0) {
		free(escaped);
		return NULL;
	}
	return escaped;
}
