/* SPDX-License-Identifier: Apache-2.0 */
#include "tier/s3_xml.h"
#include "util/text.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "util/xml.h"

struct reader {
	s3_xml_fn fn;
	void *arg;
};

static int take(void *arg, const struct xml_element *element)
{
	const struct reader *reader = arg;

	return element->text ? reader->fn(reader->arg, element->path, element->text) : 0;
}

int s3_xml_read(const void *bytes, size_t length, s3_xml_fn fn, void *arg)
{
	struct reader reader = { fn, arg };
	const char *start = bytes;
	unsigned long line;

	/* Servers that take long keep the line alive with white space before the answer. */
	while (length && *start && strchr(" \r\n\t", *start)) {
		start++;
		length--;
	}
	return xml_read_any_namespace(start, length, take, &reader, &line);
}

char *s3_xml_escape(const char *text)
{
	char *escaped = NULL;
	size_t length;
	FILE *out = text_open(&escaped, &length);

	if (!out)
		return NULL;
	xml_put(out, text);
	if (fclose(out) != 0) {
		free(escaped);
		return NULL;
	}
	return escaped;
}
