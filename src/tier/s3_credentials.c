/* SPDX-License-Identifier: Apache-2.0 */
#include "tier/s3_credentials.h"

#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <string.h>
#include <sys/stat.h>

#include "tier/s3_process.h"
#include "util/clock.h"
#include "util/io.h"
#include "util/thread.h"

#define FILE_MAX 65536

/* Keys are replaced this long before they expire. */
#define EARLY_S 300

struct s3_credentials {
	/* Constant after s3_credentials_new(). */
	char *profile, *file; /* owned; NULL: not named */

	struct mutex lock; /* rank 81; guards the rest */
	struct cond changed;
	bool loading; /* by one thread, without the lock */
	struct s3_keys keys;
};

static void wipe(char *secret)
{
	if (secret)
		explicit_bzero(secret, strlen(secret));
	free(secret);
}

void s3_keys_fini(struct s3_keys *keys)
{
	wipe(keys->access_key);
	wipe(keys->secret_key);
	wipe(keys->token);
	memset(keys, 0, sizeof(*keys));
}

void s3_profile_fini(struct s3_profile *profile)
{
	s3_keys_fini(&profile->keys);
	free(profile->process);
	profile->process = NULL;
}

static bool complete(const struct s3_keys *keys)
{
	return keys->access_key && keys->secret_key;
}

static int copy_keys(const struct s3_keys *from, struct s3_keys *ret_keys)
{
	cleanup_with(s3_keys_fini) struct s3_keys copy = { .expires_s = from->expires_s };

	copy.access_key = strdup(from->access_key);
	copy.secret_key = strdup(from->secret_key);
	copy.token = from->token ? strdup(from->token) : NULL;
	if (!complete(&copy) || (from->token && !copy.token))
		return -ENOMEM;
	*ret_keys = copy;
	memset(&copy, 0, sizeof(copy));
	return 0;
}

static bool same_text(const char *a, const char *b)
{
	return a && b ? strcmp(a, b) == 0 : a == b;
}

static bool same_keys(const struct s3_keys *a, const struct s3_keys *b)
{
	return same_text(a->access_key, b->access_key) && same_text(a->secret_key, b->secret_key) &&
	       same_text(a->token, b->token);
}

/* Files ---------------------------------------------------------------------------------- */

/* Wiped when done: it held secrets. */
void secret_text_fini(struct secret_text *secret)
{
	if (secret->text)
		explicit_bzero(secret->text, secret->length);
	free(secret->text);
}

int read_secret(const char *path, enum file_rule rule, struct secret_text *ret_text)
{
	cleanup_close int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
	cleanup_free char *text = NULL;
	struct stat st;
	int r;

	if (fd < 0)
		return -errno;
	if (fstat(fd, &st) < 0)
		return -errno;
	if (!S_ISREG(st.st_mode) || st.st_size > FILE_MAX)
		return -EINVAL;
	if (rule == FILE_PRIVATE && (st.st_mode & 077))
		return -EACCES;
	text = malloc((size_t)st.st_size + 1);
	if (!text)
		return -ENOMEM;
	r = read_at(fd, text, (size_t)st.st_size, 0);
	if (r < 0)
		return r;
	text[st.st_size] = 0;
	*ret_text = (struct secret_text){ take_ptr(text), (size_t)st.st_size };
	return 0;
}

/* Keys from what a profile says. 1 some, 0 none. */
static int use_profile(struct s3_profile *profile, struct s3_keys *ret_keys)
{
	int r;

	if (complete(&profile->keys)) {
		*ret_keys = profile->keys;
		memset(&profile->keys, 0, sizeof(profile->keys));
		return 1;
	}
	if (!profile->process)
		return 0;
	r = s3_run_process(profile->process, ret_keys);
	return r < 0 ? r : 1;
}

/* 1 keys, 0 none there (or no such file). */
static int load_file(const char *path, const char *name, enum file_rule rule,
		     struct s3_keys *ret_keys)
{
	cleanup_with(s3_profile_fini) struct s3_profile profile = { 0 };
	cleanup_with(secret_text_fini) struct secret_text text = { 0 };
	int r = read_secret(path, rule, &text);

	if (r == -ENOENT || r == -ENOTDIR)
		return 0;
	if (r < 0)
		return r;
	r = s3_profile_parse(text.text, text.length, name, &profile);
	return r <= 0 ? r : use_profile(&profile, ret_keys);
}

static char *home_file(const char *variable, const char *name)
{
	const char *given = getenv(variable), *home = getenv("HOME");
	char *path;

	if (given && *given)
		return strdup(given);
	return asprintf(&path, "%s/.aws/%s", home && *home ? home : "/root", name) < 0 ? NULL
										       : path;
}

static int load_home(const char *profile, struct s3_keys *ret_keys)
{
	cleanup_free char *credentials = home_file("AWS_SHARED_CREDENTIALS_FILE", "credentials");
	cleanup_free char *config = home_file("AWS_CONFIG_FILE", "config");
	cleanup_free char *section = NULL;
	int r;

	if (asprintf(&section, "%s%s", strcmp(profile, "default") == 0 ? "" : "profile ", profile) <
	    0) {
		section = NULL;
		return -ENOMEM;
	}
	if (!credentials || !config)
		return -ENOMEM;
	r = load_file(credentials, profile, FILE_ANY, ret_keys);
	return r == 0 ? load_file(config, section, FILE_ANY, ret_keys) : r;
}

static int load_systemd(struct s3_keys *ret_keys)
{
	const char *folder = getenv("CREDENTIALS_DIRECTORY");
	cleanup_free char *path = NULL;

	if (!folder || !*folder)
		return 0;
	path = path_join(folder, "mediafs-s3");
	return path ? load_file(path, "default", FILE_ANY, ret_keys) : -ENOMEM;
}

static int load_environment(struct s3_keys *ret_keys)
{
	const struct s3_keys keys = {
		.access_key = getenv("AWS_ACCESS_KEY_ID"),
		.secret_key = getenv("AWS_SECRET_ACCESS_KEY"),
		.token = getenv("AWS_SESSION_TOKEN"),
	};
	int r;

	if (!complete(&keys) || !*keys.access_key || !*keys.secret_key)
		return 0;
	r = copy_keys(&keys, ret_keys);
	return r < 0 ? r : 1;
}

/* 1 keys, 0 none anywhere. */
static int load(const struct s3_credentials *source, struct s3_keys *ret_keys)
{
	const char *profile = getenv("AWS_PROFILE");
	int r;

	if (source->file)
		return load_file(source->file, source->profile ? source->profile : "default",
				 FILE_PRIVATE, ret_keys);
	if (source->profile)
		return load_home(source->profile, ret_keys);
	r = load_systemd(ret_keys);
	if (r == 0)
		r = load_environment(ret_keys);
	if (r == 0)
		r = load_home(profile && *profile ? profile : "default", ret_keys);
	return r;
}

/* What others see ------------------------------------------------------------------------ */

int s3_credentials_new(const char *profile, const char *file, struct s3_credentials **ret_source)
{
	cleanup_with(s3_credentials_free_slot) struct s3_credentials *source =
		calloc(1, sizeof(*source));

	if (!source)
		return -ENOMEM;
	mutex_init(&source->lock, 81);
	cond_init(&source->changed);
	source->profile = profile ? strdup(profile) : NULL;
	source->file = file ? strdup(file) : NULL;
	if ((profile && !source->profile) || (file && !source->file))
		return -ENOMEM;
	*ret_source = take_ptr(source);
	return 0;
}

void s3_credentials_free(struct s3_credentials *source)
{
	if (!source)
		return;
	s3_keys_fini(&source->keys);
	free(source->profile);
	free(source->file);
	cond_fini(&source->changed);
	mutex_fini(&source->lock);
	free(source);
}

static bool usable_locked(const struct s3_credentials *source, const struct s3_keys *refused)
{
	const struct s3_keys *keys = &source->keys;

	mutex_assert_held(&source->lock);
	return complete(keys) && !(refused && same_keys(keys, refused)) &&
	       (!keys->expires_s || keys->expires_s > realtime_ns() / NS_PER_SEC + EARLY_S);
}

int s3_credentials_get(struct s3_credentials *source, const struct s3_keys *refused,
		       struct s3_keys *ret_keys)
{
	cleanup_with(s3_keys_fini) struct s3_keys loaded = { 0 };
	int r;

	mutex_lock(&source->lock);
	while (source->loading)
		cond_wait(&source->changed, &source->lock);
	if (usable_locked(source, refused)) {
		r = copy_keys(&source->keys, ret_keys);
		mutex_unlock(&source->lock);
		return r;
	}
	source->loading = true;
	mutex_unlock(&source->lock);

	r = load(source, &loaded);
	if (r == 0)
		r = -ENOKEY;

	mutex_lock(&source->lock);
	source->loading = false;
	cond_broadcast(&source->changed);
	if (r == 1) {
		struct s3_keys old = source->keys;

		source->keys = loaded;
		loaded = old; /* wiped at the end */
		r = refused && same_keys(&source->keys, refused)
			    ? -EKEYREJECTED
			    : copy_keys(&source->keys, ret_keys);
	}
	mutex_unlock(&source->lock);
	return r;
}
