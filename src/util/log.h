/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * Log: one line a decision, to standard error (journald reads it there).
 *
 * Lower case, no full stop, with the values. Never a credential or a signed URL.
 * Layers below transfer/ return errors and do not log, except debug. Any thread.
 */
enum log_level { LOG_ERROR, LOG_WARNING, LOG_INFO, LOG_DEBUG };

/* Lines above @level are dropped from now on. Default: LOG_INFO. */
void log_set_level(enum log_level level);

/* Append lines to the file at @path too (NULL: standard error only). Negative errno. */
int log_set_file(const char *path);

void log_line(enum log_level level, const char *format, ...) __attribute__((format(printf, 2, 3)));

#define log_error(...) log_line(LOG_ERROR, __VA_ARGS__)
#define log_warning(...) log_line(LOG_WARNING, __VA_ARGS__)
#define log_info(...) log_line(LOG_INFO, __VA_ARGS__)
#define log_debug(...) log_line(LOG_DEBUG, __VA_ARGS__)

/* As log_error(), with ": what @error means" at the end. */
#define log_error_errno(error, format, ...)                                                        \
	log_line(LOG_ERROR, format ": %s", ##__VA_ARGS__, error_text(error))
#define log_warning_errno(error, format, ...)                                                      \
	log_line(LOG_WARNING, format ": %s", ##__VA_ARGS__, error_text(error))
