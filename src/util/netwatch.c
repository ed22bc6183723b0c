/* SPDX-License-Identifier: Apache-2.0 */
#include "util/netwatch.h"

#include <errno.h>
#include <linux/netlink.h>
#include <linux/rtnetlink.h>
#include <poll.h>
#include <stdint.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include "util/cleanup.h"
#include "util/clock.h"

/* Changes that follow each other so closely are one, up to so long. */
#define QUIET_MS 300
#define BURST_NS (3 * NS_PER_SEC)

int netwatch_open(struct netwatch *watch)
{
	const struct sockaddr_nl address = {
		.nl_family = AF_NETLINK,
		.nl_groups = RTMGRP_LINK | RTMGRP_IPV4_IFADDR | RTMGRP_IPV6_IFADDR |
			     RTMGRP_IPV4_ROUTE | RTMGRP_IPV6_ROUTE,
	};
	cleanup_close int changes_fd =
		socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC | SOCK_NONBLOCK, NETLINK_ROUTE);
	cleanup_close int stop_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);

	if (changes_fd < 0 || stop_fd < 0 ||
	    bind(changes_fd, (const struct sockaddr *)&address, sizeof(address)) < 0)
		return -errno;
	watch->changes_fd = take_fd(changes_fd);
	watch->stop_fd = take_fd(stop_fd);
	return 0;
}

void netwatch_close(struct netwatch *watch)
{
	close_fd_slot(&watch->changes_fd);
	close_fd_slot(&watch->stop_fd);
	*watch = NETWATCH_NONE;
}

/* 1 something was read, 0 nothing came in time, negative errno. What it says is not looked at:
 * whoever waits asks the network itself. */
static int take_changes(struct netwatch *watch, int timeout_ms)
{
	struct pollfd fds[] = { { watch->changes_fd, POLLIN, 0 }, { watch->stop_fd, POLLIN, 0 } };
	char buffer[8192];
	ssize_t length;

	if (poll(fds, 2, timeout_ms) < 0)
		return errno == EINTR ? 1 : -errno;
	if (fds[1].revents)
		return -ECANCELED;
	if (!fds[0].revents)
		return 0;
	while ((length = recv(watch->changes_fd, buffer, sizeof(buffer), 0)) > 0)
		;
	/* ENOBUFS: there were more than the socket keeps. */
	return length < 0 && errno != EAGAIN && errno != ENOBUFS && errno != EINTR ? -errno : 1;
}

int netwatch_wait(struct netwatch *watch)
{
	int r = take_changes(watch, -1);
	int64_t until_ns = monotonic_ns() + BURST_NS;

	while (r > 0 && monotonic_ns() < until_ns)
		r = take_changes(watch, QUIET_MS);
	return r < 0 ? r : 0;
}

void netwatch_stop(struct netwatch *watch)
{
	static const uint64_t one = 1;

	if (watch->stop_fd >= 0)
		(void)!write(watch->stop_fd, &one, sizeof(one));
}
