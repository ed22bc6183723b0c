/* SPDX-License-Identifier: Apache-2.0 */
#include "util/xml.h"

#include <errno.h>
#include <expat.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "util/cleanup.h"
#include "util/markup.h"
#include "util/utf8.h"

/* Fed in slices: expat counts in int. */
#define SLICE_BYTES ((size_t)1 << 20)
#define NAMESPACE_END '\n'

struct reader {
	XML_Parser parser; /* owned by read_all() */
	xml_fn fn;
	void *arg;
	int result; /* not 0: stopped */

	bool any_namespace;
	char *namespace; /* owned; NULL before the root */
	char path[XML_PATH_MAX];
	size_t path_length;
	size_t starts[XML_DEPTH_MAX]; /* where each name begins in path */
	unsigned depth;

	char text[XML_TEXT_MAX];
	size_t text_length;
};

static void stop(struct reader *reader, int result)
{
	if (reader->result == 0)
		reader->result = result;
	(void)XML_StopParser(reader->parser, XML_FALSE); /* fails only when stopped already */
}

static void call(struct reader *reader, const char **attributes, const char *text)
{
	struct xml_element element = { reader->path, attributes, text, reader->namespace };
	int r;

	if (reader->result != 0)
		return;
	r = reader->fn(reader->arg, &element);
	if (r != 0)
		stop(reader, r);
}

/* The name to go by: the local one, or "?" for what is not in the root's namespace. */
static const char *plain_name(struct reader *reader, const char *name)
{
	const char *end = strrchr(name, reader->any_namespace ? ':' : NAMESPACE_END);
	size_t length = end ? (size_t)(end - name) : 0;

	if (!reader->any_namespace && !reader->namespace) {
		reader->namespace = strndup(name, length);
		if (!reader->namespace)
			return NULL;
	}
	if (reader->namespace &&
	    (strlen(reader->namespace) != length || memcmp(reader->namespace, name, length) != 0))
		return "?";
	return end ? end + 1 : name;
}

static void XMLCALL on_start(void *arg, const XML_Char *name, const XML_Char **attributes)
{
	struct reader *reader = arg;
	const char *local = plain_name(reader, name);
	size_t length = local ? strlen(local) : 0, slash = reader->depth ? 1 : 0;

	if (!local) {
		stop(reader, -ENOMEM);
		return;
	}
	if (reader->depth == XML_DEPTH_MAX ||
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
	call(reader, attributes, NULL);
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

	(void)name;
	/* expat still tells the end of an empty element whose start has stopped it. */
	if (reader->result != 0)
		return;
	reader->text[reader->text_length] = '\0';
	call(reader, NULL, reader->text);
	reader->path_length = reader->starts[--reader->depth];
	reader->path[reader->path_length] = '\0';
	reader->text_length = 0;
}

static void XMLCALL on_doctype(void *arg, const XML_Char *name, const XML_Char *system,
			       const XML_Char *public, int has_internal)
{
	(void)name, (void)system, (void)public, (void)has_internal;
	stop(arg, -EPROTO);
}

static enum XML_Status feed(struct reader *reader, const char *bytes, size_t length)
{
	enum XML_Status status = XML_STATUS_OK;

	do {
		size_t slice = length < SLICE_BYTES ? length : SLICE_BYTES;

		status = XML_Parse(reader->parser, bytes, (int)slice, slice == length);
		bytes += slice;
		length -= slice;
	} while (length && status == XML_STATUS_OK);
	return status;
}

static int read_all(const void *bytes, size_t length, xml_fn fn, void *arg, bool any_namespace,
		    unsigned long *ret_line)
{
	cleanup_free struct reader *reader = calloc(1, sizeof(*reader));
	enum XML_Status status;

	*ret_line = 0;
	if (!reader)
		return -ENOMEM;
	if (length > XML_DOCUMENT_MAX)
		return -EPROTO;
	reader->parser =
		any_namespace ? XML_ParserCreate(NULL) : XML_ParserCreateNS(NULL, NAMESPACE_END);
	if (!reader->parser)
		return -ENOMEM;
	reader->fn = fn;
	reader->arg = arg;
	reader->any_namespace = any_namespace;
	XML_SetUserData(reader->parser, reader);
	XML_SetElementHandler(reader->parser, on_start, on_end);
	XML_SetCharacterDataHandler(reader->parser, on_text);
	XML_SetStartDoctypeDeclHandler(reader->parser, on_doctype);
	status = feed(reader, bytes, length);
	*ret_line = XML_GetCurrentLineNumber(reader->parser);
	XML_ParserFree(reader->parser);
	free(reader->namespace);
	if (reader->result != 0)
		return reader->result;
	return status == XML_STATUS_OK ? 0 : -EPROTO;
}

int xml_read(const void *bytes, size_t length, xml_fn fn, void *arg, unsigned long *ret_line)
{
	return read_all(bytes, length, fn, arg, false, ret_line);
}

int xml_read_any_namespace(const void *bytes, size_t length, xml_fn fn, void *arg,
			   unsigned long *ret_line)
{
	return read_all(bytes, length, fn, arg, true, ret_line);
}

const char *xml_attribute(const struct xml_element *element, const char *name)
{
	for (const char **at = element->attributes; at && *at; at += 2) {
		if (strcmp(*at, name) == 0)
			return at[1];
	}
	return NULL;
}

bool xml_can_carry(const char *text)
{
	while (*text) {
		uint32_t code;
		size_t length = utf8_decode(text, &code);

		/* Source: XML 1.0, production 2 (Char). */
		if (!length || (code < 0x20 && !strchr("\t\n\r", (int)code)) || code == 0xfffe ||
		    code == 0xffff)
			return false;
		text += length;
	}
	return true;
}

void xml_put(FILE *out, const char *text)
{
	for (; *text; text++) {
		const char *entity = markup_entity((unsigned char)*text);

		if (entity)
			(void)fputs(entity, out);
		else if (strchr("\t\n\r", *text)) /* as they are, readers would normalise them */
			(void)fprintf(out, "&#%d;", *text);
		else
			(void)fputc(*text, out);
	}
}
