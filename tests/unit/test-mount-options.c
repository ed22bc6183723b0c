/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <sys/mount.h>

#include "fs/options.h"
#include "test.h"
#include "util/cleanup.h"

static void options_fini_slot(struct fs_options *options)
{
	fs_options_fini(options);
}

/* Parse @list over the defaults. */
static int parse(const char *list, struct fs_options *ret_options, char **ret_message)
{
	check_int(fs_options_init(ret_options, "/store", "/mnt"), 0);
	return fs_options_parse(ret_options, list, ret_message);
}

TEST(what_fstab_and_systemd_say_for_themselves_is_taken)
{
	cleanup_with(options_fini_slot) struct fs_options options;
	cleanup_free char *message = NULL;

	check_int(parse("defaults,noauto,user,users,user=me,nofail,_netdev,x-systemd.automount,"
			"x-gvfs-name=A\\,B,X-mount.mkdir=0755,comment=x,relatime,,",
			&options, &message),
		  0);
	check(message == NULL);
	check_int(options.access, FS_ACCESS_DEFAULT);
	check_int(options.set_flags, 0);
	check_int(options.clear_flags, 0);
}

TEST(later_options_win)
{
	cleanup_with(options_fini_slot) struct fs_options options;
	cleanup_free char *message = NULL;

	check_int(parse("ro,rw,suid,nosuid,atime,noatime,verify=close,verify=async,allow_owner,"
			"allow_other,fsname=a,fsname=b",
			&options, &message),
		  0);
	check_int(options.access, FS_ACCESS_READ_WRITE);
	check_int(options.set_flags, MS_NOSUID | MS_NOATIME);
	check_int(options.clear_flags, 0);
	check_int(options.verify, FS_VERIFY_ASYNC);
	check_int(options.allow, FS_ALLOW_OTHER);
	check_str(options.fsname, "b");
}

TEST(a_value_may_hold_an_escaped_comma)
{
	cleanup_with(options_fini_slot) struct fs_options options;
	cleanup_free char *message = NULL;

	check_int(parse("fsname=a\\,b\\\\c,ro", &options, &message), 0);
	check_str(options.fsname, "a,b\\c");
	check_int(options.access, FS_ACCESS_READ_ONLY);
}

TEST(what_is_not_known_is_named)
{
	static const struct {
		const char *list, *message;
	} cases[] = {
		{ "ro,frobnicate", "unknown mount option \"frobnicate\"" },
		{ "rox", "unknown mount option \"rox\"" },
		{ "ro=1", "unknown mount option \"ro=1\"" },
		{ "verify", "unknown mount option \"verify\"" },
		{ "verify=maybe", "verify=maybe: async or close" },
		{ "verify=", "verify=: async or close" },
		{ "pending=x", "pending=x: show or hide" },
		{ "fsname=", "fsname=: a name is missing" },
		{ "subtype=a.b", "subtype=a.b: a word without . and /" },
	};

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		cleanup_with(options_fini_slot) struct fs_options options;
		cleanup_free char *message = NULL;

		check_int(parse(cases[i].list, &options, &message), -EINVAL);
		check_str(message, cases[i].message);
	}
}
