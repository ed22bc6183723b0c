/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <libavcodec/avcodec.h>
#include <libavformat/avformat.h>
#include <libavutil/opt.h>
#include <string.h>

#include "probe/fields.h"
#include "probe/look.h"
#include "util/timecode.h"

#define IO_BYTES (64 << 10)
#define PROBE_BYTES (1 << 20)

/* What cameras write; no other demuxer sees the bytes. Playlists would name other files. */
static const char demuxers[] =
	"mov,mxf,r3d,mpegts,avi,matroska,dpx_pipe,exr_pipe,tiff_pipe,aiff,flac,mp3";

static int read_bytes(void *arg, uint8_t *buffer, int size)
{
	ssize_t n = source_read(arg, buffer, (size_t)size);

	return n > 0 ? (int)n : n == 0 ? AVERROR_EOF : AVERROR(EIO);
}

static int64_t seek(void *arg, int64_t offset, int whence)
{
	struct source *source = arg;
	int64_t position;

	if (whence & AVSEEK_SIZE)
		return (int64_t)source->size;
	position = source_seek(source, offset, whence & ~AVSEEK_FORCE);
	return position < 0 ? AVERROR(EINVAL) : position;
}

static int open_nothing(AVFormatContext *format, AVIOContext **ret_io, const char *url, int flags,
			AVDictionary **options)
{
	(void)format, (void)ret_io, (void)url, (void)flags, (void)options;
	return AVERROR(EPERM);
}

/* The first of @keys that the file, or a stream of it, has. */
static const char *tag(const AVFormatContext *format, const char *const *keys)
{
	for (; *keys; keys++) {
		const AVDictionaryEntry *entry = av_dict_get(format->metadata, *keys, NULL, 0);

		for (unsigned i = 0; !entry && i < format->nb_streams; i++)
			entry = av_dict_get(format->streams[i]->metadata, *keys, NULL, 0);
		if (entry && *entry->value)
			return entry->value;
	}
	return NULL;
}

/* Names that people know. Source: Apple, "Apple ProRes" (the four-character codes). */
static const char *codec_name(const AVCodecParameters *codec)
{
	static const struct {
		uint32_t tag;
		const char *name;
	} names[] = {
		{ MKTAG('a', 'p', 'c', 'o'), "ProRes 422 Proxy" },
		{ MKTAG('a', 'p', 'c', 's'), "ProRes 422 LT" },
		{ MKTAG('a', 'p', 'c', 'n'), "ProRes 422" },
		{ MKTAG('a', 'p', 'c', 'h'), "ProRes 422 HQ" },
		{ MKTAG('a', 'p', '4', 'h'), "ProRes 4444" },
		{ MKTAG('a', 'p', '4', 'x'), "ProRes 4444 XQ" },
		{ MKTAG('a', 'p', 'r', 'n'), "ProRes RAW" },
		{ MKTAG('a', 'p', 'r', 'h'), "ProRes RAW HQ" },
	};

	for (size_t i = 0; i < ARRAY_SIZE(names); i++) {
		if (codec->codec_tag == names[i].tag)
			return names[i].name;
	}
	return codec->codec_id == AV_CODEC_ID_NONE ? NULL : avcodec_get_name(codec->codec_id);
}

static AVRational rate_of(const AVStream *stream)
{
	if (stream->avg_frame_rate.num > 0 && stream->avg_frame_rate.den > 0)
		return stream->avg_frame_rate;
	if (stream->r_frame_rate.num > 0 && stream->r_frame_rate.den > 0)
		return stream->r_frame_rate;
	/* MXF counts in edit units, which are its frames. */
	return (AVRational){ stream->time_base.den, stream->time_base.num };
}

static void take_video(const AVFormatContext *format, const AVStream *stream, json_t *fields)
{
	const AVCodecParameters *codec = stream->codecpar;
	const char *demuxer = format->iformat->name;
	AVRational rate = rate_of(stream);

	field_text(fields, "codec", strcmp(demuxer, "r3d") == 0 ? "REDCODE" : codec_name(codec));
	field_number(fields, "width", codec->width);
	field_number(fields, "height", codec->height);
	/* One picture (dpx_pipe) has no rate: what it is given is made up. */
	if (strstr(demuxer, "_pipe"))
		return;
	field_rate(fields, rate.num, rate.den);
	if (stream->nb_frames > 0)
		field_number(fields, "frames", stream->nb_frames);
	else if (stream->duration > 0)
		field_number(fields, "frames",
			     av_rescale_q(stream->duration, stream->time_base, av_inv_q(rate)));
	else if (format->duration > 0)
		field_number(fields, "frames",
			     av_rescale_q(format->duration, AV_TIME_BASE_Q, av_inv_q(rate)));
}

static void take_audio(const AVStream *stream, json_t *fields)
{
	const AVCodecParameters *codec = stream->codecpar;
	int64_t channels = json_int_or(fields, "audio_channels", 0) + codec->ch_layout.nb_channels;

	field_number(fields, "audio_rate", codec->sample_rate);
	if (channels > 0)
		(void)json_object_set_new(fields, "audio_channels", json_integer(channels));
}

/* One of one container's several names: "mov,mp4,m4a,3gp,3g2,mj2". */
static void take_format(const AVFormatContext *format, json_t *fields)
{
	const char *const brand_key[] = { "major_brand", NULL };
	const char *name = format->iformat->name, *brand = tag(format, brand_key);
	char first[32];

	(void)snprintf(first, sizeof(first), "%.*s", (int)strcspn(name, ","), name);
	if (strcmp(first, "mov") == 0 && brand && strncmp(brand, "qt", 2) != 0)
		field_text(fields, "format", "mp4");
	field_text(fields, "format", first);
}

static void take(const AVFormatContext *format, json_t *fields)
{
	const char *const timecode_keys[] = { "timecode", NULL };
	const char *const reel_keys[] = { "reel_name", NULL };
	const char *const date_keys[] = { "com.apple.quicktime.creationdate", "creation_time",
					  "modification_date", NULL };
	const char *const maker_keys[] = { "com.apple.quicktime.make", "make", "company_name",
					   NULL };
	const char *const model_keys[] = { "com.apple.quicktime.model", "model", "product_name",
					   NULL };
	const char *maker = tag(format, maker_keys), *model = tag(format, model_keys);
	const AVStream *video = NULL;
	char camera[FIELD_TEXT_MAX + 1];

	take_format(format, fields);
	for (unsigned i = 0; i < format->nb_streams; i++) {
		const AVStream *stream = format->streams[i];

		if (stream->codecpar->codec_type == AVMEDIA_TYPE_AUDIO)
			take_audio(stream, fields);
		if (stream->codecpar->codec_type == AVMEDIA_TYPE_VIDEO && !video &&
		    !(stream->disposition & AV_DISPOSITION_ATTACHED_PIC))
			video = stream;
	}
	if (video)
		take_video(format, video, fields);
	field_text(fields, "timecode", tag(format, timecode_keys));
	field_text(fields, "reel", tag(format, reel_keys));
	field_text(fields, "date", tag(format, date_keys));
	(void)snprintf(camera, sizeof(camera), "%s %s", maker ? maker : "", model ? model : "");
	field_text(fields, "camera", camera);
}

/*
 * Is the header not enough? MXF tells the stored height there (1088 for 1080), transport streams
 * tell nothing.
 */
static bool needs_more(const AVFormatContext *format)
{
	for (unsigned i = 0; i < format->nb_streams; i++) {
		const AVCodecParameters *codec = format->streams[i]->codecpar;

		if (codec->codec_type == AVMEDIA_TYPE_VIDEO)
			return codec->codec_id == AV_CODEC_ID_NONE || codec->width == 0 ||
			       (strcmp(format->iformat->name, "mxf") == 0 &&
				codec->height % 16 == 0);
	}
	return strcmp(format->iformat->name, "mpegts") == 0;
}

int look_at_picture(struct source *source, json_t *fields)
{
	AVFormatContext *format = avformat_alloc_context();
	uint8_t *buffer = av_malloc(IO_BYTES);
	AVIOContext *io = NULL;
	int r = AVERROR(ENOMEM);

	av_log_set_level(AV_LOG_QUIET);
	if (format && buffer)
		io = avio_alloc_context(buffer, IO_BYTES, 0, source, read_bytes, NULL, seek);
	if (io) {
		format->pb = io;
		format->flags |= AVFMT_FLAG_CUSTOM_IO;
		format->io_open = open_nothing;
		format->probesize = PROBE_BYTES;
		format->format_whitelist = av_strdup(demuxers);
		/* Frees @format when it fails. */
		r = avformat_open_input(&format, "", NULL, NULL);
	}
	if (r >= 0) {
		if (needs_more(format))
			(void)avformat_find_stream_info(format, NULL); /* what the header said */
		take(format, fields);
	}
	avformat_close_input(&format);
	if (io)
		av_freep(&io->buffer);
	else
		av_free(buffer);
	avio_context_free(&io);
	if (r >= 0)
		return json_object_get(fields, "width") || json_object_get(fields, "audio_rate")
			       ? 0
			       : -EPROTO;
	if (r == AVERROR(ENOMEM))
		return -ENOMEM;
	return source->absent ? -ENODATA : -EPROTO;
}
