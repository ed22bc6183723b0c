/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "probe/fields.h"
#include "probe/look.h"
#include "probe/run.h"
#include "probe/sidecar.h"
#include "test.h"
#include "util/clock.h"
#include "util/io.h"

#define SOON_NS (20 * NS_PER_SEC)

static void make_file(const struct scratch *dir, const char *name, const char *text)
{
	check_int(write_file(AT_FDCWD, scratch_file(dir, name), text, strlen(text), 0644), 0);
}

/* What @look gave for a file of a few bytes. */
static json_t *probe(run_look_fn look, int64_t timeout_ns)
{
	cleanup_with(scratch_free_slot) struct scratch *dir = scratch_new();
	json_t *fields = NULL;
	struct run run;

	make_file(dir, "x", "hello");
	check_int(run_start(-1, scratch_file(dir, "x"), look, timeout_ns, &run), 0);
	check_int(run_finish(&run, &fields), 0);
	return fields;
}

static void check_error(run_look_fn look, int64_t timeout_ns, const char *words)
{
	cleanup_json json_t *fields = probe(look, timeout_ns);
	const char *error = json_string_or(fields, "error", "");

	if (!strstr(error, words))
		test_fail(__FILE__, __LINE__, "\"%s\" lacks \"%s\"", error, words);
}

static int read_it(struct source *source, json_t *fields)
{
	char text[16] = "";

	check_int(source_read(source, text, sizeof(text) - 1), 5);
	field_text(fields, "reel", text);
	return 0;
}

static int crash(struct source *source, json_t *fields)
{
	(void)source, (void)fields;
	__builtin_trap();
}

static int hang(struct source *source, json_t *fields)
{
	volatile bool on = true;

	(void)source, (void)fields;
	while (on)
		;
	return 0;
}

static int end_early(struct source *source, json_t *fields)
{
	(void)source, (void)fields;
	_exit(0);
}

static int talk_nonsense(struct source *source, json_t *fields)
{
	(void)source, (void)fields;
	for (int fd = 0; fd < 64; fd++)
		(void)!write(fd, "{\"reel\":", 8);
	_exit(0);
}

static int talk_much(struct source *source, json_t *fields)
{
	static char much[1 << 20];

	(void)source, (void)fields;
	memset(much, 'x', sizeof(much));
	for (int fd = 0; fd < 64; fd++)
		(void)!write(fd, much, sizeof(much));
	_exit(0);
}

TEST(a_file_that_crashes_or_hangs_costs_only_its_metadata)
{
	cleanup_json json_t *fields = probe(read_it, SOON_NS);

	check_str(json_string_or(fields, "reel", ""), "hello");
	check_error(crash, SOON_NS, "crashed");
	check_error(hang, 200 * NS_PER_MS, "too long");
	check_error(end_early, SOON_NS, "no sensible answer");
	check_error(talk_nonsense, SOON_NS, "no sensible answer");
	check_error(talk_much, SOON_NS, "no sensible answer");
}

/* Each must fail. */
static int try_to_get_out(struct source *source, json_t *fields)
{
	(void)source;
	field_number(fields, "open", open("/etc/passwd", O_RDONLY) >= 0);
	field_number(fields, "create", open("/tmp", O_RDWR | O_TMPFILE, 0600) >= 0);
	field_number(fields, "socket", socket(AF_INET, SOCK_STREAM, 0) >= 0);
	field_number(fields, "unix", socket(AF_UNIX, SOCK_STREAM, 0) >= 0);
	field_number(fields, "kill", kill(getppid(), 0) == 0);
	field_number(fields, "duplicate", dup(0) >= 0 || dup(1) >= 0 || dup(2) >= 0);
	field_number(fields, "remove", unlink("/tmp/mediafs-probe-none") == 0 || errno != EPERM);
	field_number(fields, "code",
		     mmap(NULL, 4096, PROT_READ | PROT_WRITE | PROT_EXEC,
			  MAP_PRIVATE | MAP_ANONYMOUS, -1, 0) != MAP_FAILED);
	field_number(fields, "run", execl("/bin/true", "true", NULL) == 0);
	field_number(fields, "standard", write(0, "x", 1) == 1 || write(2, "x", 1) == 1);
	return 0;
}

TEST(nothing_but_the_file_is_in_reach)
{
	cleanup_json json_t *fields = probe(try_to_get_out, SOON_NS);
	const char *key;
	json_t *value;

	json_object_foreach(fields, key, value)
	{
		test_fail(__FILE__, __LINE__, "the sandbox allows %s", key);
	}
}

static int take_memory(struct source *source, json_t *fields)
{
	(void)source;
	for (int i = 0; i < 64; i++) {
		volatile char *piece = malloc(64 << 20);

		if (!piece)
			return -ENOMEM;
		/* Room is what is limited; all of its pages take a busy machine seconds. */
		piece[0] = 1;
	}
	field_text(fields, "reel", "four gigabytes");
	return 0;
}

TEST(memory_is_limited)
{
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
	(void)take_memory; /* address space is not limited there */
#else
	check_error(take_memory, SOON_NS, "memory");
#endif
}

static int fork_one(struct source *source, json_t *fields)
{
	(void)source;
	field_number(fields, "child", fork() >= 0);
	return 0;
}

TEST(no_process_is_made)
{
	cleanup_json json_t *fields = probe(fork_one, SOON_NS);

	check(!json_object_get(fields, "child"));
	check(!json_object_get(fields, "error"));
}

TEST(only_regular_files_below_the_folder_are_looked_at)
{
	cleanup_with(scratch_free_slot) struct scratch *dir = scratch_new();
	cleanup_close int root = open(dir->path, O_PATH | O_DIRECTORY | O_CLOEXEC);
	static const char *const bad[] = { "fifo", "link", "in/x", "../x", "/etc/passwd", "none" };
	struct source source;

	make_file(dir, "x", "hello");
	check_int(mkfifo(scratch_file(dir, "fifo"), 0600), 0);
	check_int(symlink("x", scratch_file(dir, "link")), 0);
	check_int(symlink(".", scratch_file(dir, "in")), 0);
	for (size_t i = 0; i < ARRAY_SIZE(bad); i++)
		check(source_open(root, bad[i], &source) < 0);
	check_int(source_open(root, "x", &source), 0);
	source_close(&source);
}

/* 16 MiB whose first and last block are there; what is read from a hole would be zeros. */
static void make_partial(const char *path)
{
	static const char bytes[] = "media";
	const struct digest digest = { 0 };
	struct residency residency;
	cleanup_close int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);

	check_int(ftruncate(fd, 16 << 20), 0);
	check_int(write_at(fd, bytes, 5, 0), 0);
	check_int(write_at(fd, bytes, 5, (16 << 20) - 5), 0);
	residency_init(&residency, 16 << 20, &digest);
	residency_set(&residency, 0);
	residency_set(&residency, 3);
	check_int(residency_write(fd, &residency), 0);
}

TEST(absent_blocks_are_never_read_as_zeros)
{
	cleanup_with(scratch_free_slot) struct scratch *dir = scratch_new();
	struct source source;
	char *bytes = malloc(8 << 20);

	make_partial(scratch_file(dir, "x"));
	check_int(source_open(-1, scratch_file(dir, "x"), &source), 0);
	check_int(source_read(&source, bytes, 8 << 20), 4 << 20);
	check_int(memcmp(bytes, "media", 5), 0);
	check(!source.absent);
	check_int(source_read(&source, bytes, 1), -ENODATA);
	check(source.absent);
	check_int(source_seek(&source, -5, SEEK_END), (16 << 20) - 5);
	check_int(source_read(&source, bytes, 100), 5);
	check_int(memcmp(bytes, "media", 5), 0);
	check_int(source_read(&source, bytes, 100), 0);
	check_int(source_seek(&source, -1, SEEK_SET), -EINVAL);
	source_close(&source);
	free(bytes);
}

TEST(no_more_than_the_limit_is_read)
{
	cleanup_with(scratch_free_slot) struct scratch *dir = scratch_new();
	struct source source;
	char *bytes = malloc(8 << 20);
	uint64_t total = 0;
	ssize_t n;

	make_file(dir, "x", "");
	check_int(truncate(scratch_file(dir, "x"), (off_t)SOURCE_MAX_BYTES * 2), 0);
	check_int(source_open(-1, scratch_file(dir, "x"), &source), 0);
	while ((n = source_read(&source, bytes, 8 << 20)) > 0)
		total += (uint64_t)n;
	check_int(n, -EFBIG);
	check_int(total, SOURCE_MAX_BYTES);
	source_close(&source);
	free(bytes);
}

static json_t *sidecar(const char *text, int expected)
{
	json_t *fields = json_object();

	check_int(sidecar_read(text, strlen(text), fields), expected);
	return fields;
}

TEST(sony_xml_says_timecode_by_its_digits_from_the_back)
{
	cleanup_json json_t *fields = sidecar(
		"<?xml version=\"1.0\" encoding=\"UTF-8\"?>"
		"<NonRealTimeMeta xmlns=\"urn:schemas-professionalDisc:nonRealTimeMeta:ver.2.20\">"
		"<Duration value=\"390\"/><LtcChangeTable tcFps=\"30\" halfStep=\"false\">"
		"<LtcChange frameCount=\"0\" value=\"67212901\" status=\"increment\"/>"
		"<LtcChange frameCount=\"389\" value=\"66342901\" status=\"end\"/></LtcChangeTable>"
		"<CreationDate value=\"2025-10-21T10:30:22-06:00\"/><VideoFormat>"
		"<VideoFrame videoCodec=\"AVC_3840_2160_HP@L51\" formatFps=\"29.97p\"/>"
		"<VideoLayout pixel=\"3840\" numOfVerticalLine=\"2160\"/></VideoFormat>"
		"<Device manufacturer=\"Sony\" modelName=\"ILCE-6700\" serialNo=\"7\"/>"
		"<AcquisitionRecord><Group name=\"CameraUnitMetadataSet\">"
		"<Item name=\"CaptureGammaEquation\" value=\"s-log3\"/></Group></AcquisitionRecord>"
		"</NonRealTimeMeta>",
		0);

	check_str(json_string_or(fields, "timecode", ""), "01:29:21;27");
	check_str(json_string_or(fields, "fps", ""), "30000/1001");
	check_int(json_int_or(fields, "frames", 0), 390);
	check_int(json_int_or(fields, "height", 0), 2160);
	check_str(json_string_or(fields, "camera", ""), "Sony ILCE-6700 (7)");
	check_str(json_string_or(fields, "gamma", ""), "s-log3");
	check(!json_object_get(fields, "timecode_base"));
}

TEST(a_timecode_that_counts_every_second_frame_says_so)
{
	cleanup_json json_t *fields = sidecar(
		"<NonRealTimeMeta><LtcChangeTable tcFps=\"25\" halfStep=\"true\">"
		"<LtcChange frameCount=\"0\" value=\"17305719\"/></LtcChangeTable>"
		"<VideoFormat><VideoFrame formatFps=\"50p\"/></VideoFormat></NonRealTimeMeta>",
		0);

	check_str(json_string_or(fields, "timecode", ""), "19:57:30:17");
	check_str(json_string_or(fields, "fps", ""), "50/1");
	check_int(json_int_or(fields, "timecode_base", 0), 25);
}

TEST(p2_and_ixml_are_known_other_xml_is_not)
{
	cleanup_json json_t *p2 = sidecar(
		"<P2Main "
		"xmlns=\"urn:schemas-Professional-Plug-in:P2:ClipMetadata:v3.0\"><ClipContent>"
		"<Duration>120</Duration><EssenceList><Video><Codec>AVC-I_1080/25p</Codec>"
		"<FrameRate>25p</FrameRate><StartTimecode>10:20:30:24</StartTimecode></Video>"
		"</EssenceList><ClipMetadata><Scene><SceneNo.>12A</SceneNo.><TakeNo.>3</TakeNo.></"
		"Scene>"
		"</ClipMetadata></ClipContent></P2Main>",
		0);
	cleanup_json json_t *ixml = sidecar(
		"<BWFXML><SCENE> "
		"12A\n</SCENE><TAKE>4</TAKE><CIRCLED>TRUE</CIRCLED><TAPE>26Y11M29</TAPE>"
		"<TRACK_LIST><TRACK><NAME>Boom</NAME></TRACK><TRACK><NAME>Lav</NAME></TRACK>"
		"</TRACK_LIST></BWFXML>",
		0);

	check_str(json_string_or(p2, "timecode", ""), "10:20:30:24");
	check_str(json_string_or(p2, "scene", ""), "12A");
	check_str(json_string_or(p2, "take", ""), "3");
	check_str(json_string_or(ixml, "scene", ""), "12A");
	check_str(json_string_or(ixml, "reel", ""), "26Y11M29");
	check(json_is_true(json_object_get(ixml, "circled")));
	check_int(json_array_size(json_object_get(ixml, "tracks")), 2);
	json_decref(sidecar("<html/>", -ENOENT));
	json_decref(sidecar("<BWFXML><TAKE>4</TAKE>", -EPROTO));
	json_decref(sidecar("<!DOCTYPE a [<!ENTITY b \"c\">]><BWFXML>&b;</BWFXML>", -EPROTO));
}

TEST(impossible_timecode_and_text_are_left_out)
{
	cleanup_json json_t *fields =
		sidecar("<NonRealTimeMeta><LtcChangeTable tcFps=\"25\">"
			"<LtcChange frameCount=\"0\" value=\"25000000\"/></LtcChangeTable>"
			"<Duration value=\"-3\"/></NonRealTimeMeta>",
			0);

	check(!json_object_get(fields, "timecode"));
	check(!json_object_get(fields, "frames"));
	field_text(fields, "reel", " A\x01\x02\xff\xfe ");
	check_str(json_string_or(fields, "reel", ""), "A  ??");
	field_text(fields, "scene", " \t\n ");
	check(!json_object_get(fields, "scene"));
	field_text(fields, "reel", "second");
	check_str(json_string_or(fields, "reel", ""), "A  ??");
}

/* What an element with a length too large to be true, or of no known kind, says is not believed. */
TEST(only_known_lengths_tell_of_more_bytes)
{
	static const struct {
		const char *bytes;
		int64_t whole_bytes;
	} rows[] = {
		{ "\0\0\0\x40"
		  "ftypqt  \0\0\0\0qt  ............",
		  64 },
		{ "\0\0\0\x20"
		  "ftypqt  \0\0\0\0qt  ............",
		  0 },
		{ "\0\0\0\x40"
		  "abcdqt  \0\0\0\0qt  ............",
		  0 },
		{ "\0\0\0\1mdat\xff\xff\xff\xff\xff\xff\xff\xff................", 0 },
		{ "\0\0\0\1mdat\0\0\0\1\0\0\0\0................", 1ll << 32 },
		{ "RIFF\x40\0\0\0WAVE....................", 71 },
		{ "RIFF\xff\xff\xff\xffWAVE....................", 0 },
		{ "RF64\xff\xff\xff\xffWAVEds64\x1c\0\0\0\xff\xff\xff\xff\xff\xff\xff\xff....", 0 },
		{ "SDPX............\0\0\x10\0............", 4096 },
		{ "XPDS............\0\x10\0\0............", 4096 },
		{ "SDPX............\xff\xff\xff\xff............", 0 },
	};

	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		cleanup_with(scratch_free_slot) struct scratch *dir = scratch_new();
		cleanup_json json_t *fields = json_object();
		struct source source;

		check_int(write_file(AT_FDCWD, scratch_file(dir, "x"), rows[i].bytes, 32, 0644), 0);
		check_int(source_open(-1, scratch_file(dir, "x"), &source), 0);
		(void)look_at_file(&source, fields);
		source_close(&source);
		if (json_int_or(fields, "whole_bytes", 0) != rows[i].whole_bytes)
			test_fail(__FILE__, __LINE__, "row %zu: %lld", i,
				  (long long)json_int_or(fields, "whole_bytes", 0));
	}
}
