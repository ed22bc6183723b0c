/* SPDX-License-Identifier: Apache-2.0 */
#include <string.h>

#include "cli/report.h"
#include "util/markup.h"
#include "util/utf8.h"

#define REPLACEMENT "\xef\xbf\xbd" /* U+FFFD */

char *report_text(const json_t *value)
{
	const char *plain = json_string_value(value);
	char *text = json_path_value(value);

	return text ? text : strdup(plain ? plain : "");
}

/*
 * Controls, line ends, and what changes the direction of what follows. Source: Unicode Standard
 * Annex 9, table 1; general categories Cc, Zl, Zp, and zero-width ones that hide in names.
 */
static bool is_hidden(uint32_t code)
{
	return code < 0x20 || (code >= 0x7f && code < 0xa0) || code == 0xad || code == 0x61c ||
	       (code >= 0x200b && code <= 0x200f) || (code >= 0x2028 && code <= 0x202e) ||
	       (code >= 0x2060 && code <= 0x206f) || code == 0xfeff ||
	       (code >= 0xfff9 && code <= 0xfffb) || (code & 0xfffe) == 0xfffe;
}

static void put_html_code(FILE *out, uint32_t code, const char *bytes, size_t length)
{
	const char *entity = code == '\'' ? "&#39;" : markup_entity(code);

	if (entity)
		(void)fputs(entity, out);
	else if (is_hidden(code))
		(void)fprintf(out, "<span class=\"code\">U+%04X</span>", code);
	else
		(void)fwrite(bytes, 1, length, out);
}

void report_put_html(FILE *out, const char *text)
{
	while (*text) {
		uint32_t code;
		size_t length = utf8_decode(text, &code);

		if (length)
			put_html_code(out, code, text, length);
		else
			(void)fputs(REPLACEMENT, out);
		text += length ? length : 1;
	}
}

/* @text with U+FFFD for what is no UTF-8, and @blank for controls unless it is 0. */
static void put_plain(FILE *out, const char *text, char blank, bool quotes)
{
	while (*text) {
		uint32_t code;
		size_t length = utf8_decode(text, &code);

		if (!length)
			(void)fputs(REPLACEMENT, out);
		else if (blank && (code < 0x20 || code == 0x7f || code == 0x85 || code == 0x2028 ||
				   code == 0x2029))
			(void)fputc(blank, out);
		else {
			if (quotes && code == '"')
				(void)fputc('"', out);
			(void)fwrite(text, 1, length, out);
		}
		text += length ? length : 1;
	}
}

void report_put_csv(FILE *out, const char *text)
{
	(void)fputc('"', out);
	if (*text && strchr("=+-@\t\r", *text))
		(void)fputc('\'', out);
	put_plain(out, text, 0, true);
	(void)fputc('"', out);
}

void report_put_ale(FILE *out, const char *text)
{
	put_plain(out, text, ' ', false);
}
