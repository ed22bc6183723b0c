/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "control/report.h"
#include "util/text.h"

/*
 * Metrics in the text format of Prometheus: # HELP, # TYPE, samples; one volume a store.
 * Source: prometheus.io, "Exposition formats", text format 0.0.4.
 */
static void gauge(FILE *out, const char *name, const char *help, uint64_t value)
{
	(void)fprintf(out,
		      "# HELP mediafs_%s %s\n# TYPE mediafs_%s gauge\nmediafs_%s %" PRIu64 "\n",
		      name, help, name, name, value);
}

static void by_state(FILE *out, const char *name, const char *help, const uint64_t *values)
{
	(void)fprintf(out, "# HELP mediafs_%s %s\n# TYPE mediafs_%s gauge\n", name, help, name);
	for (int state = 1; state < FILE_STATE_COUNT; state++)
		(void)fprintf(out, "mediafs_%s{state=\"%s\"} %" PRIu64 "\n", name,
			      file_state_name(state), values[state]);
}

static void by_tier(FILE *out, const struct volume *volume)
{
	const struct transfer_tier *used;

	(void)fprintf(out, "# HELP mediafs_parallel_parts Parts of large files that may be on "
			   "their way at a time.\n# TYPE mediafs_parallel_parts gauge\n");
	for (size_t i = 0; (used = volume_tier(volume, i)) != NULL; i++) {
		unsigned parallel = tier_parallel(used->tier);

		if (parallel)
			(void)fprintf(out, "mediafs_parallel_parts{tier=\"%s\"} %u\n",
				      used->tier->name, parallel);
	}
}

static void print_metrics(FILE *out, const struct request *request,
			  const struct volume_status *status)
{
	const struct transfer_status *transfer = &status->transfer;

	(void)fprintf(out,
		      "# HELP mediafs_info Version and identity.\n# TYPE mediafs_info gauge\n"
		      "mediafs_info{version=\"%s\",site=\"%s\",volume=\"%s\"} 1\n",
		      MEDIAFS_VERSION, request->source->store->site_uuid,
		      request->source->store->volume_uuid);
	gauge(out, "mounted", "1 while the volume is mounted.", request->source->volume != NULL);
	by_state(out, "files", "Files by state.", status->totals.files);
	by_state(out, "bytes", "Bytes of files by state.", status->totals.bytes);
	gauge(out, "resident_bytes", "Bytes here of files that are partly here.",
	      status->totals.resident_bytes);
	gauge(out, "queue_files", "Files waiting for a tier.", status->queue.files);
	gauge(out, "queue_bytes", "Bytes waiting for a tier.", status->queue.bytes);
	gauge(out, "queue_poison_files", "Files set aside: they failed again and again.",
	      status->queue.poison);
	gauge(out, "disk_free_bytes", "Free on the store's file system.", status->disk_free);
	gauge(out, "disk_total_bytes", "Size of the store's file system.", status->disk_total);
	gauge(out, "conflicts", "Files that two sites changed.", status->conflicts);
	gauge(out, "catalog_failed", "1 when the catalog cannot be written.",
	      status->catalog.error != 0);
	if (!request->source->volume)
		return;
	gauge(out, "receiving_bytes_per_second", "Bytes arriving.", status->receiving_rate);
	gauge(out, "verify_backlog_files", "Files waiting for read-back.", status->verify_backlog);
	gauge(out, "verify_bytes_per_second", "Bytes read back.", status->verify_rate);
	gauge(out, "verify_aside", "1 while read-back waits as the disk is behind.",
	      status->verify_aside);
	gauge(out, "upload_bytes_per_second", "Bytes sent.", transfer->rate);
	gauge(out, "uploaded_bytes", "Bytes sent since the mount.", transfer->sent_total);
	gauge(out, "paused", "1 while sending is paused.", transfer->paused);
	gauge(out, "tier_down", "1 while a tier cannot be reached.", transfer->tier_down);
	gauge(out, "unpublished", "Changes not yet told to other sites.", status->pending_publish);
	by_tier(out, request->source->volume);
}

int request_metrics(struct request *request)
{
	struct volume_status status;
	char *text = NULL;
	size_t length;
	FILE *out;
	int r;

	r = report_volume(request, &status);
	if (r < 0)
		return r;
	out = text_open(&text, &length);
	if (!out)
		return -ENOMEM;
	print_metrics(out, request, &status);
	r = fclose(out) == 0 ? request_add(request, "text", json_stringn(text, length)) : -ENOMEM;
	free(text);
	return r;
}
