/* SPDX-License-Identifier: Apache-2.0 */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "tier/s3.h"

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t length);

/* Lines as libcurl hands them out, up to an empty one; what follows is the body. */
int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t length)
{
	struct s3_tier *s3 = calloc(1, sizeof(*s3));
	struct s3_request request = { .method = "GET", .key = "a" };
	struct s3_exchange exchange;
	int r = 0;

	if (!s3)
		return 0;
	s3_exchange_init(&exchange, s3, &request);
	while (length > 0) {
		const uint8_t *end = memchr(bytes, '\n', length);
		size_t part = end ? (size_t)(end - bytes) + 1 : length;
		char *line = malloc(part); /* its own: a look past its end is seen */

		if (!line)
			break;
		memcpy(line, bytes, part);
		(void)s3_on_header(line, 1, part, &exchange);
		free(line);
		bytes += part;
		length -= part;
		if (part == 1)
			break;
	}
	if (length > 0)
		r = s3_take_body(&exchange, (const char *)bytes, length);
	if (r == 0)
		s3_read_error(&exchange.reply);
	(void)s3_judge(CURLE_OK, request.method, &exchange.reply, 0);
	s3_exchange_fini(&exchange);
	free(s3);
	return 0;
}
