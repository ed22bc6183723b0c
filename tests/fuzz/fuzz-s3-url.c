/* SPDX-License-Identifier: Apache-2.0 */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "tier/s3_url.h"

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t length);

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t length)
{
	char *url = strndup((const char *)bytes, length);
	struct s3_place place;

	if (url && s3_url_parse(url, &place) == 0) {
		free(s3_place_host(&place, place.region));
		free(s3_place_path(&place, "a"));
		s3_place_fini(&place);
	}
	free(url);
	return 0;
}
