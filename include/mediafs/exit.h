/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * Exit codes of mediafs(1). Scripts rely on them: never renumber.
 * `mediafs manifest` ends with the class of its verdict (manifest/history.h);
 * mediafs-fsck(8) has the bits of fsck(8), mount.mediafs(8) the codes of mount(8).
 */
enum mediafs_exit {
	MEDIAFS_EXIT_OK = 0,
	MEDIAFS_EXIT_FAILED = 1,  /* could not be done; the message says why */
	MEDIAFS_EXIT_USAGE = 2,   /* unknown command or option, missing or wrong argument */
	MEDIAFS_EXIT_PENDING = 3, /* wait: not there yet when --timeout ended */
	MEDIAFS_EXIT_OFFLINE = 4, /* the tier cannot be reached, or the volume is not mounted */
	MEDIAFS_EXIT_DAMAGED = 5, /* bytes do not match, a file was set aside, a card lacks files */
	MEDIAFS_EXIT_BUSY = 6,    /* store, mount point or file is in use */
	MEDIAFS_EXIT_CONFIG = 7,  /* mediafs.conf or a value for it is wrong */
	MEDIAFS_EXIT_NO_ENTRY = 8, /* no such store, volume, path, key or tier */
	MEDIAFS_EXIT_DENIED = 9,   /* no permission, or read-only */
	MEDIAFS_EXIT_VERSION = 10, /* made by a newer mediafs */
};
