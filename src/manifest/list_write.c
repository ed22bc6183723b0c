/* SPDX-License-Identifier: Apache-2.0 */
#include "manifest/list.h"

/* Writing, in the order of elements that the schemas want: ASCMHL.xsd, MediaHashList_v1_1.xsd. */
#include <errno.h>
#include <inttypes.h>
#include <limits.h>
#include <pwd.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "util/xml.h"
#include "util/cleanup.h"
#include "util/clock.h"
#include "util/text.h"

static void put_element(FILE *out, const char *indent, const char *name, const char *text)
{
	(void)fprintf(out, "%s<%s>", indent, name);
	xml_put(out, text);
	(void)fprintf(out, "</%s>\n", name);
}

static void put_attribute(FILE *out, const char *name, const char *value)
{
	if (!value)
		return;
	(void)fprintf(out, " %s=\"", name);
	xml_put(out, value);
	(void)fputc('"', out);
}

/* What this machine is called, as far as XML can carry it. */
static void put_host(FILE *out, const char *indent)
{
	char host[HOST_NAME_MAX + 1] = "";

	(void)gethostname(host, sizeof(host) - 1);
	put_element(out, indent, "hostname", *host && xml_can_carry(host) ? host : "unknown");
}

static int finish(FILE *out, char **bytes)
{
	bool bad = ferror(out) != 0;

	/* A stream in memory fails only without memory. */
	if (fclose(out) != 0 || bad) {
		free(*bytes);
		*bytes = NULL;
		return -ENOMEM;
	}
	return 0;
}

/* ASC MHL ------------------------------------------------------------------------------- */

static void put_hashes(FILE *out, const char *indent, const struct list_hash *hashes, size_t count)
{
	static const char *const actions[] = {
		[ACTION_NONE] = NULL,
		[ACTION_ORIGINAL] = "original",
		[ACTION_VERIFIED] = "verified",
		[ACTION_FAILED] = "failed",
	};

	for (size_t format = 0; format < HASH_FORMATS; format++) {
		for (size_t i = 0; i < count; i++) {
			char text[HASH_TEXT_SIZE], date[DATE_SIZE];
			const char *name = hash_name(hashes[i].format);

			if (hashes[i].format != format)
				continue;
			(void)fprintf(out, "%s<%s", indent, name);
			put_attribute(out, "action", actions[hashes[i].action]);
			if (hashes[i].date_ns != NO_TIME)
				put_attribute(out, "hashdate",
					      date_format(hashes[i].date_ns, DATE_MICROS, date));
			hash_text(hashes[i].format, hashes[i].bytes, text);
			(void)fprintf(out, ">%s</%s>\n", text, name);
		}
	}
}

static void put_folder_hashes(FILE *out, const char *indent, const struct list_record *record)
{
	char inner[16];

	(void)snprintf(inner, sizeof(inner), "%s  ", indent);
	(void)fprintf(out, "%s<content>\n", indent);
	put_hashes(out, inner, record->hashes, record->hash_count);
	(void)fprintf(out, "%s</content>\n%s<structure>\n", indent, indent);
	put_hashes(out, inner, record->structure, record->structure_count);
	(void)fprintf(out, "%s</structure>\n", indent);
}

static void put_record(FILE *out, const struct list_record *record)
{
	const char *name = record->folder ? "directoryhash" : "hash";
	char date[DATE_SIZE];

	(void)fprintf(out, "    <%s>\n      <path", name);
	if (record->size >= 0)
		(void)fprintf(out, " size=\"%" PRId64 "\"", record->size);
	if (record->mtime_ns != NO_TIME)
		put_attribute(out, "lastmodificationdate",
			      date_format(record->mtime_ns, DATE_SECONDS, date));
	(void)fputc('>', out);
	xml_put(out, record->path);
	(void)fputs("</path>\n", out);
	if (record->folder)
		put_folder_hashes(out, "      ", record);
	else
		put_hashes(out, "      ", record->hashes, record->hash_count);
	if (record->previous)
		put_element(out, "      ", "previousPath", record->previous);
	(void)fprintf(out, "    </%s>\n", name);
}

static void put_creator(FILE *out, const struct list *list)
{
	const struct list_creator *creator = &list->creator;
	char date[DATE_SIZE];

	(void)fputs("  <creatorinfo>\n", out);
	put_element(out, "    ", "creationdate", date_format(list->created_ns, DATE_SECONDS, date));
	put_host(out, "    ");
	(void)fputs("    <tool version=\"" MEDIAFS_VERSION "\">mediafs</tool>\n", out);
	if (creator->author) {
		(void)fputs("    <author", out);
		put_attribute(out, "email", creator->email);
		(void)fputc('>', out);
		xml_put(out, creator->author);
		(void)fputs("</author>\n", out);
	}
	if (creator->location)
		put_element(out, "    ", "location", creator->location);
	if (creator->comment)
		put_element(out, "    ", "comment", creator->comment);
	(void)fputs("  </creatorinfo>\n", out);
}

static void put_process(FILE *out, const struct list *list)
{
	static const char *const processes[] = {
		[PROCESS_IN_PLACE] = "in-place",
		[PROCESS_TRANSFER] = "transfer",
		[PROCESS_FLATTEN] = "flatten",
	};

	(void)fputs("  <processinfo>\n", out);
	put_element(out, "    ", "process", processes[list->process]);
	if (list->root.hash_count) {
		(void)fputs("    <roothash>\n", out);
		put_folder_hashes(out, "      ", &list->root);
		(void)fputs("    </roothash>\n", out);
	}
	if (list->ignore_count) {
		(void)fputs("    <ignore>\n", out);
		for (size_t i = 0; i < list->ignore_count; i++)
			put_element(out, "      ", "pattern", list->ignore[i]);
		(void)fputs("    </ignore>\n", out);
	}
	(void)fputs("  </processinfo>\n", out);
}

static void put_c4(FILE *out, const char *indent, const char *path, const uint8_t *c4)
{
	char text[HASH_TEXT_SIZE];

	put_element(out, indent, "path", path);
	hash_text(HASH_C4, c4, text);
	put_element(out, indent, "c4", text);
}

static void write_asc(FILE *out, const struct list *list)
{
	(void)fputs("<hashlist version=\"2.0\" xmlns=\"urn:ASC:MHL:v2.0\">\n", out);
	put_creator(out, list);
	put_process(out, list);
	if (list->record_count) {
		(void)fputs("  <hashes>\n", out);
		for (size_t i = 0; i < list->record_count; i++)
			put_record(out, &list->records[i]);
		(void)fputs("  </hashes>\n", out);
	}
	if (list->reference_count) {
		(void)fputs("  <references>\n", out);
		for (size_t i = 0; i < list->reference_count; i++) {
			(void)fputs("    <hashlistreference>\n", out);
			put_c4(out, "      ", list->references[i].path, list->references[i].c4);
			(void)fputs("    </hashlistreference>\n", out);
		}
		(void)fputs("  </references>\n", out);
	}
	(void)fputs("</hashlist>\n", out);
}

/* Legacy MHL ---------------------------------------------------------------------------- */

static void put_user(FILE *out)
{
	char buffer[4096];
	struct passwd entry, *found = NULL;

	if (getpwuid_r(geteuid(), &entry, buffer, sizeof(buffer), &found) != 0 || !found ||
	    !*found->pw_name || !xml_can_carry(found->pw_name))
		put_element(out, "    ", "username", "unknown");
	else
		put_element(out, "    ", "username", found->pw_name);
}

/* In the order in which readers want them: some believe the last one only. */
static void put_legacy_hashes(FILE *out, const struct list_record *record)
{
	static const struct {
		enum hash_format format;
		const char *name;
	} order[] = { { HASH_MD5, "md5" }, { HASH_SHA1, "sha1" }, { HASH_XXH64, "xxhash64be" } };

	for (size_t i = 0; i < ARRAY_SIZE(order); i++) {
		const struct list_hash *hash = list_good_hash(record, order[i].format);
		char text[HASH_TEXT_SIZE];

		if (!hash)
			continue;
		hash_text(hash->format, hash->bytes, text);
		put_element(out, "    ", order[i].name, text);
	}
}

static void write_legacy(FILE *out, const struct list *list)
{
	char date[DATE_SIZE], size[32];
	int64_t hashed_ns;

	(void)fputs("<hashlist version=\"1.1\">\n  <creatorinfo>\n", out);
	if (list->creator.author)
		put_element(out, "    ", "name", list->creator.author);
	put_user(out);
	put_host(out, "    ");
	put_element(out, "    ", "tool", "mediafs " MEDIAFS_VERSION);
	put_element(out, "    ", "startdate", date_format(list->created_ns, DATE_ZULU, date));
	put_element(out, "    ", "finishdate", date_format(realtime_ns(), DATE_ZULU, date));
	(void)fputs("  </creatorinfo>\n", out);
	for (size_t i = 0; i < list->record_count; i++) {
		const struct list_record *record = &list->records[i];

		(void)fputs("  <hash>\n", out);
		put_element(out, "    ", "file", record->path);
		(void)snprintf(size, sizeof(size), "%" PRId64, record->size);
		put_element(out, "    ", "size", size);
		put_element(out, "    ", "lastmodificationdate",
			    date_format(record->mtime_ns, DATE_ZULU, date));
		put_legacy_hashes(out, record);
		hashed_ns = record->hashes[0].date_ns;
		put_element(out, "    ", "hashdate",
			    date_format(hashed_ns == NO_TIME ? list->created_ns : hashed_ns,
					DATE_ZULU, date));
		(void)fputs("  </hash>\n", out);
	}
	(void)fputs("</hashlist>\n", out);
}

int list_write(const struct list *list, char **ret_bytes, size_t *ret_length)
{
	FILE *out = text_open(ret_bytes, ret_length);

	if (!out)
		return -ENOMEM;
	(void)fputs("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n", out);
	if (list->kind == LIST_ASC)
		write_asc(out, list);
	else
		write_legacy(out, list);
	return finish(out, ret_bytes);
}

int chain_write(const struct chain *chain, char **ret_bytes, size_t *ret_length)
{
	FILE *out = text_open(ret_bytes, ret_length);

	if (!out)
		return -ENOMEM;
	(void)fputs("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n"
		    "<ascmhldirectory xmlns=\"urn:ASC:MHL:DIRECTORY:v2.0\">\n",
		    out);
	for (size_t i = 0; i < chain->count; i++) {
		(void)fprintf(out, "  <hashlist sequencenr=\"%zu\">\n", i + 1);
		put_c4(out, "    ", chain->entries[i].path, chain->entries[i].c4);
		(void)fputs("  </hashlist>\n", out);
	}
	(void)fputs("</ascmhldirectory>\n", out);
	return finish(out, ret_bytes);
}
