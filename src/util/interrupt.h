/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* ^C (SIGINT) and SIGTERM, noticed where there is a good place to stop. */
#include <stdbool.h>

/* From now on they no longer end the process. */
void catch_interrupts(void);

/* True once one of them came. A call may give EINTR without: after ^Z and fg, see signal(7). */
bool interrupted(void);
