/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * Where the keys of an S3 tier come from, the first that has some:
 *
 *   the file named by the option "credentials" (nobody but its owner may read it),
 *   the profile named by the option "profile",
 *   $CREDENTIALS_DIRECTORY/mediafs-s3 (systemd's LoadCredential=),
 *   $AWS_ACCESS_KEY_ID, $AWS_SECRET_ACCESS_KEY, $AWS_SESSION_TOKEN,
 *   ~/.aws/credentials and ~/.aws/config, profile $AWS_PROFILE or "default".
 *
 * Files are those of awscli; a profile may name a credential_process. Keys never leave this
 * module but in struct s3_keys, which is wiped when it is given up, and are never logged.
 */
#include <stdint.h>

#include "util/cleanup.h"

struct s3_credentials;

struct s3_keys {
	char *access_key, *secret_key; /* owned */
	char *token;                   /* owned; NULL: none */
	int64_t expires_s;             /* since 1970; 0: not known */
};

void s3_keys_fini(struct s3_keys *keys);

/* Nothing is read yet. @profile and @file may be NULL; both are copied. -ENOMEM. */
int s3_credentials_new(const char *profile, const char *file, struct s3_credentials **ret_source);
void s3_credentials_free(struct s3_credentials *source);
DEFINE_CLEANUP(struct s3_credentials *, s3_credentials_free)

/*
 * The keys now, read again when they are about to expire or are those that the server
 * @refused (NULL: none). Any thread; may run a program and wait for it.
 * -ENOKEY there are none; -EACCES the file may be read by others; -EINVAL a file or program
 * makes no sense; -EKEYREJECTED there are none but those that were refused.
 */
int s3_credentials_get(struct s3_credentials *source, const struct s3_keys *refused,
		       struct s3_keys *ret_keys);

/* A small file that holds a secret; wiped by secret_text_fini(). */
struct secret_text {
	char *text; /* owned */
	size_t length;
};
void secret_text_fini(struct secret_text *secret);

/* FILE_PRIVATE: nobody but its owner may read it, else -EACCES. -EINVAL it is no such file. */
enum file_rule { FILE_ANY, FILE_PRIVATE };
int read_secret(const char *path, enum file_rule rule, struct secret_text *ret_text);

/* What of a profile stands in the text of a file. Without sections, all of it counts. */
struct s3_profile {
	struct s3_keys keys; /* owned */
	char *process;       /* owned; credential_process; NULL: none */
};
void s3_profile_fini(struct s3_profile *profile);

/* 1 found, 0 not, -ENOMEM. @name as it stands between the brackets. No I/O. */
int s3_profile_parse(const char *text, size_t length, const char *name, struct s3_profile *profile);

/* The words of a command line, quotes taken off; the list is one allocation. -EINVAL, -ENOMEM. */
int s3_split_words(const char *line, char ***ret_words);

/* What a credential_process printed. -EINVAL, -ENOMEM. */
int s3_keys_parse_json(const char *text, size_t length, struct s3_keys *ret_keys);
