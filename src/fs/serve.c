/* SPDX-License-Identifier: Apache-2.0 */
#include "fs/serve.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include "fs/library.h"
#include "fs/loop.h"
#include "fs/mountpoint.h"
#include "fs/notify.h"
#include "fs/sever.h"
#include "store/store.h"
#include "util/cleanup.h"
#include "util/error.h"
#include "util/log.h"
#include "volume/manage.h"

/* From the kernel's FUSE 7.39 (Linux 6.6) on direct writes drop the pages they change. */
#define PROTO_MINOR_INVALIDATES 39

static void op_init(void *userdata, struct fuse_conn_info *conn)
{
	struct fs *fs = userdata;

	(void)feature_want(conn, FUSE_CAP_POSIX_ACL);
	(void)feature_want(conn,
			   FUSE_CAP_DONT_MASK); /* a default ACL decides, see volume/caller.h */
	(void)feature_want(conn, FUSE_CAP_EXPORT_SUPPORT);
	(void)feature_want(conn, FUSE_CAP_PARALLEL_DIROPS);
	(void)feature_want(conn, FUSE_CAP_CACHE_SYMLINKS);
	(void)feature_want(conn, FUSE_CAP_READDIRPLUS);
	(void)feature_want(conn, FUSE_CAP_READDIRPLUS_AUTO);
	/* Offsets of appends and the order of writes are ours to see. */
	feature_refuse(conn, FUSE_CAP_WRITEBACK_CACHE);
	/* Bytes are hashed: they must come into memory once, not pass through a pipe. */
	feature_refuse(conn, FUSE_CAP_SPLICE_READ);
	features_negotiate(fs, conn);
	if (conn->max_write > WRITE_MAX_BYTES)
		conn->max_write = WRITE_MAX_BYTES;
	conn->max_background = 64;
	conn->congestion_threshold = 48;
	fs->keep_cache = conn->proto_minor >= PROTO_MINOR_INVALIDATES;
	fs->greeted = true;
	if (fs->ready)
		fs->ready(fs->ready_arg);
	fs->ready = NULL;
	/* After that the log is a file: on a terminal success is silent. */
	log_info("mounted: FUSE %u.%u, writes of up to %u KiB, passthrough %s", conn->proto_major,
		 conn->proto_minor, conn->max_write / 1024, fs->can_pass ? "on" : "off");
}

static void fill_ops(struct fuse_lowlevel_ops *ops)
{
	*ops = (struct fuse_lowlevel_ops){ .init = op_init };
	ops_tree(ops);
	ops_folder(ops);
	ops_open(ops);
	ops_data(ops);
	ops_xattr(ops);
	features_ops(ops);
}

static void log_of_library(enum fuse_log_level level, const char *format, va_list args)
{
	char text[512];
	int length = vsnprintf(text, sizeof(text), format, args);

	while (length > 0 && length < (int)sizeof(text) && text[length - 1] == '\n')
		text[--length] = '\0';
	log_line(level <= FUSE_LOG_ERR      ? LOG_ERROR
		 : level <= FUSE_LOG_NOTICE ? LOG_WARNING
		 : level == FUSE_LOG_INFO   ? LOG_INFO
					    : LOG_DEBUG,
		 "%s", text);
}

/* "-oNAME=VALUE", with commas and backslashes of the value escaped. */
static int add_value(struct fuse_args *args, const char *name, const char *value)
{
	cleanup_free char *text = malloc(strlen(name) + 2 * strlen(value) + 8);
	char *to;

	if (!text)
		return -ENOMEM;
	to = text + sprintf(text, "-o%s=", name);
	for (; *value; value++) {
		if (*value == ',' || *value == '\\')
			*to++ = '\\';
		*to++ = *value;
	}
	*to = '\0';
	return fuse_opt_add_arg(args, text) < 0 ? -ENOMEM : 0;
}

/* The library starts from nosuid and nodev. */
static const struct {
	unsigned long flag;
	const char *on, *off;
} flag_words[] = {
	{ MS_NOSUID, "-onosuid", "-osuid" }, { MS_NODEV, "-onodev", "-odev" },
	{ MS_NOEXEC, "-onoexec", NULL },     { MS_NOATIME, "-onoatime", NULL },
	{ MS_SYNCHRONOUS, "-osync", NULL },  { MS_DIRSYNC, "-odirsync", NULL },
};

static int add_word(struct fuse_args *args, const char *word)
{
	return word && fuse_opt_add_arg(args, word) < 0 ? -ENOMEM : 0;
}

static int build_args(const struct serving *serving, const char *store, struct fuse_args *args)
{
	const struct fs_options *options = serving->options;
	bool others = options->allow == FS_ALLOW_OTHER ||
		      (options->allow == FS_ALLOW_DEFAULT && geteuid() == 0);
	int r;

	r = add_word(args, "mediafs");
	if (r == 0)
		r = add_word(args, "-odefault_permissions");
	if (r == 0)
		r = add_value(args, "fsname", options->fsname ? options->fsname : store);
	if (r == 0)
		r = add_value(args, "subtype", options->subtype ? options->subtype : "mediafs");
	if (r == 0)
		r = add_word(args, others ? "-oallow_other" : NULL);
	if (r == 0)
		r = add_word(args, serving->read_only ? "-oro" : NULL);
	if (r == 0 && options->uring)
		r = add_word(args, feature_uring_option());
	for (size_t i = 0; r == 0 && i < ARRAY_SIZE(flag_words); i++)
		r = add_word(args, options->clear_flags & flag_words[i].flag ? flag_words[i].off
				   : options->set_flags & flag_words[i].flag ? flag_words[i].on
									     : NULL);
	return r;
}

static int open_volume(struct serving *serving, struct fs *fs)
{
	unsigned flags = 0;
	int r;

	if (serving->read_only)
		flags |= VOLUME_READ_ONLY;
	if (serving->options->show_pending)
		flags |= VOLUME_SHOW_PENDING;
	r = volume_open(serving->options->store, (enum volume_flags)flags, &fs->volume);
	if (r < 0) {
		serving->store_failed = true;
		return r;
	}
	if (serving->options->verify != FS_VERIFY_DEFAULT) {
		cleanup_free char *message = NULL;

		r = volume_override(fs->volume, "ingest.verify",
				    serving->options->verify == FS_VERIFY_CLOSE ? "close" : "async",
				    &message);
		if (r < 0)
			log_error("ingest.verify: %s", message ? message : error_text(r));
	}
	return r;
}

/* In the background standard error leads nowhere. */
static void open_log(const struct serving *serving, struct fs *fs)
{
	cleanup_free char *path = NULL;
	int r;

	if (!serving->ready)
		return;
	path = store_file(volume_store(fs->volume), "run/log");
	r = path ? log_set_file(path) : -ENOMEM;
	if (r < 0)
		log_warning_errno(r, "cannot write the log to run/log in the store");
}

static int start_session(const struct serving *serving, struct fs *fs)
{
	struct fuse_args args = FUSE_ARGS_INIT(0, NULL);
	struct fuse_lowlevel_ops ops;
	cleanup_free char *store = realpath(serving->options->store, NULL);
	int r;

	fill_ops(&ops);
	r = build_args(serving, store ? store : serving->options->store, &args);
	if (r == 0) {
		fs->session = fuse_session_new(&args, &ops, sizeof(ops), fs);
		if (!fs->session)
			r = -EINVAL; /* the library said why */
	}
	fuse_opt_free_args(&args);
	if (r == 0 && fuse_set_signal_handlers(fs->session) < 0)
		r = -EINVAL;
	return r;
}

#define LIBRARY_WORKERS_MAX 32
#define LIBRARY_WORKERS_IDLE 8

/* FUSE over io_uring has threads of the library's for what arrives in the rings. */
static int library_loop(struct fs *fs)
{
	struct fuse_loop_config *config = fuse_loop_cfg_create();
	int r;

	if (!config)
		return -ENOMEM;
	fuse_loop_cfg_set_max_threads(config, LIBRARY_WORKERS_MAX);
	fuse_loop_cfg_set_idle_threads(config, LIBRARY_WORKERS_IDLE);
	fuse_loop_cfg_set_clone_fd(config, 0);
	r = fuse_session_loop_mt(fs->session, config);
	fuse_loop_cfg_destroy(config);
	return r > 0 ? 1 : r;
}

/* Requests are served until somebody unmounts, or a signal comes. */
static int loop(struct fs *fs)
{
	int r = fs->options->uring && feature_uring_option() ? library_loop(fs) : loop_run(fs);

	if (r > 0)
		log_info("a signal came: unmounting");
	return r < 0 ? r : 0;
}

/*
 * libfuse 3.18 says 0 when it has no memory while it mounts, which is then taken for the
 * descriptor: the session would read what is our standard input. Source: Linux,
 * Documentation/admin-guide/devices.txt.
 */
static bool has_device(struct fuse_session *session)
{
	struct stat st;

	if (fstat(fuse_session_fd(session), &st) < 0) {
		log_error_errno(-errno, "cannot look at the mount");
		fuse_session_unmount(session);
		return false;
	}
	return S_ISCHR(st.st_mode) && st.st_rdev == makedev(10, 229);
}

static int serve_mounted(const struct serving *serving, struct fs *fs)
{
	struct volume_notify notify = { .entry = notifier_entry,
					.inode = notifier_inode,
					.attributes = notifier_attributes };
	unsigned connection = 0;
	int r;

	fs->notifier = notifier_new(fs);
	if (!fs->notifier)
		return -ENOMEM;
	if (fuse_session_mount(fs->session, serving->mountpoint) < 0 || !has_device(fs->session)) {
		log_error("cannot mount on %s", serving->mountpoint);
		return -EIO;
	}
	(void)mountpoint_connection(serving->mountpoint, &connection);
	r = notifier_start(fs->notifier);
	if (r == 0) {
		notify.arg = fs->notifier;
		volume_set_notify(fs->volume, &notify);
		r = loop(fs);
		volume_set_notify(fs->volume, NULL);
	}
	sever(fs, serving->mountpoint, connection);
	/* Both write to the session's descriptor, whose number is free for others once that is
	 * closed. */
	notifier_stop(fs->notifier);
	volume_end_reads(fs->volume);
	/* Detaches also when files are open: who has them gets errors from now on. */
	fuse_session_unmount(fs->session);
	return r;
}

static int serve_opened(const struct serving *serving, struct fs *fs)
{
	const struct fs_hooks *hooks = serving->options->hooks;
	int r;

	open_log(serving, fs);
	if (!hooks)
		return serve_mounted(serving, fs);
	r = hooks->start(hooks->arg, fs->volume);
	if (r < 0) {
		log_error_errno(r, "cannot start the control socket");
		return r;
	}
	r = serve_mounted(serving, fs);
	hooks->stop(hooks->arg);
	return r;
}

int serve(struct serving *serving)
{
	struct fs fs = { .options = serving->options,
			 .ready = serving->ready,
			 .ready_arg = serving->ready_arg };
	int r;

	fuse_set_log_func(log_of_library);
	mutex_init(&fs.lock, 45);
	table_init(&fs.modes);
	/* Before the volume: a signal while it opens ends in a clean close. */
	r = start_session(serving, &fs);
	if (r == 0)
		r = open_volume(serving, &fs);
	if (r == 0)
		r = serve_opened(serving, &fs);
	handles_close(&fs);
	volume_close(fs.volume);
	notifier_free(fs.notifier); /* a thread of the volume may have held it */
	if (fs.session) {
		fuse_remove_signal_handlers(fs.session);
		fuse_session_destroy(fs.session);
	}
	io_fini(&fs);
	mutex_fini(&fs.lock);
	return r;
}
