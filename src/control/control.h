/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * Control: the socket of a running volume, STORE/run/control (mode 0600; the peer must be
 * root or the store's owner). One JSON object a line in; JSON lines out, the last of a
 * request is {"done":true,"code":N,...}. Requests and their answers: control/requests.h.
 *
 * The mount daemon starts it after volume_open() and stops it before volume_close().
 */
struct control;
struct volume;

/*
 * Listen, and answer in threads of its own. The caller holds the store's lock, so a socket
 * that is there already is a dead one and is replaced. Negative errno.
 */
int control_start(struct volume *volume, struct control **ret_control);

/* Answer nothing more, end the connections, join the threads, remove the socket. NULL is fine. */
void control_stop(struct control *control);
