/* SPDX-License-Identifier: Apache-2.0 */
#include "test.h"

#include <ftw.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <sys/stat.h>

static struct {
	const char *name;
	test_fn fn;
} tests[512];
static size_t test_count;
static jmp_buf end_of_test;

void test_register(const char *name, test_fn fn)
{
	if (test_count == sizeof(tests) / sizeof(tests[0]))
		abort();
	tests[test_count].name = name;
	tests[test_count++].fn = fn;
}

void test_fail(const char *file, int line, const char *format, ...)
{
	va_list ap;

	fprintf(stderr, "%s:%d: ", file, line);
	va_start(ap, format);
	vfprintf(stderr, format, ap);
	va_end(ap);
	fputc('\n', stderr);
	longjmp(end_of_test, 1);
}

int main(int argc, char **argv)
{
	volatile size_t failed = 0, run = 0;

	setvbuf(stdout, NULL, _IOLBF, 0);
	for (volatile size_t i = 0; i < test_count; i++) {
		if (argc > 1 && !strstr(tests[i].name, argv[1]))
			continue;
		run++;
		if (setjmp(end_of_test) == 0) {
			tests[i].fn();
			printf("ok %s\n", tests[i].name);
		} else {
			printf("not ok %s\n", tests[i].name);
			failed++;
		}
	}
	printf("%zu passed, %zu failed\n", run - failed, failed);
	return failed || !run ? 1 : 0;
}

struct scratch *scratch_new(void)
{
	struct scratch *scratch = malloc(sizeof(*scratch));
	const char *base = getenv("TMPDIR");

	if (!scratch ||
	    asprintf(&scratch->path, "%s/mediafs-test-XXXXXX", base ? base : "/tmp") < 0 ||
	    !mkdtemp(scratch->path))
		abort();
	return scratch;
}

static int remove_one(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
	(void)st;
	(void)type;
	(void)ftw;
	(void)remove(path);
	return 0;
}

void scratch_free(struct scratch *scratch)
{
	if (!scratch)
		return;
	(void)nftw(scratch->path, remove_one, 16, FTW_DEPTH | FTW_PHYS);
	free(scratch->path);
	free(scratch);
}

const char *scratch_file(const struct scratch *scratch, const char *name)
{
	static char buffers[8][4096];
	static unsigned next;
	char *buffer = buffers[next++ % 8];

	(void)snprintf(buffer, sizeof(buffers[0]), "%s/%s", scratch->path, name);
	return buffer;
}
