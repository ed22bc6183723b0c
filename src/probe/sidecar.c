/* SPDX-License-Identifier: Apache-2.0 */
#include "probe/sidecar.h"

#include <errno.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "util/xml.h"
#include "probe/fields.h"
#include "util/timecode.h"

/* What several elements say together. */
struct sidecar {
	json_t *fields; /* borrowed */
	bool known;     /* the root is of a kind that is known */

	/* Sony's timecode, P2's duration. */
	unsigned base;
	bool has_rate;
	int64_t numerator, denominator;
	char timecode[TIMECODE_SIZE];
};

static int add_rate(struct sidecar *sidecar, const char *text)
{
	if (!text || sidecar->has_rate)
		return 0;
	sidecar->has_rate = field_parse_rate(text, &sidecar->numerator, &sidecar->denominator);
	if (sidecar->has_rate)
		field_rate(sidecar->fields, sidecar->numerator, sidecar->denominator);
	return 0;
}

static void add_number(json_t *fields, const char *key, const char *text)
{
	if (text)
		field_number(fields, key, strtoll(text, NULL, 10));
}

/* iXML. Source: iXML specification 3.0, "Object Details". */
static int take_ixml(struct sidecar *sidecar, const struct xml_element *element)
{
	static const char *const texts[][2] = {
		{ "BWFXML/PROJECT", "project" }, { "BWFXML/SCENE", "scene" },
		{ "BWFXML/TAKE", "take" },       { "BWFXML/TAPE", "reel" },
		{ "BWFXML/NOTE", "note" },
	};

	if (!element->text)
		return 0;
	for (size_t i = 0; i < ARRAY_SIZE(texts); i++) {
		if (strcmp(element->path, texts[i][0]) == 0)
			field_text(sidecar->fields, texts[i][1], element->text);
	}
	if (strcmp(element->path, "BWFXML/CIRCLED") == 0 && strcasecmp(element->text, "TRUE") == 0)
		(void)json_object_set_new(sidecar->fields, "circled", json_true());
	if (strcmp(element->path, "BWFXML/SPEED/TIMECODE_RATE") == 0)
		return add_rate(sidecar, element->text);
	if (strcmp(element->path, "BWFXML/SPEED/TIMECODE_FLAG") == 0 &&
	    strcasecmp(element->text, "DF") == 0)
		(void)json_object_set_new(sidecar->fields, SIDECAR_DROP, json_true());
	if (strcmp(element->path, "BWFXML/TRACK_LIST/TRACK/NAME") == 0)
		field_track(sidecar->fields, element->text);
	return 0;
}

/*
 * Sony's LtcChange: eight hexadecimal digits, BCD, frame first, then second, minute, hour; 0x40 in
 * the frame says drop frame (the bits above the tens are flags). Source: two clips of ILCE cameras,
 * whose Duration agrees with the difference of their first and last LtcChange in this order only.
 */
static void take_ltc(struct sidecar *sidecar, const char *text)
{
	char *end;
	unsigned long value = strtoul(text, &end, 16);

	/* Older ones write it out. */
	if (strlen(text) == 11)
		memcpy(sidecar->timecode, text, 12);
	if (strlen(text) != 8 || *end)
		return;
	(void)snprintf(sidecar->timecode, sizeof(sidecar->timecode), "%02lx:%02lx:%02lx%c%02lx",
		       value & 0x3f, value >> 8 & 0x7f, value >> 16 & 0x7f,
		       value & 0x40000000 ? ';' : ':', value >> 24 & 0x3f);
}

static void take_sony_frame(struct sidecar *sidecar, const struct xml_element *element)
{
	const char *codec = xml_attribute(element, "videoCodec");

	field_text(sidecar->fields, "codec", codec);
	(void)add_rate(sidecar, xml_attribute(element, "formatFps"));
}

static void take_sony_layout(struct sidecar *sidecar, const struct xml_element *element)
{
	add_number(sidecar->fields, "width", xml_attribute(element, "pixel"));
	add_number(sidecar->fields, "height", xml_attribute(element, "numOfVerticalLine"));
}

static void take_device(struct sidecar *sidecar, const struct xml_element *element)
{
	const char *maker = xml_attribute(element, "manufacturer");
	const char *model = xml_attribute(element, "modelName");
	const char *serial = xml_attribute(element, "serialNo");
	char text[FIELD_TEXT_MAX + 1];

	if (!model)
		return;
	(void)snprintf(text, sizeof(text), "%s %s%s%s%s", maker ? maker : "", model,
		       serial ? " (" : "", serial ? serial : "", serial ? ")" : "");
	field_text(sidecar->fields, "camera", text);
}

static int take_sony(struct sidecar *sidecar, const struct xml_element *element)
{
	const char *name = strchr(element->path, '/');
	const char *value = xml_attribute(element, "value");

	if (element->text || !name)
		return 0;
	name++;
	if (strcmp(name, "Duration") == 0)
		add_number(sidecar->fields, "frames", value);
	else if (strcmp(name, "CreationDate") == 0)
		field_text(sidecar->fields, "date", value);
	else if (strcmp(name, "LtcChangeTable") == 0 && xml_attribute(element, "tcFps"))
		sidecar->base = (unsigned)strtoul(xml_attribute(element, "tcFps"), NULL, 10);
	else if (strcmp(name, "LtcChangeTable/LtcChange") == 0 && value && !*sidecar->timecode)
		take_ltc(sidecar, value);
	else if (strcmp(name, "VideoFormat/VideoFrame") == 0)
		take_sony_frame(sidecar, element);
	else if (strcmp(name, "VideoFormat/VideoLayout") == 0)
		take_sony_layout(sidecar, element);
	else if (strcmp(name, "Device") == 0)
		take_device(sidecar, element);
	else if (strcmp(name, "AcquisitionRecord/Group/Item") == 0 &&
		 xml_attribute(element, "name") &&
		 strcmp(xml_attribute(element, "name"), "CaptureGammaEquation") == 0)
		field_text(sidecar->fields, "gamma", value);
	return 0;
}

/* P2's clip. Source: the elements' names as Panasonic's cameras write them. */
static int take_p2(struct sidecar *sidecar, const struct xml_element *element)
{
	static const struct {
		const char *path, *key;
	} texts[] = {
		{ "ClipMetadata/Scene/SceneNo", "scene" },
		{ "ClipMetadata/Scene/SceneNo.", "scene" },
		{ "ClipMetadata/Scene/TakeNo", "take" },
		{ "ClipMetadata/Scene/TakeNo.", "take" },
		{ "ClipMetadata/Scene/ProgramName", "project" },
		{ "ClipMetadata/Device/ModelName", "camera" },
		{ "ClipMetadata/Shoot/StartDate", "date" },
		{ "EssenceList/Video/Codec", "codec" },
	};
	static const char top[] = "P2Main/ClipContent/";
	const char *name = element->path;

	if (!element->text || strncmp(name, top, strlen(top)) != 0)
		return 0;
	name += strlen(top);
	for (size_t i = 0; i < ARRAY_SIZE(texts); i++) {
		if (strcmp(name, texts[i].path) == 0)
			field_text(sidecar->fields, texts[i].key, element->text);
	}
	if (strcmp(name, "Duration") == 0)
		add_number(sidecar->fields, "frames", element->text);
	if (strcmp(name, "EssenceList/Video/FrameRate") == 0)
		return add_rate(sidecar, element->text);
	if (strcmp(name, "EssenceList/Video/StartTimecode") == 0 && strlen(element->text) == 11)
		memcpy(sidecar->timecode, element->text, 12);
	return 0;
}

static int take(void *arg, const struct xml_element *element)
{
	static const struct {
		const char *root;
		int (*take)(struct sidecar *sidecar, const struct xml_element *element);
	} kinds[] = {
		{ "BWFXML", take_ixml },
		{ "NonRealTimeMeta", take_sony },
		{ "P2Main", take_p2 },
	};
	size_t root = strcspn(element->path, "/");

	for (size_t i = 0; i < ARRAY_SIZE(kinds); i++) {
		if (strlen(kinds[i].root) == root &&
		    strncmp(element->path, kinds[i].root, root) == 0) {
			((struct sidecar *)arg)->known = true;
			return kinds[i].take(arg, element);
		}
	}
	return -ENOENT;
}

int sidecar_read(const void *bytes, size_t length, json_t *fields)
{
	struct sidecar sidecar = { .fields = fields };
	struct timecode timecode;
	unsigned long line;
	unsigned base;
	int r;

	r = length > SIDECAR_MAX_BYTES ? -EPROTO : xml_read(bytes, length, take, &sidecar, &line);
	base = sidecar.has_rate ? timecode_base(sidecar.numerator, sidecar.denominator) : 0;
	if (!sidecar.base)
		sidecar.base = base;
	if (*sidecar.timecode && timecode_parse(sidecar.timecode, sidecar.base, &timecode) == 0) {
		field_text(fields, "timecode", sidecar.timecode);
		if (sidecar.base != base)
			field_number(fields, "timecode_base", sidecar.base);
	}
	if (r == 0 && !sidecar.known)
		r = -ENOENT;
	return r;
}
