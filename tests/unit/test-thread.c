/* SPDX-License-Identifier: Apache-2.0 */
#include "util/thread.h"

#include <sys/wait.h>
#include <unistd.h>

#include "test.h"
#include "util/clock.h"

TEST(taking_locks_against_their_rank_aborts)
{
	struct mutex low, high;
	int status;
	pid_t pid;

	mutex_init(&low, 10);
	mutex_init(&high, 20);
	pid = fork();
	if (pid == 0) {
		(void)freopen("/dev/null", "w", stderr);
		mutex_lock(&high);
		mutex_lock(&low);
		_exit(0);
	}
	check_int(waitpid(pid, &status, 0), pid);
	check(WIFSIGNALED(status));
}

TEST(a_wait_ends_at_its_deadline)
{
	struct mutex lock;
	struct cond cond;

	mutex_init(&lock, 10);
	cond_init(&cond);
	scoped_lock(&lock);
	check(!cond_wait_until(&cond, &lock, monotonic_ns() + NS_PER_MS));
}
