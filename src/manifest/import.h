/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * Import: an archive unpacked below a folder, checked member by member (import_rules.h), read in a
 * sandbox (reader.h).
 *
 * An archive that can be sought in is looked through first, so that one with a member that may not
 * come in leaves nothing behind. A file has a partial name until all its bytes are there
 * and, where the archive has a digest of them, compared; nothing is ever written over. So after a
 * kill the same import, begun again, goes on: what is there already is compared and left.
 */
#include "manifest/export.h"
#include "manifest/import_rules.h"

struct import_job {
	int archive_fd;
	int folder_fd;      /* what it is unpacked into */
	bool skip_existing; /* a file that is there with other bytes stays, and is no error */
	struct import_limits limits;
	/* Of the file @fd that is there: 1 and its digest when somebody knows it, 0: read it. */
	int (*known)(void *arg, int fd, struct digest *ret_digest);
	export_tick tick; /* not 0 ends the work with -ECANCELED */
	void *arg;        /* of both */
};

struct import_result {
	uint64_t files, bytes;   /* that came in */
	uint64_t existing;       /* that were there already, byte for byte */
	uint64_t skipped;        /* that are there with other bytes */
	uint64_t folders, links; /* that were made */
	char **tops;             /* owned strings: first parts of the paths that came in */
	size_t top_count;
	char *refused;           /* owned: the member that ended it; NULL */
	char *why;               /* owned: why, for a person; NULL */
	struct verdict findings; /* members that did not come in, while the rest did */
};
void import_result_fini(struct import_result *result);

/*
 * 0: see @ret_result->findings too. -EPERM: a member may not come in; -EBADMSG: the archive is
 * damaged, cut off or none that is understood: `refused` (NULL: none in particular) and `why`.
 * Other errno: of reading or writing, with `refused` as the member at which it was.
 * import_result_fini() in any case.
 */
int import_archive(const struct import_job *job, struct import_result *ret_result);
