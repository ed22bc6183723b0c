/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * Tells when this machine's network changes: links, addresses, routes (rtnetlink(7)).
 */
struct netwatch {
	int changes_fd; /* netlink socket, -1 not open */
	int stop_fd;    /* eventfd, -1 not open */
};

#define NETWATCH_NONE ((struct netwatch){ -1, -1 })

/* Negative errno where the kernel or a sandbox gives no such socket. */
int netwatch_open(struct netwatch *watch);

/* Nobody may wait any more. */
void netwatch_close(struct netwatch *watch);

/*
 * Wait until something changed and then nothing for a moment (several things change at once when
 * a link comes up). 0; -ECANCELED after netwatch_stop(); or the socket's error.
 */
int netwatch_wait(struct netwatch *watch);

/* Whoever waits leaves, for good. From any thread. */
void netwatch_stop(struct netwatch *watch);
