/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/options.h"

#include <errno.h>

#include "test.h"

static const struct option_spec common[] = {
	{ OPT_JSON, 0, "json", NULL, "" },
	{ OPT_STORE, 0, "store", "STORE", "" },
	{ OPT_END, 0, NULL, NULL, NULL },
};
static const struct option_spec own[] = {
	{ OPT_LONG, 'l', "long", NULL, "" },  { OPT_RECURSIVE, 'R', NULL, NULL, "" },
	{ OPT_LINES, 'n', "lines", "N", "" }, { OPT_MOUNT, 'o', NULL, "OPTIONS", "" },
	{ OPT_END, 0, NULL, NULL, NULL },
};
static const struct option_spec *const tables[] = { own, common, NULL };

static struct options options;
static char message[128];

static int parse(const char *first, const char *second, const char *third, const char *fourth)
{
	char *argv[] = { (char *)first, (char *)second, (char *)third, (char *)fourth, NULL };
	int argc = 0;

	while (argv[argc])
		argc++;
	options_fini(&options);
	return options_parse(tables, argc, argv, &options, message, sizeof(message));
}

TEST(options_and_arguments_mix)
{
	check_int(parse("a", "--json", "-lR", "b"), 0);
	check(options.given[OPT_JSON] && options.given[OPT_LONG] && options.given[OPT_RECURSIVE]);
	check(!options.given[OPT_LINES]);
	check_int(options.arg_count, 2);
	check_str(options.args[0], "a");
	check_str(options.args[1], "b");
	check(options.args[2] == NULL);
}

TEST(values_come_in_all_spellings)
{
	static const char *const spellings[][2] = {
		{ "-n5", NULL },    { "-n", "5" },    { "--lines=5", NULL },
		{ "--lines", "5" }, { "-ln5", NULL },
	};
	size_t i;

	for (i = 0; i < sizeof(spellings) / sizeof(spellings[0]); i++) {
		check_int(parse(spellings[i][0], spellings[i][1], NULL, NULL), 0);
		check_str(options.value[OPT_LINES], "5");
		check_int(options.arg_count, 0);
	}
	check_int(parse("-n", "-5", NULL, NULL), 0);
	check_str(options.value[OPT_LINES], "-5");
	check_int(parse("--lines=", NULL, NULL, NULL), 0);
	check_str(options.value[OPT_LINES], "");
}

TEST(double_dash_ends_options)
{
	check_int(parse("--", "--json", "-l", "-"), 0);
	check(!options.given[OPT_JSON] && !options.given[OPT_LONG]);
	check_int(options.arg_count, 3);
	check_int(parse("-", NULL, NULL, NULL), 0);
	check_str(options.args[0], "-");
}

TEST(mount_options_collect)
{
	check_int(parse("-o", "ro", "-oallow_other", NULL), 0);
	check_str(options.value[OPT_MOUNT], "ro,allow_other");
}

TEST(last_value_counts)
{
	check_int(parse("--store=a", "--store", "b", NULL), 0);
	check_str(options.value[OPT_STORE], "b");
}

TEST(wrong_options_are_named)
{
	static const struct {
		const char *argument, *text;
	} wrong[] = {
		{ "--nope=3", "unknown option --nope" },
		{ "--jso", "unknown option --jso" },
		{ "-x", "unknown option -x" },
		{ "-lx", "unknown option -x" },
		{ "--json=1", "no value is wanted by --json" },
		{ "--store", "a value is missing after --store" },
		{ "-ln", "a value is missing after -n" },
		{ "---", "unknown option ---" },
	};
	size_t i;

	for (i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
		check_int(parse(wrong[i].argument, NULL, NULL, NULL), -EINVAL);
		check_str(message, wrong[i].text);
	}
}
