/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * Functions return 0 or a negative errno. Some errno have one meaning here:
 *
 *   EBADMSG    bytes were checked and do not match their digest
 *   EHOSTDOWN  the tier cannot be reached; retry later
 *   EREMOTEIO  the tier answered with a failure
 *   ENOMEDIUM  the bytes are in an archive of the tier, and must be asked for
 *   EUCLEAN    our own data on disk or in the catalog is inconsistent
 *   ESTALE     the source changed under us
 *
 * None of them is ever turned into another, least of all into ENOENT.
 */
#include <errno.h>

/*
 * What @error (negative errno) says to a person: the words above for our own
 * meanings, strerror() otherwise. The string is static or thread-local.
 */
const char *error_text(int error);
