/* SPDX-License-Identifier: Apache-2.0 */
/*
 * An archive that is to be verified may come from anywhere: all of it is read apart. Frames:
 *
 *   FRAME_PROGRESS  struct export_progress
 *   FRAME_FINDING   struct frame_finding, path, detail (without NULs)
 *   FRAME_DONE      struct frame_done, why (without NUL; nothing: none)
 */
#include "manifest/export.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "manifest/apart.h"
#include "util/cleanup.h"
#include "util/sandbox.h"

enum frame_kind { FRAME_PROGRESS = 1, FRAME_FINDING, FRAME_DONE };

struct frame_finding {
	uint32_t kind, path_length;
	uint32_t has_detail; /* 0 or not */
};

struct frame_done {
	uint64_t files, bytes;
	int32_t result; /* of export_check() */
	uint32_t class;
};

#define TEXT_BYTES ((size_t)64 << 10) /* of a name or a reason; more is cut off */
#define PAYLOAD_MAX (sizeof(struct frame_finding) + 2 * TEXT_BYTES)
#define FINDINGS_MAX ((size_t)4 << 20) /* more files than exports have */

/* The process --------------------------------------------------------------------------- */

struct serving {
	int archive_fd, fd;
};

static int send_progress(void *arg, const struct export_progress *progress)
{
	const struct serving *serving = arg;
	const struct apart_piece piece = { progress, sizeof(*progress) };

	return apart_send(serving->fd, FRAME_PROGRESS, &piece, 1);
}

static int send_finding(int fd, const struct finding *finding)
{
	const char *detail = finding->detail ? finding->detail : "";
	const struct frame_finding head = {
		.kind = finding->kind,
		.path_length = (uint32_t)strnlen(finding->path, TEXT_BYTES),
		.has_detail = finding->detail != NULL,
	};
	const struct apart_piece pieces[] = { { &head, sizeof(head) },
					      { finding->path, head.path_length },
					      { detail, strnlen(detail, TEXT_BYTES) } };

	return apart_send(fd, FRAME_FINDING, pieces, 3);
}

static void serve(void *arg, int fd)
{
	struct serving *serving = arg;
	struct verdict verdict = { 0 };
	struct frame_done done = { 0 };
	struct apart_piece pieces[2] = { { &done, sizeof(done) } };
	int r;

	serving->fd = fd;
	done.result = sandbox_enter(serving->archive_fd, fd, SANDBOX_ANY_TIME, APART_MEMORY_BYTES);
	if (done.result == 0)
		done.result = export_check(serving->archive_fd, send_progress, serving, &verdict);
	for (size_t i = 0; i < verdict.count; i++) {
		r = send_finding(fd, &verdict.findings[i]);
		if (r < 0)
			return; /* the parent sees the pipe end */
	}
	done.files = verdict.files;
	done.bytes = verdict.bytes;
	done.class = verdict.class;
	pieces[1] = (struct apart_piece){ verdict.why ? verdict.why : "",
					  verdict.why ? strnlen(verdict.why, TEXT_BYTES) : 0 };
	(void)apart_send(fd, FRAME_DONE, pieces, 2);
	verdict_fini(&verdict);
}

/* The parent ---------------------------------------------------------------------------- */

static int died(struct verdict *verdict, const char *how)
{
	verdict->class = CLASS_UNREADABLE;
	verdict->why = strdup(how);
	return verdict->why ? 0 : -ENOMEM;
}

static int take_finding(struct verdict *verdict, const char *payload, size_t length)
{
	struct frame_finding head;
	cleanup_free char *path = NULL;
	const char *text = payload + sizeof(head);

	if (length < sizeof(head))
		return -EPROTO;
	memcpy(&head, payload, sizeof(head));
	if (head.path_length > length - sizeof(head) || head.kind > FINDING_NOTE ||
	    verdict->count >= FINDINGS_MAX)
		return -EPROTO;
	path = strndup(text, head.path_length);
	if (!path)
		return -ENOMEM;
	return verdict_add(verdict, (enum finding_kind)head.kind, path,
			   head.has_detail ? "%s" : NULL, text + head.path_length);
}

/* What export_check() returned, with all else it said in @verdict. */
static int take_done(struct verdict *verdict, const char *payload, size_t length)
{
	struct frame_done done;

	if (length < sizeof(done))
		return -EPROTO;
	memcpy(&done, payload, sizeof(done));
	if (done.result > 0 || done.result < -4095 ||
	    (done.class != CLASS_OK && done.class != CLASS_DAMAGED &&
	     done.class != CLASS_UNREADABLE) ||
	    (done.class == CLASS_OK && verdict->count))
		return -EPROTO;
	verdict->files = done.files;
	verdict->bytes = done.bytes;
	verdict->class = (enum verdict_class)done.class;
	if (length > sizeof(done)) {
		verdict->why = strdup(payload + sizeof(done));
		if (!verdict->why)
			return -ENOMEM;
	}
	return done.result;
}

static int take_progress(const char *payload, size_t length, export_tick tick, void *arg)
{
	struct export_progress progress;

	if (length != sizeof(progress))
		return -EPROTO;
	memcpy(&progress, payload, sizeof(progress));
	return tick && tick(arg, &progress) ? -ECANCELED : 0;
}

/* 1: there is more to come. */
static int take_frame(struct apart *apart, char *payload, export_tick tick, void *arg,
		      struct verdict *verdict)
{
	struct apart_frame frame;
	int r = apart_receive(apart, &frame, payload, PAYLOAD_MAX);

	if (r == 0)
		return died(verdict, "its reader died of it");
	if (r < 0)
		return r;
	if (frame.kind == FRAME_DONE)
		return take_done(verdict, payload, frame.length);
	if (frame.kind == FRAME_PROGRESS)
		r = take_progress(payload, frame.length, tick, arg);
	else
		r = frame.kind == FRAME_FINDING ? take_finding(verdict, payload, frame.length)
						: -EPROTO;
	return r < 0 ? r : 1;
}

int export_verify(int fd, export_tick tick, void *arg, struct verdict *verdict)
{
	struct serving serving = { .archive_fd = fd };
	cleanup_free char *payload = malloc(PAYLOAD_MAX + 1);
	struct apart apart;
	int r;

	*verdict = (struct verdict){ 0 };
	if (!payload)
		return -ENOMEM;
	r = apart_start(serve, &serving, &apart);
	if (r < 0)
		return r;
	do {
		r = take_frame(&apart, payload, tick, arg, verdict);
	} while (r > 0);
	apart_end(&apart);
	return r == -EPROTO ? died(verdict, "its reader went wrong") : r;
}
