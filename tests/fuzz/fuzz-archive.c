/* SPDX-License-Identifier: Apache-2.0 */
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "manifest/export.h"
#include "manifest/import_rules.h"
#include "util/cleanup.h"
#include "util/io.h"

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t length);

#define BYTES_MAX ((uint64_t)1 << 20)

struct input {
	const uint8_t *bytes;
	size_t left;
};

static ssize_t get(void *arg, const void **ret_bytes)
{
	struct input *input = arg;
	size_t length = input->left < 4096 ? input->left : 4096;

	*ret_bytes = input->bytes;
	input->bytes += length;
	input->left -= length;
	return (ssize_t)length;
}

/* What may come in is a path below the folder, whatever the archive says. */
static int take(struct import_rules *rules, const struct member *member)
{
	cleanup_free char *path = NULL;
	cleanup_free char *why = NULL;
	int r = import_rules_check(rules, member, &path, &why);

	if (r == 1 && (!path_ok(path) || member->kind == MEMBER_SPECIAL))
		abort();
	if (r < 0 && !why)
		abort();
	return r;
}

static void import(const uint8_t *bytes, size_t length)
{
	const struct import_limits limits = { BYTES_MAX, 1000, IMPORT_RATIO_DEFAULT };
	cleanup_with(unpacker_free_slot) struct unpacker *unpacker = NULL;
	struct input input = { bytes, length };
	struct import_rules rules;
	struct member member;
	uint64_t offset, total = 0;
	const void *part;
	size_t size;

	import_rules_init(&rules, &limits);
	if (unpacker_new(UNPACK_ANY, get, &input, &unpacker) == 0) {
		while (unpacker_next(unpacker, &member) == 1 && take(&rules, &member) >= 0) {
			while (total < BYTES_MAX &&
			       unpacker_bytes(unpacker, &part, &size, &offset) == 1)
				total += size;
		}
		(void)unpacker_why(unpacker);
	}
	import_rules_fini(&rules);
}

/* Whatever is told of it, never that it is whole: the corpus has no whole export. */
static void verify(const uint8_t *bytes, size_t length)
{
	cleanup_close int fd = memfd_create("archive", MFD_CLOEXEC);
	struct verdict verdict;

	if (fd < 0 || write(fd, bytes, length) != (ssize_t)length || lseek(fd, 0, SEEK_SET) != 0)
		abort();
	if (export_check(fd, NULL, NULL, &verdict) == 0 && verdict.class == CLASS_OK)
		abort();
	verdict_fini(&verdict);
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t length)
{
	import(bytes, length);
	verify(bytes, length);
	return 0;
}
