/* SPDX-License-Identifier: Apache-2.0 */
#include "manifest/list.h"

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t length);

/* Whatever either reader takes can be given back: lists of both kinds, and chains. */
int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t length)
{
	struct chain chain = { 0 };
	struct list list = { 0 };
	unsigned long line;
	const char *why;

	(void)list_read(bytes, length, &list, &why, &line);
	list_fini(&list);
	(void)chain_read(bytes, length, &chain, &why, &line);
	chain_fini(&chain);
	return 0;
}
