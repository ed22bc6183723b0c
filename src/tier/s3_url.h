/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * Where an S3 tier lies:
 *
 *   s3://BUCKET[/PREFIX][?NAME=VALUE[&...]]
 *
 * PREFIX and values are percent-decoded. Secrets have no place in it: an option that is not in
 * the table below is refused.
 */
#include <stdbool.h>

#define S3_PARALLEL_MAX 16u

struct s3_place {
	char *bucket;
	char *prefix;           /* "" or "a/b", checked as a key */
	char *scheme;           /* "https" or "http" */
	char *endpoint;         /* HOST[:PORT]; NULL: Amazon's of the region */
	char *region;           /* "us-east-1" unless given */
	char *ca_file;          /* NULL: the system's */
	char *profile;          /* of ~/.aws; NULL: the environment's or "default" */
	char *credentials_file; /* NULL: searched for */
	char *storage_class;    /* NULL: the bucket's */
	char *encryption;       /* "AES256", "aws:kms"; NULL: the bucket's */
	char *kms_key;          /* NULL: the bucket's */
	char *customer_file;    /* a file with the key of SSE-C; NULL: not used */
	bool virtual_host;      /* the bucket is part of the host's name */
	unsigned parallel;      /* parts on their way at a time, at most */
};

/* -EINVAL when @url is not one. The caller calls s3_place_fini() after success. */
int s3_url_parse(const char *url, struct s3_place *ret_place);
void s3_place_fini(struct s3_place *place);

/* The Host header for requests in @region. Caller frees; NULL without memory. */
char *s3_place_host(const struct s3_place *place, const char *region);

/* The path of @key (NULL: the bucket itself), not encoded. Caller frees; NULL without memory. */
char *s3_place_path(const struct s3_place *place, const char *key);
