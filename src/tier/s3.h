/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* What the parts of the S3 tier share. Included only by them. */
#include <curl/curl.h>
#include <stdatomic.h>

#include "tier/internal.h"
#include "tier/s3_checksum.h"
#include "tier/s3_credentials.h"
#include "tier/s3_sign.h"
#include "tier/s3_url.h"
#include "tier/s3_width.h"
#include "util/thread.h"

#define S3_POOL_MAX 32u

/* An object of less is sent in one piece. */
#define S3_PART_MIN_BYTES (16u << 20)

/* Longest key of an object, with the prefix. Source: Amazon S3 User Guide, "Naming objects". */
#define S3_KEY_MAX 1024u

/* Metadata of an object of ours: user.mediafs.* as far as S3 keeps it. */
#define S3_META_DIGEST "x-amz-meta-mediafs-xxh3-128" /* hex */
#define S3_META_SIZE "x-amz-meta-mediafs-size"       /* decimal */
#define S3_META_MTIME "x-amz-meta-mediafs-mtime-ns"  /* since 1970 */
#define S3_META_MODE "x-amz-meta-mediafs-mode"       /* octal */
#define S3_META_SITE "x-amz-meta-mediafs-site"       /* UUID */

/* What the server was seen to do with "If-None-Match: *". */
enum s3_condition { S3_UNKNOWN, S3_HONOURED, S3_REFUSED };

/* Whether it is known which checksums it has. */
enum s3_sums { S3_SUMS_UNKNOWN, S3_SUMS_ASKED, S3_SUMS_KNOWN };

/* Idle handles, owned; each keeps its connection. */
struct s3_pool {
	CURL *handles[S3_POOL_MAX];
	unsigned count;
};

struct s3_tier {
	struct tier tier; /* first */

	/* Constant after open. */
	struct s3_place place;
	struct s3_credentials *credentials; /* owned */

	atomic_bool stopping;                          /* whoever waits for the server leaves */
	_Atomic int put_condition, complete_condition; /* enum s3_condition */
	atomic_bool put_tried, complete_tried;         /* with objects of our own, once */
	_Atomic int64_t identity_ns; /* monotonic: tier.json was last seen to be right; 0 never */
	_Atomic int64_t network_ns;  /* monotonic: the network last changed, 0 never */
	atomic_bool key_ignored;     /* what was sent with a key was stored without one */
	_Atomic int64_t held_ns;     /* monotonic: a limit or a pause last held us up */
	_Atomic int64_t paced_ns;    /* how long limits and pauses have held us up in all */

	struct mutex lock; /* rank 80; guards the rest */
	struct cond changed;
	struct s3_pool pools[2];     /* of connections that are not marked, and that are */
	char region[64];             /* as the server wants it signed */
	int64_t clock_offset_s;      /* the server's clock less ours */
	struct s3_customer customer; /* "" until s3_customer_ready(), then constant */
	struct s3_width width;       /* of what the uploads in parts have on their way together */
	unsigned uploads, in_flight; /* such uploads, and parts of theirs */
	enum s3_sums sums;
	enum s3_sum_kind whole_sum, parts_sum; /* of objects in one piece, in parts */
	char why[TIER_WHY_SIZE]; /* what the tier as a whole suffers from; "" nothing */
};

static inline struct s3_tier *s3_of(struct tier *tier)
{
	return (struct s3_tier *)tier;
}

/* Requests: s3_http.c -------------------------------------------------------------------- */

#define S3_QUERY_MAX 6
#define S3_HEADERS_MAX 24

struct s3_request {
	const char *method;
	const char *key; /* NULL: the bucket */
	struct s3_pair query[S3_QUERY_MAX];
	size_t query_count;
	struct s3_pair headers[S3_HEADERS_MAX]; /* lower case; signed; values may not change */
	size_t header_count;
	const void *body; /* NULL: none */
	size_t body_length;
	char payload_hash[S3_HASH_SIZE]; /* of the body; "" until it is known */

	/* Told of bytes sent and received, in the thread of the call. May be NULL. */
	const struct tier_source *pace;

	/* Where the body of a good answer goes: @into, @sink, or the reply's own buffer. */
	void *into;
	size_t into_size;
	int (*sink)(void *arg, const void *bytes, size_t length);
	void *sink_arg;
	size_t reply_max; /* of the reply's own buffer; 0: S3_REPLY_MAX */

	bool lower_effort;    /* its connection is marked: all other traffic goes first */
	bool is_trial;        /* that it fails says nothing of the tier */
	bool spoil_signature; /* to see whether it is looked at */
	unsigned tries;       /* 0: S3_TRIES */
	unsigned hang_s;      /* without a byte either way; 0: S3_HANG_S */
	int64_t until_ns;     /* boot_ns(): nothing of it is sent after this; 0 whenever */
};

#define S3_REPLY_MAX (4u << 20)
#define S3_ETAG_SIZE 128
#define S3_TRIES 3u
#define S3_HANG_S 30u

/* For a while after the network changed: connections of before may be dead. */
#define S3_HANG_CHANGED_S 8u
#define S3_CHANGED_NS (60 * NS_PER_SEC)

void s3_add_header(struct s3_request *request, const char *name, const char *value);
void s3_add_query(struct s3_request *request, const char *name, const char *value);

/* What the server says of bringing an archived object back. */
enum s3_restore_state { S3_NOT_RESTORED, S3_RESTORING, S3_RESTORED };

struct s3_reply {
	long status;                      /* 0: no answer */
	char code[64];                    /* of the error, "" none */
	char region[64];                  /* that the server says it is, "" none */
	char etag[S3_ETAG_SIZE];          /* without its quotes, "" none */
	char digest[DIGEST_HEX_SIZE];     /* S3_META_DIGEST, "" none */
	int64_t length;                   /* Content-Length, -1 none */
	int64_t range_start, range_total; /* Content-Range, -1 none */
	int64_t date_s;                   /* Date, 0 none */
	int64_t retry_after_s;            /* 0 none */
	int64_t mtime_ns;                 /* that metadata say, INT64_MIN none */
	int64_t modified_ns;              /* Last-Modified, 0 none */
	uint32_t mode;                    /* that metadata say, 0 none */
	bool cold;    /* its class is one whose bytes may have to be asked for */
	bool tiering; /* of Intelligent-Tiering */
	bool has_key; /* encrypted with a key of ours (SSE-C) */
	enum s3_restore_state restore;
	char sums[S3_SUM_KINDS][S3_SUM_TEXT]; /* "" none */

	char *body; /* owned; NUL-terminated; of errors too */
	size_t body_length;
	size_t received; /* bytes that went to @into or @sink */
	int local_error; /* pace or sink stopped it, or the answer is too long */
};
void s3_reply_fini(struct s3_reply *reply);
void s3_reply_clear(struct s3_reply *reply);

/* What to do after an attempt. */
enum s3_next {
	S3_DONE,
	S3_RETRY,   /* the same again, later */
	S3_REFRESH, /* with other keys */
	S3_CLOCK,   /* with the server's clock */
	S3_REGION,  /* for the region it names */
	S3_FAIL,
};

struct s3_verdict {
	enum s3_next next;
	int error;       /* what it is when it is given up */
	const char *why; /* static; NULL: nothing that concerns the whole tier */
};

/* Pure. @method of the request; @signed_s when it was signed, by the server's clock as we knew
 * it. @curl as libcurl's. s3_errors.c. */
struct s3_verdict s3_judge(CURLcode curl, const char *method, const struct s3_reply *reply,
			   int64_t signed_s);

/* Keep @text as the region, if it is a word: it becomes part of a host's name. s3_errors.c. */
void s3_take_region(struct s3_reply *reply, const char *text);

/* Fill in code and region from the body of an answer. s3_errors.c. */
void s3_read_error(struct s3_reply *reply);

/* One attempt, for who runs several at once. */
struct s3_exchange {
	struct s3_tier *s3;
	struct s3_request *request; /* borrowed */
	struct s3_reply reply;      /* owned */
	CURL *easy;                 /* owned, from the pool */
	struct curl_slist *headers; /* owned; hold secrets */
	struct s3_keys keys;        /* owned */
	size_t sent;
	int64_t signed_s, moved_ns;
	curl_off_t moved_bytes;
	unsigned attempts;
	bool plain;     /* without the key of SSE-C: the object there has none */
	unsigned fixed; /* bits 1 << enum s3_next that were tried */
	char curl_error[CURL_ERROR_SIZE];
};

/* A decimal number; seconds with a fraction, as rclone writes them. -EINVAL. s3_reply.c. */
int s3_read_number(const char *text, int64_t *ret_value);
int s3_read_seconds(const char *text, int64_t *ret_ns);

/* As libcurl calls it, @arg the exchange. s3_reply.c. */
size_t s3_on_header(char *line, size_t size, size_t count, void *arg);

/* Bytes of the body go where the request wants them. s3_reply.c. */
int s3_take_body(struct s3_exchange *exchange, const char *bytes, size_t length);

void s3_exchange_init(struct s3_exchange *exchange, struct s3_tier *s3, struct s3_request *request);
void s3_exchange_fini(struct s3_exchange *exchange);

/* Sign and make exchange->easy ready to be performed. -EHOSTDOWN: no keys (s3->why says more);
 * -ETIME: after request->until_ns. */
int s3_exchange_begin(struct s3_exchange *exchange);

/*
 * After it was performed: 0 done well, 1 to be begun again after *ret_pause_ns, or the error.
 */
int s3_exchange_end(struct s3_exchange *exchange, CURLcode curl, int64_t *ret_pause_ns);

/* The whole of it: 0 with a 2xx, or the error; @ret_reply in both cases, the caller ends it. */
int s3_call(struct s3_tier *s3, struct s3_request *request, struct s3_reply *ret_reply);

/* Sleep, or -ECANCELED. */
int s3_pause(struct s3_tier *s3, int64_t pause_ns);

void s3_set_why(struct s3_tier *s3, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* SSE-C: s3_customer.c -------------------------------------------------------------------- */

#define S3_CUSTOMER_HEADERS 6
#define S3_CUSTOMER_ALGORITHM "x-amz-server-side-encryption-customer-algorithm"

/* Have the key, where the tier uses one. -EHOSTDOWN: s3->why says why not. */
int s3_customer_ready(struct s3_tier *s3);

/*
 * Before and after an attempt: media are not sent to a server that stores them without the key.
 * -EHOSTDOWN, and s3->why says so, from the first answer to a small PUT on that does not name it.
 */
int s3_customer_try(struct s3_tier *s3); /* with the probe object, where there is a key */
int s3_customer_refuses(struct s3_exchange *exchange);
int s3_customer_judge(struct s3_exchange *exchange);

/* The request carries it. */
bool s3_customer_used(const struct s3_exchange *exchange);

/* How many headers it gets for that, up to S3_CUSTOMER_HEADERS. They hold a secret. */
size_t s3_customer_headers(const struct s3_exchange *exchange, struct s3_pair *headers);

/* Objects: s3.c, s3_put.c, s3_parts.c ----------------------------------------------------- */

/* Every call begins so: -EHOSTDOWN when the place is not the expected one. */
int s3_enter(struct s3_tier *s3);

/* 0 or why @key cannot be one: -EINVAL, -ENAMETOOLONG, -EILSEQ. */
int s3_check_key(const struct s3_tier *s3, const char *key);

/*
 * Can the bytes of an object be read, by what a HEAD answered? 0; -ENOMEDIUM they are archived,
 * -EINPROGRESS and on their way. s3_archive.c.
 */
int s3_look_at_archive(struct s3_tier *s3, const char *key, const struct s3_reply *head);
int s3_restore(struct tier *tier, const char *key, const struct tier_restore *how);

int s3_head(struct s3_tier *s3, const char *key, struct s3_reply *ret_reply);

/*
 * All bytes of an object as it is now, in order, to @sink. Goes on where an answer breaks off;
 * -EBADMSG when it is another object by then. @ret_first is the header of the first answer,
 * without a body.
 */
int s3_read_whole(struct s3_tier *s3, const char *key, const struct tier_source *pace,
		  tier_sink_fn sink, void *arg, struct s3_reply *ret_first);

/* The digest of an object as it is now, all of it read. */
int s3_read_digest(struct s3_tier *s3, const char *key, const struct tier_source *pace,
		   struct digest *ret_digest, uint64_t *ret_size);

/* What the server must show of an object that was sent. */
struct s3_proof {
	char etag[S3_ETAG_SIZE]; /* "" not known */
	enum s3_sum_kind kind;
	char sum[S3_SUM_TEXT]; /* "" not known */
};

/*
 * Does an answer that shows an object prove it? Pure. 1 yes; 0 it says nothing of that; -EBADMSG
 * the server has kept another checksum.
 */
int s3_proves(const struct s3_reply *reply, const struct s3_proof *proof);

/*
 * Does the server hold what was sent under @key? Where what it shows says nothing, it is read. 0;
 * -EEXIST it has another object, -EBADMSG ours but not whole, -ENOENT nothing.
 */
int s3_confirm_sent(struct s3_tier *s3, const char *key, const struct tier_object *object,
		    const struct tier_source *source, const struct s3_proof *proof);

enum s3_sum_use { S3_SUM_OF_WHOLES, S3_SUM_OF_PARTS };

/* The checksum to send with an object of ours; found out the first time, which asks the server. */
enum s3_sum_kind s3_sum_kind(struct s3_tier *s3, enum s3_sum_use use);

/* Which one the server has, asked now. -EHOSTDOWN. */
int s3_sum_find(struct s3_tier *s3, enum s3_sum_kind *ret_kind);

/* It has them for objects in one piece only. */
void s3_sum_not_of_parts(struct s3_tier *s3);

/* With a body; nothing for S3_SUM_NONE. @text lives as long as @request. */
void s3_add_sum(struct s3_request *request, enum s3_sum_kind kind, const char *text);

/* An object of ours to try things with; it is written over, and never deleted. s3_survey.c. */
#define S3_PROBE_KEY ".mediafs/v1/probe/object"
#define S3_PROBE_TEXT "0123456789"
struct s3_request s3_probe_put(void);

/* In place. '+' is a space in what servers encode. */
void s3_decode_key(char *key);

/* Others' objects: s3_foreign.c. As the tier's each(), look() and stream(). */
int s3_each(struct tier *tier, const char *prefix, tier_entry_fn fn, void *arg);
int s3_look(struct tier *tier, const char *key, struct tier_info *ret_info);
int s3_stream(struct tier *tier, const char *key, const struct tier_source *pace, tier_sink_fn sink,
	      void *arg, struct tier_info *ret_info);

int s3_list(struct tier *tier, const char *prefix,
	    int (*fn)(void *arg, const char *name, bool is_folder), void *arg);

int s3_survey(struct tier *tier, survey_fn fn, void *arg);

/* Give up an upload of ours. Where deleting is not allowed, the bucket's own rule has to. */
int s3_abort_upload(struct s3_tier *s3, const char *key, const char *upload);

int s3_forget(struct tier *tier, const char *note);

/* PUT of bytes in memory. Without PUT_REPLACE: -EEXIST when the key is taken; -EHOSTDOWN too when
 * the line is too slow for s3_request.until_ns. */
int s3_put_bytes(struct s3_tier *s3, const char *key, const void *bytes, size_t length,
		 enum put_flags flags);

/*
 * The same of an object whose @bytes are all here, and proven. -EEXIST; as s3_confirm_sent();
 * -ETIME: it could not all be sent within the time for which the key is known to be free.
 */
int s3_put_whole(struct s3_tier *s3, const char *key, const void *bytes,
		 const struct tier_object *object, const struct tier_source *source);

/* The headers that an object of ours gets; their values live in @text. */
struct s3_meta {
	char size[24], mtime[24], mode[12], digest[DIGEST_HEX_SIZE];
};
void s3_add_meta(struct s3_request *request, const struct s3_tier *s3,
		 const struct tier_object *object, struct s3_meta *text);

/* An object of ours whose bytes a copy gets: s3_copy.c. */
struct s3_origin {
	char *source; /* owned; the value of x-amz-copy-source */
	char etag[S3_ETAG_SIZE];
	char match[S3_ETAG_SIZE + 2]; /* the same in quotes; "" whatever it is */
};

/* The headers of a request that copies; they live as long as @origin. */
void s3_add_origin(struct s3_request *request, const struct s3_origin *origin);

/* Take the ETag from the answer to such a request: its body has it. -EREMOTEIO: none. */
int s3_take_copied(struct s3_reply *reply);

int s3_copy(struct tier *tier, const char *from, const char *key, const struct tier_object *object,
	    const struct tier_source *source);

/*
 * It is known that the server writes over nothing. One that does not keep the condition of a PUT is
 * not believed that of a completion: it may only have looked first.
 */
bool s3_keeps_condition(struct s3_tier *s3, bool in_parts);

/* Find that out of PUT (with tier.json's own bytes), and of completions too, which may be all that
 * keeps none (Ceph before 20): with an object of ours. Once a run; s3_put.c, s3_survey.c. */
void s3_learn_put(struct s3_tier *s3);
void s3_learn_completion(struct s3_tier *s3);

/* 0, -EEXIST: there is an object. *ret_until_ns: until when that may be relied on, as
 * s3_request.until_ns (TIER_WRITE_WITHIN_NS). */
int s3_is_taken(struct s3_tier *s3, const char *key, int64_t *ret_until_ns);

/* @origin: the parts are copied from there; NULL: sent. */
int s3_put_parts(struct s3_tier *s3, const char *key, const struct tier_object *object,
		 const struct tier_source *source, const struct s3_origin *origin);

/* Bytes of a part but the last, for an object of @size: the same for all of them. */
uint64_t s3_part_bytes(uint64_t size);
