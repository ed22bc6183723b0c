/* SPDX-License-Identifier: Apache-2.0 */
#include <stdint.h>
#include <stdlib.h>

#include "tier/s3_credentials.h"

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t length);

/* awscli's files, the command line that one may hold, and what that command prints. */
int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t length)
{
	struct s3_profile profile = { 0 };
	struct s3_keys keys = { 0 };
	char **words;

	(void)s3_profile_parse((const char *)bytes, length, "profile show", &profile);
	if (profile.process && s3_split_words(profile.process, &words) == 0)
		free(words);
	s3_profile_fini(&profile);
	if (s3_keys_parse_json((const char *)bytes, length, &keys) == 0)
		s3_keys_fini(&keys);
	return 0;
}
