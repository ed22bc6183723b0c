/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Objects in an archive: there, with their metadata, but their bytes have to be asked for, and
 * come hours later, for some days.
 * Source: Amazon S3 User Guide, "Working with archived objects"; API Reference, "RestoreObject".
 */
#include <errno.h>
#include <string.h>

#include "tier/s3.h"

/* Other servers have classes of the same names whose objects can be read at once: only a GET tells.
 */
static int try_to_read(struct s3_tier *s3, const char *key)
{
	struct s3_request request = { .method = "GET", .key = key };
	struct s3_reply reply;
	char byte[2];
	int r;

	request.into = byte;
	request.into_size = sizeof(byte);
	s3_add_header(&request, "range", "bytes=0-0");
	r = s3_call(s3, &request, &reply);
	if (reply.status == 416) /* an empty one */
		r = 0;
	s3_reply_fini(&reply);
	return r;
}

int s3_look_at_archive(struct s3_tier *s3, const char *key, const struct s3_reply *head)
{
	if (!head->cold || head->restore == S3_RESTORED)
		return 0;
	if (head->restore == S3_RESTORING)
		return -EINPROGRESS;
	return try_to_read(s3, key);
}

/* What comes back from Intelligent-Tiering stays, so it takes no number of days. */
static int ask(struct s3_tier *s3, const char *key, const struct tier_restore *how,
	       const struct s3_reply *head)
{
	struct s3_request request = { .method = "POST", .key = key };
	struct s3_reply reply;
	char body[512], days[64] = "";
	int r;

	if (!head->tiering)
		(void)snprintf(days, sizeof(days), "<Days>%u</Days>", how->days);
	(void)snprintf(body, sizeof(body),
		       "<RestoreRequest xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\">%s"
		       "<GlacierJobParameters><Tier>%s</Tier></GlacierJobParameters>"
		       "</RestoreRequest>",
		       days, how->speed);
	request.body = body;
	request.body_length = strlen(body);
	s3_add_query(&request, "restore", "");
	s3_add_header(&request, "content-type", "application/xml");
	r = s3_call(s3, &request, &reply);
	/* 200: it has been brought back before. */
	if (r == 0 && reply.status != 200)
		r = -EINPROGRESS;
	else if (r == -EALREADY)
		r = 0;
	else if (r == -EROFS) /* of this one request: others may write */
		r = -EACCES;
	s3_reply_fini(&reply);
	return r;
}

int s3_restore(struct tier *tier, const char *key, const struct tier_restore *how)
{
	struct s3_tier *s3 = s3_of(tier);
	struct s3_reply head;
	int r = tier_key_ok(key) ? s3_check_key(s3, key) : -EINVAL;

	if (r == 0)
		r = s3_enter(s3);
	if (r < 0)
		return r;
	r = s3_head(s3, key, &head);
	if (r == 0)
		r = s3_look_at_archive(s3, key, &head);
	if (r == -ENOMEDIUM && how)
		r = ask(s3, key, how, &head);
	s3_reply_fini(&head);
	return r;
}
