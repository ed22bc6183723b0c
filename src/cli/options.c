/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/options.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

static const struct option_spec *find_name(const struct option_spec *const *tables,
					   const char *name, size_t length)
{
	const struct option_spec *spec;

	for (; *tables; tables++) {
		for (spec = *tables; spec->id != OPT_END; spec++) {
			if (spec->name && strlen(spec->name) == length &&
			    memcmp(spec->name, name, length) == 0)
				return spec;
		}
	}
	return NULL;
}

static const struct option_spec *find_letter(const struct option_spec *const *tables, char letter)
{
	const struct option_spec *spec;

	for (; *tables; tables++) {
		for (spec = *tables; spec->id != OPT_END; spec++) {
			if (spec->letter && spec->letter == letter)
				return spec;
		}
	}
	return NULL;
}

/* What people repeat is collected, joined by this; 0: the last one counts. */
static char joint_of(enum option_id id)
{
	switch (id) {
	case OPT_MOUNT:
		return ',';
	case OPT_IGNORE:
		return '\n';
	default:
		return 0;
	}
}

static int take(struct options *options, const struct option_spec *spec, const char *value)
{
	char **slot = &options->joined[spec->id], joint = joint_of(spec->id), *joined;

	options->given[spec->id] = true;
	options->value[spec->id] = value;
	if (!joint || !value)
		return 0;
	if (!*slot) {
		*slot = strdup(value);
	} else {
		if (asprintf(&joined, "%s%c%s", *slot, joint, value) < 0)
			return -ENOMEM;
		free(*slot);
		*slot = joined;
	}
	options->value[spec->id] = *slot;
	return *slot ? 0 : -ENOMEM;
}

struct parse {
	const struct option_spec *const *tables;
	int argc, next;
	char *const *argv;
	struct options *options;
	char *message;
	size_t message_size;
};

static int complain(struct parse *parse, const char *what, const char *prefix, const char *name,
		    int length)
{
	(void)snprintf(parse->message, parse->message_size, "%s %s%.*s", what, prefix, length,
		       name);
	return -EINVAL;
}

static int parse_long(struct parse *parse, const char *text)
{
	const char *equals = strchr(text, '=');
	size_t length = equals ? (size_t)(equals - text) : strlen(text);
	const struct option_spec *spec = find_name(parse->tables, text, length);
	const char *value = equals ? equals + 1 : NULL;

	if (!spec)
		return complain(parse, "unknown option", "--", text, (int)length);
	if (!spec->argument && value)
		return complain(parse, "no value is wanted by", "--", text, (int)length);
	if (spec->argument && !value) {
		if (parse->next >= parse->argc)
			return complain(parse, "a value is missing after", "--", text, (int)length);
		value = parse->argv[parse->next++];
	}
	return take(parse->options, spec, value);
}

static int parse_letters(struct parse *parse, const char *text)
{
	const struct option_spec *spec;
	int r;

	for (; *text; text++) {
		spec = find_letter(parse->tables, *text);
		if (!spec)
			return complain(parse, "unknown option", "-", text, 1);
		if (!spec->argument) {
			r = take(parse->options, spec, NULL);
			if (r < 0)
				return r;
			continue;
		}
		if (text[1])
			return take(parse->options, spec, text + 1);
		if (parse->next >= parse->argc)
			return complain(parse, "a value is missing after", "-", text, 1);
		return take(parse->options, spec, parse->argv[parse->next++]);
	}
	return 0;
}

int options_parse(const struct option_spec *const *tables, int argc, char *const *argv,
		  struct options *ret_options, char *ret_message, size_t message_size)
{
	struct parse parse = { tables, argc, 0, argv, ret_options, ret_message, message_size };
	bool only_args = false;
	const char *text;
	int r;

	*ret_options = (struct options){ 0 };
	ret_message[0] = '\0';
	ret_options->args = calloc((size_t)argc + 1, sizeof(*ret_options->args));
	if (!ret_options->args)
		return -ENOMEM;
	while (parse.next < argc) {
		text = argv[parse.next++];
		if (only_args || text[0] != '-' || text[1] == '\0') {
			ret_options->args[ret_options->arg_count++] = text;
			continue;
		}
		if (strcmp(text, "--") == 0) {
			only_args = true;
			continue;
		}
		r = text[1] == '-' ? parse_long(&parse, text + 2) : parse_letters(&parse, text + 1);
		if (r < 0)
			return r;
	}
	return 0;
}

void options_fini(struct options *options)
{
	for (size_t i = 0; i < OPTION_COUNT; i++)
		free(options->joined[i]);
	free(options->args);
	*options = (struct options){ 0 };
}

void options_print(const struct option_spec *table, FILE *out)
{
	char left[64], letter[8];

	for (; table->id != OPT_END; table++) {
		(void)snprintf(letter, sizeof(letter), table->letter ? "-%c" : "    ",
			       table->letter);
		(void)snprintf(left, sizeof(left), "%s%s%s%s%s%s", letter,
			       table->letter && table->name ? ", " : "", table->name ? "--" : "",
			       table->name ? table->name : "", table->argument ? " " : "",
			       table->argument ? table->argument : "");
		(void)fprintf(out, "  %-24s %s\n", left, table->help);
	}
}
