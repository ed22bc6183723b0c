/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/target.h"

#include <stdlib.h>

#include "test.h"

TEST(mounts_of_ours_are_found_in_mountinfo)
{
	struct mount_entry entry;

	check_int(mountinfo_line("36 35 0:48 / /mnt/my\\040cart rw,nosuid shared:1 master:2 - "
				 "fuse.mediafs /data/a\\134b rw,user_id=0\n",
				 &entry),
		  1);
	check_str(entry.mountpoint, "/mnt/my cart");
	check_str(entry.store, "/data/a\\b");
	free(entry.mountpoint);
	free(entry.store);
	check_int(mountinfo_line("36 35 0:48 / /mnt rw - fuse.mediafs /s rw", &entry), 1);
	free(entry.mountpoint);
	free(entry.store);
	check_int(mountinfo_line("36 35 0:48 / /mnt rw - fuse.other /s rw", &entry), 0);
	check_int(mountinfo_line("36 35 0:48 / /mnt rw - fuse /s rw", &entry), 0);
	check_int(mountinfo_line("36 35 0:48 / - rw - ext4 /s rw", &entry), 0);
	check_int(mountinfo_line("", &entry), 0);
	check_int(mountinfo_line("-", &entry), 0);
	check_int(mountinfo_line("1 2 3 4 5 6 -", &entry), 0);
	check_int(mountinfo_line("1 2 3 4 5 6 - fuse.mediafs", &entry), 0);
}
