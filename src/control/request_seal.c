/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <stdio.h>

#include "control/protocol.h"
#include "control/requests.h"
#include "util/cleanup.h"
#include "volume/manage.h"

/* "seal", "unseal": the folder PATH. Who asks is in the log. */

static void make_actor(const struct request *request, char *text, size_t size)
{
	(void)snprintf(text, size, "uid:%u", (unsigned)request->source->uid);
}

static int explain(struct request *request, int error, const char *path, const char *busy)
{
	switch (error) {
	case -ENOENT:
		return request_fail(request, error, "%s: there is no such folder in the volume",
				    path);
	case -ENOTDIR:
		return request_fail(request, error, "%s is no folder", path);
	case -EINVAL:
		return request_fail(request, -EPERM,
				    "the whole volume is never sealed: name a folder");
	case -ENODATA:
		return request_fail(request, error,
				    "%s has no manifest that would tell of its files: mediafs "
				    "manifest create makes one",
				    path);
	case -EBUSY:
		return request_fail(request, error, "%s is open for writing: close it first",
				    busy ? busy : path);
	default:
		return error;
	}
}

int request_seal(struct request *request)
{
	cleanup_free char *path = NULL;
	cleanup_free char *busy = NULL;
	char actor[32];
	int r = request_own_path(request, &path);

	if (r < 0)
		return r;
	make_actor(request, actor, sizeof(actor));
	r = volume_seal(request->source->volume, path, actor, &busy);
	return r < 0 ? explain(request, r, path, busy) : 0;
}

int request_unseal(struct request *request)
{
	cleanup_free char *path = NULL;
	char actor[32];
	int r = request_own_path(request, &path);

	if (r < 0)
		return r;
	make_actor(request, actor, sizeof(actor));
	r = volume_unseal(request->source->volume, path, actor);
	return r < 0 ? explain(request, r, path, NULL) : 0;
}
