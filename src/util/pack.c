/* SPDX-License-Identifier: Apache-2.0 */
#include "util/pack.h"

#include <errno.h>
#include <stdlib.h>
#include <zstd.h>

#include "util/cleanup.h"

/* A window a small machine can hold: what needs more was not packed by us. */
#define MAX_WINDOW_LOG 27

DEFINE_CLEANUP(ZSTD_DCtx *, ZSTD_freeDCtx)

int zstd_pack(const void *bytes, size_t length, void **ret_packed, size_t *ret_length)
{
	size_t room = ZSTD_compressBound(length);
	cleanup_free void *packed = NULL;
	size_t used;

	if (ZSTD_isError(room))
		return -EINVAL;
	packed = malloc(room);
	if (!packed)
		return -ENOMEM;
	used = ZSTD_compress(packed, room, bytes, length, ZSTD_CLEVEL_DEFAULT);
	if (ZSTD_isError(used))
		return -ENOMEM; /* the room is enough: nothing else can be missing */
	*ret_packed = take_ptr(packed);
	*ret_length = used;
	return 0;
}

/* Make room for one byte more than is allowed, so that too much is seen. */
static int grow(char **bytes, size_t *room, size_t max_bytes)
{
	size_t wanted = *room ? *room * 2 : 65536;
	char *moved;

	if (wanted > max_bytes + 1)
		wanted = max_bytes + 1;
	moved = realloc(*bytes, wanted);
	if (!moved)
		return -ENOMEM;
	*bytes = moved;
	*room = wanted;
	return 0;
}

int zstd_unpack(const void *packed, size_t length, size_t max_bytes, void **ret_bytes,
		size_t *ret_length)
{
	cleanup_with(ZSTD_freeDCtx_slot) ZSTD_DCtx *stream = ZSTD_createDCtx();
	ZSTD_inBuffer in = { .src = packed, .size = length };
	cleanup_free char *bytes = NULL;
	ZSTD_outBuffer out = { 0 };
	size_t room = 0, left = 1;
	int r;

	if (!stream ||
	    ZSTD_isError(ZSTD_DCtx_setParameter(stream, ZSTD_d_windowLogMax, MAX_WINDOW_LOG)))
		return -ENOMEM;
	/* The size a frame declares is the sender's word: grow by what really comes out. */
	while (left != 0 || in.pos < in.size) {
		size_t before = in.pos + out.pos;

		if (out.pos == room) {
			r = grow(&bytes, &room, max_bytes);
			if (r < 0)
				return r;
		}
		out.dst = bytes;
		out.size = room;
		left = ZSTD_decompressStream(stream, &out, &in);
		if (ZSTD_isError(left))
			return -EBADMSG;
		if (out.pos > max_bytes)
			return -EFBIG;
		if (in.pos + out.pos == before && out.pos < room)
			return -EBADMSG; /* cut off */
	}
	*ret_length = out.pos;
	*ret_bytes = take_ptr(bytes);
	return 0;
}
