/* SPDX-License-Identifier: Apache-2.0 */
#include "volume/limit.h"

#include <stdlib.h>

#include "cart.h"
#include "test.h"

#define MIB (1u << 20)
/* Monday, 1 June 2026, 00:00 UTC. */
#define MONDAY_NS (1780272000ll * NS_PER_SEC)
#define HOUR_NS (3600ll * NS_PER_SEC)

static void check_limit(struct cart *cart, int64_t when, uint64_t rate, enum limit_rule rule,
			int64_t until)
{
	struct limit_now now = volume_limit_at(cart->volume, when);

	check_int(now.per_second, rate);
	check_int(now.rule, rule);
	check_int(volume_limit_until(cart->volume, when), until);
}

static void limit(struct cart *cart, const char *rate, int64_t for_ns, int result)
{
	cleanup_free char *message = NULL;

	check_int(volume_limit(cart->volume, rate, for_ns, &message), result);
	check_int(message != NULL, result == -EINVAL);
}

TEST(an_override_rules_before_the_timetable_and_that_before_the_limit)
{
	cleanup_cart struct cart *cart = cart_new("[transfer]\nlimit = 10M\n"
						  "timetable = mon-fri 07:00-19:00 2M\n");
	int64_t now = realtime_ns();
	struct limit_now other;

	check_int(setenv("TZ", "UTC0", 1), 0);
	check_limit(cart, MONDAY_NS, 10 * MIB, LIMIT_BY_SETTING, MONDAY_NS + 7 * HOUR_NS);
	check_limit(cart, MONDAY_NS + 7 * HOUR_NS, 2 * MIB, LIMIT_BY_TIMETABLE,
		    MONDAY_NS + 19 * HOUR_NS);
	limit(cart, "5M", 100 * 24 * HOUR_NS, 0);
	other = volume_limit_at(cart->volume, now);
	check_int(other.per_second, 5 * MIB);
	check_int(other.rule, LIMIT_BY_OVERRIDE);
	check(volume_limit_until(cart->volume, now) >= now + 100 * 24 * HOUR_NS);
	/* A moment after its end nothing is left of it, whoever looks. */
	check_int(volume_limit_at(cart->volume, now + 101 * 24 * HOUR_NS).rule != LIMIT_BY_OVERRIDE,
		  1);
}

TEST(an_override_holds_over_a_restart_until_its_time_has_come)
{
	cleanup_cart struct cart *cart = cart_new("[transfer]\nlimit = 10M\n");
	int64_t now = realtime_ns();

	limit(cart, "1M", HOUR_NS, 0);
	limit(cart, "2M", 2 * HOUR_NS, 0);
	reopen(cart);
	check_int(volume_limit_at(cart->volume, now).per_second, 2 * MIB);
	check_int(volume_limit_at(cart->volume, now).rule, LIMIT_BY_OVERRIDE);
	check_limit(cart, now + 3 * HOUR_NS, 10 * MIB, LIMIT_BY_SETTING, 0);
	limit(cart, "none", HOUR_NS, 0);
	check_int(volume_limit_at(cart->volume, now).per_second, 0);
	/* For good: what was for a while has ended. */
	limit(cart, "3M", 0, 0);
	check_limit(cart, now, 3 * MIB, LIMIT_BY_SETTING, 0);
	reopen(cart);
	check_limit(cart, now, 3 * MIB, LIMIT_BY_SETTING, 0);
}

TEST(what_is_no_rate_changes_nothing)
{
	cleanup_cart struct cart *cart = cart_new("[transfer]\nlimit = 10M\n");
	int64_t now = realtime_ns();

	limit(cart, "fast", HOUR_NS, -EINVAL);
	limit(cart, "fast", 0, -EINVAL);
	check_limit(cart, now, 10 * MIB, LIMIT_BY_SETTING, 0);
}
