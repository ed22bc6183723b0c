/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/findings.h"

#include <stdio.h>

#include "cli/cli.h"
#include "util/cleanup.h"

static json_t *finding_json(const struct finding *finding)
{
	json_t *object = json_pack("{s:s,s:o}", "problem", finding_name(finding->kind), "path",
				   json_path(finding->path));

	if (object && finding->detail)
		(void)json_object_set_new(object, "detail", json_path(finding->detail));
	if (object && finding->format) {
		(void)json_object_set_new(object, "format", json_string(finding->format));
		(void)json_object_set_new(object, "recorded", json_string(finding->recorded));
		(void)json_object_set_new(object, "actual", json_string(finding->actual));
	}
	return object;
}

json_t *findings_json(const struct verdict *verdict)
{
	json_t *list = json_array();

	for (size_t i = 0; i < verdict->count; i++)
		(void)json_array_append_new(list, finding_json(&verdict->findings[i]));
	return list;
}

static enum paint colour_of(enum finding_kind kind)
{
	switch (kind) {
	case FINDING_RENAMED:
	case FINDING_ODD:
	case FINDING_NOTE:
		return PAINT_DIM;
	case FINDING_NEW:
		return PAINT_BUSY;
	default:
		return PAINT_BAD;
	}
}

static void print_finding(const struct finding *finding)
{
	cleanup_free char *path = printable(finding->path);
	cleanup_free char *detail = finding->detail ? printable(finding->detail) : NULL;

	(void)printf("%s%-10s%s  %s", paint(colour_of(finding->kind)), finding_name(finding->kind),
		     paint(PAINT_NONE), path ? path : "?");
	if (finding->format)
		(void)printf("  [%s %s recorded, %s now]", finding->format, finding->recorded,
			     finding->actual);
	else if (detail)
		(void)printf("  [%s]", detail);
	(void)putchar('\n');
}

void findings_print(const struct verdict *verdict, size_t max)
{
	for (size_t i = 0; i < verdict->count && i < max; i++)
		print_finding(&verdict->findings[i]);
	if (verdict->count > max)
		(void)printf("and %zu more (--json names all)\n", verdict->count - max);
}
