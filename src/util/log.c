/* SPDX-License-Identifier: Apache-2.0 */
#include "util/log.h"

#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

static _Atomic int max_level = LOG_INFO;
static _Atomic int file_fd = -1;

static const char *const level_names[] = { "error", "warning", "info", "debug" };

void log_set_level(enum log_level level)
{
	max_level = (int)level;
}

int log_set_file(const char *path)
{
	int fd = -1;

	if (path) {
		fd = open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
		if (fd < 0)
			return -errno;
	}
	fd = atomic_exchange(&file_fd, fd);
	if (fd >= 0)
		(void)close(fd);
	return 0;
}

void log_line(enum log_level level, const char *format, ...)
{
	char line[2048];
	struct timespec now;
	struct tm local;
	size_t used;
	va_list ap;
	int n;

	if ((int)level > max_level)
		return;
	(void)clock_gettime(CLOCK_REALTIME, &now);
	(void)localtime_r(&now.tv_sec, &local);
	used = strftime(line, sizeof(line), "%Y-%m-%dT%H:%M:%S", &local);
	used += (size_t)snprintf(line + used, sizeof(line) - used,
				 ".%03ld %s: ", now.tv_nsec / 1000000, level_names[level]);
	va_start(ap, format);
	n = vsnprintf(line + used, sizeof(line) - used - 1, format, ap);
	va_end(ap);
	used += n < 0 ? 0 : (size_t)n;
	if (used > sizeof(line) - 2)
		used = sizeof(line) - 2;
	line[used++] = '\n';
	/* One write a line: lines of several threads never mix. Nobody to tell on failure. */
	if (write(STDERR_FILENO, line, used) < 0) {
	}
	if (file_fd >= 0 && write(file_fd, line, used) < 0) {
	}
}
