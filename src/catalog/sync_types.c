/* SPDX-License-Identifier: Apache-2.0 */
#include <stdlib.h>

#include "catalog/sync.h"

void version_body_fini(struct version_body *body)
{
	blockmap_fini(&body->map);
	free(body->target);
	free(body->key);
	*body = (struct version_body){ 0 };
}

void sync_record_fini(struct sync_record *record)
{
	free(record->path);
	version_body_fini(&record->body);
	free(record->base);
	*record = (struct sync_record){ 0 };
}

void version_row_fini(struct version_row *row)
{
	free(row->path);
	free(row->shown);
	version_body_fini(&row->body);
	*row = (struct version_row){ 0 };
}

void version_rows_free(struct version_row *rows, size_t count)
{
	for (size_t i = 0; rows && i < count; i++)
		version_row_fini(&rows[i]);
	free(rows);
}

void sync_notes_free(struct sync_note *notes, size_t count)
{
	for (size_t i = 0; notes && i < count; i++)
		free(notes[i].path);
	free(notes);
}
