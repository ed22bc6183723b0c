/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <sndfile.h>
#include <stdlib.h>
#include <string.h>

#include "probe/fields.h"
#include "probe/look.h"
#include "probe/sidecar.h"
#include "util/timecode.h"

static sf_count_t get_length(void *arg)
{
	return (sf_count_t)((struct source *)arg)->size;
}

static sf_count_t seek(sf_count_t offset, int whence, void *arg)
{
	return source_seek(arg, offset, whence);
}

static sf_count_t read_bytes(void *buffer, sf_count_t count, void *arg)
{
	ssize_t n = count > 0 ? source_read(arg, buffer, (size_t)count) : 0;

	return n > 0 ? n : 0;
}

static sf_count_t write_nothing(const void *buffer, sf_count_t count, void *arg)
{
	(void)buffer, (void)count, (void)arg;
	return 0;
}

static sf_count_t tell(void *arg)
{
	return (sf_count_t)((struct source *)arg)->position;
}

static int bits_of(int format)
{
	switch (format & SF_FORMAT_SUBMASK) {
	case SF_FORMAT_PCM_S8:
	case SF_FORMAT_PCM_U8:
		return 8;
	case SF_FORMAT_PCM_16:
		return 16;
	case SF_FORMAT_PCM_24:
		return 24;
	case SF_FORMAT_PCM_32:
	case SF_FORMAT_FLOAT:
		return 32;
	default:
		return 0;
	}
}

/* A text of fixed size, with or without its end. */
static void add_fixed(json_t *fields, const char *key, const char *text, size_t size)
{
	char copy[257];

	if (size >= sizeof(copy))
		size = sizeof(copy) - 1;
	memcpy(copy, text, size);
	copy[size] = '\0';
	field_text(fields, key, copy);
}

static int read_ixml(SNDFILE *file, json_t *fields)
{
	SF_CHUNK_INFO chunk = { .id = "iXML", .id_size = 4 };
	SF_CHUNK_ITERATOR *iterator = sf_get_chunk_iterator(file, &chunk);
	cleanup_free char *bytes = NULL;
	size_t length;

	if (!iterator || sf_get_chunk_size(iterator, &chunk) != SF_ERR_NO_ERROR ||
	    chunk.datalen == 0 || chunk.datalen > SIDECAR_MAX_BYTES)
		return 0;
	bytes = calloc(1, (size_t)chunk.datalen + 1);
	if (!bytes)
		return -ENOMEM;
	chunk.data = bytes;
	if (sf_get_chunk_data(iterator, &chunk) != SF_ERR_NO_ERROR)
		return 0;
	/* Recorders fill the chunk up with NUL. */
	for (length = chunk.datalen; length > 0 && !bytes[length - 1]; length--)
		;
	/* Broken iXML costs only what it would have said. */
	return sidecar_read(bytes, length, fields) == -ENOMEM ? -ENOMEM : 0;
}

/* @samples since midnight, as frames of the rate that iXML names. */
static void add_timecode(json_t *fields, uint64_t samples, int rate)
{
	struct timecode timecode = { .drop = json_is_true(json_object_get(fields, SIDECAR_DROP)) };
	const char *fps = json_string_or(fields, "fps", NULL);
	int64_t numerator, denominator;
	char text[TIMECODE_SIZE];
	unsigned __int128 frames;

	if (!fps || rate <= 0 || !field_parse_rate(fps, &numerator, &denominator))
		return;
	timecode.base = timecode_base(numerator, denominator);
	frames = (unsigned __int128)samples * (uint64_t)numerator /
		 ((uint64_t)rate * (uint64_t)denominator);
	if (!timecode.base || frames >= 86400ull * timecode.base)
		return;
	timecode.frame = (uint64_t)frames;
	field_text(fields, "timecode", timecode_format(&timecode, text));
}

int look_at_sound(struct source *source, json_t *fields)
{
	SF_VIRTUAL_IO io = { get_length, seek, read_bytes, write_nothing, tell };
	SF_BROADCAST_INFO bext = { 0 };
	SF_INFO info = { 0 };
	SNDFILE *file = sf_open_virtual(&io, SFM_READ, &info, source);
	int r;

	if (!file)
		return source->absent ? -ENODATA : -EPROTO;
	field_text(fields, "format", "wav");
	field_number(fields, "audio_channels", info.channels);
	field_number(fields, "audio_rate", info.samplerate);
	field_number(fields, "audio_bits", bits_of(info.format));
	field_number(fields, "samples", info.frames);
	r = read_ixml(file, fields);
	if (sf_command(file, SFC_GET_BROADCAST_INFO, &bext, sizeof(bext)) == SF_TRUE) {
		add_fixed(fields, "camera", bext.originator, sizeof(bext.originator));
		add_fixed(fields, "date", bext.origination_date, sizeof(bext.origination_date));
		add_timecode(fields,
			     (uint64_t)bext.time_reference_high << 32 | bext.time_reference_low,
			     info.samplerate);
	}
	(void)sf_close(file);
	return r;
}
