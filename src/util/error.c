/* SPDX-License-Identifier: Apache-2.0 */
#include "util/error.h"

#include <string.h>

const char *error_text(int error)
{
	switch (error < 0 ? -error : error) {
	case EBADMSG:
		return "the bytes do not match their digest";
	case EHOSTDOWN:
		return "the tier cannot be reached";
	case ENOMEDIUM:
		return "it is in an archive: mediafs fetch --restore asks for it";
	case ENOTUNIQ:
		return "another site may still write over it: a while after it was stored it "
		       "counts "
		       "(transfer.overwrite_wait)";
	case EREMOTEIO:
		return "the tier answered with a failure";
	case EUCLEAN:
		return "the store's own data is inconsistent";
	case ESTALE:
		return "it changed meanwhile";
	default:
		/* glibc's strerror() is thread-safe for known numbers. */
		return strerror(error < 0 ? -error : error);
	}
}
