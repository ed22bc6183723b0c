/* SPDX-License-Identifier: Apache-2.0 */
/* One page that needs nothing from outside: screen, dark screen, paper. */
#include <inttypes.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "cli/report.h"
#include "util/cleanup.h"
#include "util/units.h"

static const char head[] =
	"<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n"
	"<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; "
	"style-src 'unsafe-inline'\">\n"
	"<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n"
	"<meta name=\"color-scheme\" content=\"light dark\">\n"
	"<title>mediafs report</title>\n<style>\n"
	":root{--back:#fff;--text:#1a1a1a;--dim:#595959;--line:#d0d0d0;--head:#f1f2f4;"
	"--good:#11632e;--bad:#a40000;--busy:#7a4a00}\n"
	"@media screen and (prefers-color-scheme:dark){:root{--back:#16181b;--text:#e8e8e8;"
	"--dim:#a8adb3;--line:#3b3f45;--head:#24272c;--good:#7fd39b;--bad:#ff8f8f;--busy:#f0b765}}"
	"\n"
	"*{box-sizing:border-box}\n"
	"body{margin:0 "
	"auto;padding:1.5rem;max-width:110rem;background:var(--back);color:var(--text);"
	"font:14px/1.45 system-ui,sans-serif}\n"
	"h1{font-size:1.6rem;margin:0 0 .3rem}\nh2{font-size:1.25rem;margin:2.2rem 0 .4rem;"
	"padding-top:.6rem;border-top:2px solid var(--text)}\n"
	"h3{font-size:1rem;margin:1.1rem 0 .3rem}\np{margin:.3rem 0}\nul{margin:.2rem "
	"0;padding-left:1.3rem}\n"
	".dim{color:var(--dim)}\n.good{color:var(--good)}\n.bad{color:var(--bad)}\n.busy{color:var("
	"--busy)}\n"
	".verdict{font-weight:700;font-size:1.1rem}\n"
	".code{font:600 .75em monospace;border:1px solid "
	"var(--bad);border-radius:3px;color:var(--bad);"
	"padding:0 .2em}\n"
	".wide{overflow-x:auto}\n"
	"table{border-collapse:collapse;width:100%;font-size:.86rem}\n"
	"th,td{text-align:left;vertical-align:top;padding:.2rem .5rem;border-bottom:1px solid "
	"var(--line)}\n"
	"th{background:var(--head);font-weight:600;white-space:nowrap}\n"
	"td.n,th.n{text-align:right}\n"
	"td.n,td.t{font-variant-numeric:tabular-nums;white-space:nowrap}\n"
	"td.name{overflow-wrap:anywhere;min-width:11rem}\n"
	"td.hash{font:.78rem monospace;overflow-wrap:anywhere;min-width:9rem}\n"
	"@page{size:A4 landscape;margin:12mm}\n"
	"@media print{body{padding:0;max-width:none;font-size:9pt}.wide{overflow:visible}"
	"table{font-size:7pt}td.hash{font-size:6pt}thead{display:table-header-group}"
	"tr{break-inside:avoid}h2,h3{break-after:avoid}th,td{padding:.1rem .25rem}"
	"td.name{min-width:6rem}td.hash{min-width:5rem}}\n"
	"</style>\n</head>\n<body>\n";

static void put_name(FILE *out, const json_t *value)
{
	cleanup_free char *text = report_text(value);

	/* Its direction is its own business. */
	(void)fputs("<bdi>", out);
	report_put_html(out, text ? text : "?");
	(void)fputs("</bdi>", out);
}

/* What the file itself says. */
static void put_cell(FILE *out, const char *class, const char *text)
{
	(void)fprintf(out, "<td class=\"%s\"><bdi>", class);
	report_put_html(out, text ? text : "");
	(void)fputs("</bdi></td>", out);
}

/* What the file says; of two on one card, else what its name says. */
static void put_reel(FILE *out, const json_t *clip)
{
	const char *reel = json_string_or(json_object_get(clip, "meta"), "reel", "");
	const json_t *own = json_object_get(clip, "reel");
	cleanup_free char *text = *reel || json_is_null(own) ? NULL : report_text(own);

	put_cell(out, "", text ? text : reel);
}

static const char *bytes_text(const json_t *object, const char *key, char buffer[32])
{
	return format_bytes((uint64_t)json_int_or(object, key, 0), buffer, 32);
}

static double seconds_of(const json_t *clip)
{
	return json_real_value(json_object_get(json_object_get(clip, "meta"), "seconds"));
}

/* "1:02:03" */
static char *length_text(double seconds, char buffer[32])
{
	uint64_t whole = seconds > 0 && seconds < 1e9 ? (uint64_t)(seconds + 0.5) : 0;

	(void)snprintf(buffer, 32, "%" PRIu64 ":%02u:%02u", whole / 3600,
		       (unsigned)(whole / 60 % 60), (unsigned)(whole % 60));
	return buffer;
}

/* Days -------------------------------------------------------------------------------------- */

struct day {
	char name[32];
	uint64_t cards, clips, bytes, files, verified, stored;
	double seconds;
};

static void add_card(struct day *day, const json_t *card)
{
	const json_t *clip;
	size_t i;

	day->cards++;
	day->clips += (uint64_t)json_int_or(card, "clip_count", 0);
	day->bytes += (uint64_t)json_int_or(card, "bytes", 0);
	day->files += (uint64_t)json_int_or(card, "total_files", 0);
	day->verified += (uint64_t)json_int_or(card, "verified", 0);
	day->stored += (uint64_t)json_int_or(card, "stored", 0);
	json_array_foreach(json_object_get(card, "clips"), i, clip)
	{
		day->seconds += seconds_of(clip);
	}
}

static void put_day(FILE *out, const struct day *day, uint64_t running)
{
	char size[32], sum[32], length[32];

	(void)fprintf(out,
		      "<tr><td>%s</td><td class=\"n\">%" PRIu64 "</td><td class=\"n\">%" PRIu64
		      "</td><td class=\"n\">%s</td><td class=\"n\">%s</td><td class=\"n\">%s</td>"
		      "<td class=\"n\">%" PRIu64 " / %" PRIu64 "</td><td class=\"n\">%" PRIu64
		      " / %" PRIu64 "</td></tr>\n",
		      *day->name ? day->name : "no date", day->cards, day->clips,
		      length_text(day->seconds, length),
		      format_bytes(day->bytes, size, sizeof(size)),
		      format_bytes(running, sum, sizeof(sum)), day->verified, day->files,
		      day->stored, day->files);
}

static int compare_days(const void *a, const void *b)
{
	return strcmp(((const struct day *)a)->name, ((const struct day *)b)->name);
}

static void put_days(const struct report *report, FILE *out)
{
	size_t count = 0, i, j;
	cleanup_free struct day *days = calloc(json_array_size(report->cards) + 1, sizeof(*days));
	uint64_t running = 0;
	const json_t *card;

	json_array_foreach(report->cards, i, card)
	{
		char buffer[32];
		const char *name = report_day(card, buffer);

		for (j = 0; days && j < count && strcmp(days[j].name, name) != 0; j++)
			;
		if (!days)
			return;
		if (j == count)
			(void)snprintf(days[count++].name, sizeof(days->name), "%s", name);
		add_card(&days[j], card);
	}
	if (count > 1)
		qsort(days, count, sizeof(*days), compare_days);
	(void)fputs(
		"<h2>Days</h2>\n<p class=\"dim\">By the time of the oldest media file of each "
		"card.</p>\n<div class=\"wide\"><table><thead><tr><th>Day</th><th class=\"n\">Cards"
		"</th><th class=\"n\">Clips</th><th class=\"n\">Length known</th><th "
		"class=\"n\">Size"
		"</th><th class=\"n\">Total so far</th><th class=\"n\">Files verified</th>"
		"<th class=\"n\">Files stored</th></tr></thead><tbody>\n",
		out);
	for (i = 0; i < count; i++) {
		running += days[i].bytes;
		put_day(out, &days[i], running);
	}
	(void)fputs("</tbody></table></div>\n", out);
}

/* A card ------------------------------------------------------------------------------------ */

static void put_source(FILE *out, const json_t *card)
{
	const json_t *families = json_object_get(card, "families"), *family;
	const char *camera = json_string_or(card, "camera", NULL);
	int64_t clips = json_int_or(card, "clip_count", 0), files = json_int_or(card, "files", 0);
	char size[32];
	size_t i;

	(void)fputs("<p>Source: folder ", out);
	put_name(out, json_object_get(card, "path"));
	json_array_foreach(families, i, family)
	{
		(void)fputs(", ", out);
		put_name(out, json_object_get(family, "title"));
	}
	if (camera) {
		(void)fputs(", camera ", out);
		report_put_html(out, camera);
	}
	(void)fprintf(out, ". %" PRId64 " clip%s, %" PRId64 " file%s, %s", clips,
		      clips == 1 ? "" : "s", files, files == 1 ? "" : "s",
		      bytes_text(card, "bytes", size));
	if (json_int_or(card, "junk_files", 0))
		(void)fprintf(out, "; %" PRId64 " files that computers left on it",
			      json_int_or(card, "junk_files", 0));
	if (json_int_or(card, "other_files", 0))
		(void)fprintf(out, "; %" PRId64 " files that no rule knows",
			      json_int_or(card, "other_files", 0));
	(void)fputs(".</p>\n", out);
}

static void put_verdict(const struct report *report, FILE *out, const json_t *card)
{
	struct reasons reasons;
	enum report_verdict verdict = report_reasons(report, card, &reasons);

	(void)fprintf(out, "<p class=\"verdict %s\">%s</p>\n",
		      verdict == REPORT_UNCHECKED ? "busy" : "bad", report_verdicts[verdict]);
	(void)fputs("<ul>", out);
	for (size_t i = 0; i < reasons.count; i++) {
		(void)fputs("<li>", out);
		report_put_html(out, reasons.list[i]);
		(void)fputs("</li>", out);
	}
	(void)fputs("<li>The card itself was not looked at for this report: whether all that is on "
		    "it was "
		    "copied, only <b>mediafs safe</b> with the card can say.</li></ul>\n",
		    out);
	reasons_fini(&reasons);
}

static void put_time(FILE *out, int64_t ns)
{
	char text[32];

	(void)fprintf(out, "<td class=\"t\">%s</td>",
		      ns > 0 ? format_time(ns, text, sizeof(text)) : "");
}

static void put_copies(const struct report *report, FILE *out, const json_t *card)
{
	const json_t *list = json_object_get(card, "copies"), *copy;
	int64_t total = json_int_or(card, "total_files", 0);
	size_t i;

	(void)fputs("<h3>Copies</h3>\n<div class=\"wide\"><table><thead><tr><th>Where</th>"
		    "<th class=\"n\">Files</th><th>How it is known</th><th>Newest</th>"
		    "<th>Oldest check</th></tr></thead><tbody>\n<tr><td>this site (",
		    out);
	report_put_html(out, report->site);
	(void)fprintf(out,
		      ")</td><td class=\"n\">%" PRId64 " / %" PRId64
		      "</td><td>XXH3-128 of what arrived, read back past the cache</td><td></td>",
		      json_int_or(card, "verified", 0), total);
	put_time(out, json_int_or(card, "checked_ns", 0));
	(void)fputs("</tr>\n", out);
	json_array_foreach(list, i, copy)
	{
		cleanup_free char *url = report_text(json_object_get(copy, "url"));
		bool bucket = url && strncmp(url, "s3:", 3) == 0;

		(void)fputs("<tr><td class=\"name\">tier ", out);
		put_name(out, json_object_get(copy, "tier"));
		(void)fprintf(out, "</td><td class=\"n\">%" PRId64 " / %" PRId64 "</td><td>%s",
			      json_int_or(copy, "files", 0), total,
			      bucket ? "the server confirmed a checksum over the same bytes"
				     : "read back there, the same XXH3-128");
		if (json_int_or(copy, "bad", 0))
			(void)fprintf(out, "; <b class=\"bad\">%" PRId64 " damaged or missing</b>",
				      json_int_or(copy, "bad", 0));
		(void)fputs("</td>", out);
		put_time(out, json_int_or(copy, "confirmed_ns", 0));
		put_time(out, json_int_or(copy, "checked_ns", 0));
		(void)fputs("</tr>\n", out);
	}
	(void)fputs("</tbody></table></div>\n", out);
}

/* A list with a heading, of @name with what @more says; nothing when it is empty. */
static void put_list(FILE *out, const char *heading, const json_t *list, const char *name,
		     const char *more)
{
	const json_t *item;
	size_t i;

	if (!json_array_size(list))
		return;
	(void)fprintf(out, "<h3>%s</h3>\n<ul>", heading);
	json_array_foreach(list, i, item)
	{
		(void)fputs("<li>", out);
		put_name(out, json_object_get(item, name));
		if (more && json_string_value(json_object_get(item, more))) {
			(void)fputs(": ", out);
			put_name(out, json_object_get(item, more));
		}
		(void)fputs("</li>", out);
	}
	(void)fputs("</ul>\n", out);
}

static void put_sound(FILE *out, const json_t *meta)
{
	const json_t *tracks = json_object_get(meta, "tracks"), *track;
	int64_t channels = json_int_or(meta, "audio_channels", 0);
	size_t i;

	(void)fputs("<td class=\"name\">", out);
	if (channels)
		(void)fprintf(out, "%" PRId64 " ch", channels);
	json_array_foreach(tracks, i, track)
	{
		(void)fputs(i ? ", " : ": ", out);
		(void)fputs("<bdi>", out);
		report_put_html(out, json_string_value(track));
		(void)fputs("</bdi>", out);
	}
	(void)fputs("</td>", out);
}

static void put_picture(FILE *out, const json_t *meta)
{
	int64_t width = json_int_or(meta, "width", 0), height = json_int_or(meta, "height", 0);
	char size[48] = "";

	if (width && height)
		(void)snprintf(size, sizeof(size), "%" PRId64 "\xc3\x97%" PRId64, width, height);
	put_cell(out, "n", json_string_or(meta, "rate", ""));
	put_cell(out, "t", size);
	put_cell(out, "", json_string_or(meta, "codec", ""));
}

static void put_scene(FILE *out, const json_t *meta)
{
	const char *scene = json_string_or(meta, "scene", ""),
		   *take = json_string_or(meta, "take", "");

	(void)fputs("<td><bdi>", out);
	report_put_html(out, scene);
	if (*take) {
		(void)fputs(" / ", out);
		report_put_html(out, take);
	}
	(void)fprintf(out, "</bdi>%s</td>",
		      json_is_true(json_object_get(meta, "circled")) ? " \xe2\x97\x8f" : "");
}

static void put_clip(const struct report *report, FILE *out, const json_t *clip)
{
	const json_t *meta = json_object_get(clip, "meta");
	int64_t files = json_int_or(clip, "files", 0), damaged = json_int_or(clip, "damaged", 0);
	int64_t verified = json_int_or(clip, "verified", 0),
		copies = json_int_or(clip, "copies", 0);
	const char *error = json_string_or(meta, "error", NULL);
	char size[32];

	(void)fputs("<tr><td class=\"name\">", out);
	put_name(out, json_object_get(clip, "name"));
	if (error) {
		(void)fputs("<br><span class=\"dim\">not known: ", out);
		report_put_html(out, error);
		(void)fputs("</span>", out);
	}
	(void)fputs("</td>", out);
	put_cell(out, "t", json_string_or(meta, "timecode", ""));
	put_cell(out, "t", json_string_or(meta, "end", ""));
	put_cell(out, "t", json_string_or(meta, "duration", ""));
	put_picture(out, meta);
	put_sound(out, meta);
	put_reel(out, clip);
	put_scene(out, meta);
	(void)fprintf(out, "<td class=\"n\">%s</td><td class=\"n\">%" PRId64 "</td>",
		      bytes_text(clip, "bytes", size), files);
	put_cell(out, "hash", json_string_or(clip, "digest", ""));
	if (damaged)
		(void)fprintf(out, "<td class=\"bad\">%" PRId64 " damaged</td>", damaged);
	else if (verified < files)
		(void)fprintf(out, "<td class=\"busy\">%" PRId64 " / %" PRId64 " verified</td>",
			      verified, files);
	else
		(void)fputs("<td class=\"good\">verified</td>", out);
	(void)fprintf(out, "<td class=\"n %s\">%" PRId64 " / %" PRId64 "</td></tr>\n",
		      copies < report->tiers || !report->tiers ? "busy" : "good", copies,
		      report->tiers);
}

static void put_clips(const struct report *report, FILE *out, const json_t *card)
{
	static const char *const columns[] = { "Clip",     "Start",        "End",     "Duration",
					       "fps",      "Picture",      "Codec",   "Sound",
					       "Reel",     "Scene / take", "Size",    "Files",
					       "XXH3-128", "State",        "In tiers" };
	const json_t *clips = json_object_get(card, "clips"), *clip;
	size_t i;

	if (!json_array_size(clips))
		return;
	(void)fputs("<h3>Clips</h3>\n<div class=\"wide\"><table><thead><tr>", out);
	for (i = 0; i < ARRAY_SIZE(columns); i++)
		(void)fprintf(out, "<th>%s</th>", columns[i]);
	(void)fputs("</tr></thead><tbody>\n", out);
	json_array_foreach(clips, i, clip)
	{
		put_clip(report, out, clip);
	}
	(void)fputs("</tbody></table></div>\n", out);
}

static void put_card(const struct report *report, FILE *out, const json_t *card)
{
	const json_t *reel = json_object_get(card, "reel");
	const json_t *same = json_object_get(card, "same_reel");
	char day[32];

	(void)fputs("<section>\n<h2>", out);
	put_name(out, json_is_string(reel) ? reel : json_object_get(card, "path"));
	(void)fprintf(out, " <span class=\"dim\">%s</span></h2>\n", report_day(card, day));
	put_verdict(report, out, card);
	put_source(out, card);
	put_copies(report, out, card);
	put_list(out, "Manifests", json_object_get(card, "manifests"), "path", "digest");
	put_list(out, "Damaged files", json_object_get(card, "errors"), "path", "error");
	put_list(out, "Warnings", json_object_get(card, "warnings"), "text", NULL);
	if (json_int_or(card, "warnings_more", 0))
		(void)fprintf(out, "<p>and %" PRId64 " more</p>\n",
			      json_int_or(card, "warnings_more", 0));
	if (json_is_string(same)) {
		(void)fputs("<p class=\"busy\">The same reel is also at ", out);
		put_name(out, same);
		if (json_int_or(card, "other_bytes", 0)) {
			(void)fprintf(out, ", with other bytes in %" PRId64 " files: ",
				      json_int_or(card, "other_bytes", 0));
			put_name(out, json_object_get(card, "other_bytes_path"));
		}
		(void)fputs(".</p>\n", out);
	}
	put_clips(report, out, card);
	(void)fputs("</section>\n", out);
}

void report_write_html(const struct report *report, FILE *out)
{
	cleanup_free char *missing = report_missing_reels(report->cards);
	char host[256] = "", when[32];
	time_t now = (time_t)(report->now_ns / 1000000000);
	struct tm local;
	const json_t *card;
	size_t i;

	(void)fputs(head, out);
	(void)fputs("<h1>Media report</h1>\n<p>", out);
	report_put_html(out, *report->path ? report->path : "The whole volume");
	(void)fputs(" at site ", out);
	report_put_html(out, report->site);
	if (gethostname(host, sizeof(host) - 1) == 0 && *host) {
		(void)fputs(" on ", out);
		report_put_html(out, host);
	}
	(void)fprintf(out, ", %s %s, mediafs " MEDIAFS_VERSION ".</p>\n",
		      format_time(report->now_ns, when, sizeof(when)),
		      localtime_r(&now, &local) ? local.tm_zone : "");
	if (*report->no_meta) {
		(void)fputs("<p class=\"busy\">What the clips say of themselves is missing: ", out);
		report_put_html(out, report->no_meta);
		(void)fputs(".</p>\n", out);
	}
	if (missing && *missing) {
		(void)fputs("<p class=\"bad\"><b>Missing reels:</b> ", out);
		report_put_html(out, missing);
		(void)fputs("</p>\n", out);
	}
	put_days(report, out);
	json_array_foreach(report->cards, i, card)
	{
		put_card(report, out, card);
	}
	(void)fputs("</body>\n</html>\n", out);
}
