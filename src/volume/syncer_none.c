/* SPDX-License-Identifier: Apache-2.0 */
#include "volume/syncer.h"
#include <stdlib.h>
struct syncer *syncer_new(struct volume *volume)
{
	(void)volume;
	return malloc(1);
}
int syncer_start(struct syncer *syncer)
{
	(void)syncer;
	return 0;
}
void syncer_free(struct syncer *syncer)
{
	free(syncer);
}
void syncer_wake(struct syncer *syncer)
{
	(void)syncer;
}
int syncer_run(struct syncer *syncer)
{
	(void)syncer;
	return 0;
}
