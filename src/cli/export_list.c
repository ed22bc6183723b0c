/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/export_list.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "cli/cli.h"
#include "cli/findings.h"
#include "util/xml.h"
#include "util/cleanup.h"
#include "util/clock.h"
#include "util/io.h"

#define NAMED_MAX 50

struct lister {
	struct cli *cli;
	const struct target *target;
	struct export_list *list;
	bool live;              /* evicted files can be read */
	bool announced_only;    /* the second look: only what no tier has yet */
	struct verdict refused; /* one finding a file */
	bool damaged, pending;
};

void export_list_fini(struct export_list *list)
{
	for (size_t i = 0; i < list->count; i++) {
		free((char *)list->members[i].path);
		free((char *)list->members[i].target);
	}
	free(list->members);
	if (list->root_fd >= 0)
		(void)close(list->root_fd); /* read only */
	*list = (struct export_list){ .root_fd = -1 };
}

static int refuse(struct lister *lister, const char *path, const char *why)
{
	return verdict_add(&lister->refused, FINDING_UNREADABLE, path, "%s", why);
}

/* Takes the strings of @member, also on failure. */
static int append(struct export_list *list, const struct member *member)
{
	struct member *grown = list->members;

	if ((list->count & (list->count - 1)) == 0)
		grown = reallocarray(grown, list->count ? list->count * 2 : 1, sizeof(*grown));
	list->members = grown ? grown : list->members;
	if (!grown || !member->path || (member->kind == MEMBER_LINK && !member->target)) {
		free((char *)member->path);
		free((char *)member->target);
		return -ENOMEM;
	}
	grown[list->count++] = *member;
	return 0;
}

static char *link_target(int root_fd, const char *path)
{
	char target[PATH_MAX];
	ssize_t length = readlinkat(root_fd, path, target, sizeof(target) - 1);

	if (length < 0)
		return NULL;
	target[length] = '\0';
	return strdup(target);
}

/* Why the file of the listing @file cannot go into an archive; NULL: it can. */
static const char *why_not(struct lister *lister, const json_t *file, const struct stat *st,
			   struct member *member)
{
	const char *state = json_string_or(file, "state", "?");
	const char *digest = json_string_or(file, "digest", NULL);

	if (strcmp(state, "damaged") == 0) {
		lister->damaged = true;
		return "damaged: mediafs log says where";
	}
	if (!json_is_true(json_object_get(file, "verified")) || !digest ||
	    digest_parse(digest, &member->digest) < 0) {
		lister->pending = true;
		return "not verified yet: mediafs wait PATH --for verified";
	}
	if (st->st_size != json_int_or(file, "size", -1) ||
	    timespec_ns(st->st_mtim) != json_int_or(file, "mtime_ns", 0)) {
		lister->pending = true;
		return "it is being changed";
	}
	if (!lister->live && json_int_or(file, "resident_bytes", 0) < st->st_size)
		return "evicted, and the volume is not mounted: mount it, then its bytes are "
		       "fetched";
	member->has_digest = true;
	return NULL;
}

static int add(struct lister *lister, const char *path, const json_t *file)
{
	struct export_list *list = lister->list;
	struct member member = { .kind = MEMBER_FILE };
	const char *why = NULL;
	struct stat st;

	if (fstatat(list->root_fd, *path ? path : ".", &st, AT_SYMLINK_NOFOLLOW) < 0)
		return refuse(lister, path, strerror(errno));
	if (!xml_can_carry(path))
		return refuse(lister, path, "no packing list can carry its name: rename it");
	if (S_ISDIR(st.st_mode))
		member.kind = MEMBER_FOLDER;
	else if (S_ISLNK(st.st_mode))
		member.kind = MEMBER_LINK;
	else if (!S_ISREG(st.st_mode))
		return refuse(lister, path, "neither file nor folder nor link");
	else if (file)
		why = why_not(lister, file, &st, &member);
	if (why)
		return refuse(lister, path, why);
	member.mode = st.st_mode & 07777;
	member.uid = st.st_uid;
	member.gid = st.st_gid;
	member.size = S_ISREG(st.st_mode) ? (int64_t)st.st_size : 0;
	member.mtime_ns = timespec_ns(st.st_mtim);
	member.path = strdup(path);
	if (member.kind == MEMBER_LINK)
		member.target = link_target(list->root_fd, path);
	return append(list, &member);
}

static int on_file(void *arg, const json_t *line)
{
	struct lister *lister = arg;
	const json_t *file = json_object_get(line, "file");
	cleanup_free char *path = json_path_value(json_object_get(file, "path"));

	if (!path)
		return -EPROTO;
	if (interrupted())
		return -EINTR;
	if (!lister->announced_only)
		return add(lister, path, file);
	if (strcmp(json_string_or(file, "state", ""), "announced") != 0)
		return 0;
	lister->pending = true;
	return refuse(lister, path, "another site has it, and no tier yet: wait for it");
}

static int ask(struct lister *lister, struct client *client, const char *path)
{
	cleanup_json json_t *final = NULL;
	json_t *request = target_request("ls", path);

	if (request)
		(void)json_object_set_new(request, "recursive", json_true());
	if (request && lister->announced_only)
		(void)json_object_set_new(request, "pending", json_true());
	return target_call(lister->cli, client, request, 0, on_file, lister, &final);
}

/* The folder itself, then what is in it. */
static int list_one(struct lister *lister, struct client *client, const char *path)
{
	struct stat st;
	int code, r;

	if (fstatat(lister->list->root_fd, *path ? path : ".", &st, AT_SYMLINK_NOFOLLOW) < 0)
		return cli_fail_errno(lister->cli, -errno, "%s", path);
	r = *path && S_ISDIR(st.st_mode) ? add(lister, path, NULL) : 0;
	if (r < 0)
		return cli_fail_errno(lister->cli, r, "%s", path);
	lister->announced_only = false;
	code = ask(lister, client, path);
	lister->announced_only = true;
	return code ? code : ask(lister, client, path);
}

static bool is_under(const char *path, const char *top)
{
	size_t length = strlen(top);

	return length == 0 ||
	       (strncmp(path, top, length) == 0 && (path[length] == '\0' || path[length] == '/'));
}

/* 0, or the exit code. *ret_path: of argument @i in the volume; caller frees. */
static int argument_path(struct lister *lister, size_t i, char **ret_path)
{
	struct cli *cli = lister->cli;
	cleanup_with(target_fini) struct target target = { 0 };
	int code = target_find(cli, cli->options.args[i], &target);

	if (code)
		return code;
	if (strcmp(target.store, lister->target->store) != 0)
		return cli_fail(cli, MEDIAFS_EXIT_USAGE, "%s and %s are in different volumes",
				cli->options.args[0], cli->options.args[i]);
	*ret_path = take_ptr(target.path);
	return 0;
}

static int tell_refused(struct lister *lister)
{
	struct verdict *refused = &lister->refused;
	struct cli *cli = lister->cli;
	int code = lister->damaged   ? MEDIAFS_EXIT_DAMAGED
		   : lister->pending ? MEDIAFS_EXIT_PENDING
				     : MEDIAFS_EXIT_FAILED;

	if (cli->json)
		return cli_print_json(cli,
				      json_pack("{s:s,s:i,s:o}", "error",
						"not all files can be exported: nothing was "
						"written",
						"code", code, "findings", findings_json(refused)),
				      code);
	for (size_t i = 0; i < refused->count && i < NAMED_MAX; i++) {
		cleanup_free char *path = printable(refused->findings[i].path);

		cli_note(cli, "mediafs export: %s: %s", path ? path : "?",
			 refused->findings[i].detail);
	}
	return cli_fail(cli, code, "%zu file%s cannot be exported: nothing was written",
			refused->count, refused->count == 1 ? "" : "s");
}

int export_list_make(struct cli *cli, const struct target *target, struct export_list *list)
{
	cleanup_with(client_close_slot) struct client *client = NULL;
	struct lister lister = { .cli = cli, .target = target, .list = list };
	cleanup_free char *root = target_show(target, target->mountpoint ? "" : "tree");
	size_t count = cli->options.arg_count;
	char **paths = calloc(count, sizeof(*paths));
	int code = paths && root ? target_open(cli, target, &client)
				 : cli_fail_errno(cli, -ENOMEM, "cannot start");

	lister.live = client && client_is_live(client) && target->mountpoint;
	if (code == 0) {
		list->root_fd = open(root, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
		if (list->root_fd < 0)
			code = cli_fail_errno(cli, -errno, "%s", root);
	}
	for (size_t i = 0; code == 0 && i < count; i++)
		code = argument_path(&lister, i, &paths[i]);
	for (size_t i = 0; code == 0 && i < count; i++) {
		bool again = false;

		for (size_t j = 0; j < count; j++)
			again = again || (is_under(paths[i], paths[j]) &&
					  (j < i || (j > i && strcmp(paths[i], paths[j]) != 0)));
		if (!again)
			code = list_one(&lister, client, paths[i]);
	}
	if (code == 0 && lister.refused.count)
		code = tell_refused(&lister);
	for (size_t i = 0; paths && i < count; i++)
		free(paths[i]);
	free(paths);
	verdict_fini(&lister.refused);
	return code;
}
