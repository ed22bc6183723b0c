/* SPDX-License-Identifier: Apache-2.0 */

/*
 * S3 tier: a bucket, or what lies below a prefix of one. Objects lie under their own names, whole,
 * so that others read them without us; what is ours lies below .mediafs/, as in a directory.
 */
#include "tier/s3.h"

#include <errno.h>
#include <pthread.h>
#include <string.h>

#include "hash/crc64.h"
#include "util/cleanup.h"
#include "util/clock.h"
#include "util/io.h"

/* tier.json is looked at again after this: a bucket is not unmounted, but may be made anew. */
#define IDENTITY_NS (60 * NS_PER_SEC)

/* A long answer that breaks off is read on from there; so often without a byte more. */
#define RESUME_TRIES 3u

static pthread_once_t curl_once = PTHREAD_ONCE_INIT;

static void start_curl(void)
{
	(void)curl_global_init(CURL_GLOBAL_DEFAULT); /* what fails shows with the first handle */
}

static void s3_close(struct tier *tier)
{
	struct s3_tier *s3 = s3_of(tier);

	for (size_t marked = 0; marked < ARRAY_SIZE(s3->pools); marked++)
		while (s3->pools[marked].count)
			curl_easy_cleanup(s3->pools[marked].handles[--s3->pools[marked].count]);
	s3_credentials_free(s3->credentials);
	explicit_bzero(&s3->customer, sizeof(s3->customer));
	s3_place_fini(&s3->place);
	cond_fini(&s3->changed);
	mutex_fini(&s3->lock);
	free(s3);
}

static int s3_open(const char *url, struct tier **ret_tier)
{
	struct s3_tier *s3 = calloc(1, sizeof(*s3));
	int r;

	if (!s3)
		return -ENOMEM;
	mutex_init(&s3->lock, 80);
	cond_init(&s3->changed);
	r = s3_url_parse(url, &s3->place);
	if (r == 0 && strlen(s3->place.region) >= sizeof(s3->region))
		r = -EINVAL;
	if (r == 0)
		r = s3_credentials_new(s3->place.profile, s3->place.credentials_file,
				       &s3->credentials);
	if (r < 0) {
		s3_close(&s3->tier);
		return r;
	}
	(void)strcpy(s3->region, s3->place.region);
	s3_width_init(&s3->width, s3->place.parallel);
	(void)pthread_once(&curl_once, start_curl);
	*ret_tier = &s3->tier;
	return 0;
}

static void s3_stop(struct tier *tier)
{
	struct s3_tier *s3 = s3_of(tier);

	atomic_store(&s3->stopping, true);
	scoped_lock(&s3->lock);
	cond_broadcast(&s3->changed);
}

static void s3_network_changed(struct tier *tier)
{
	atomic_store(&s3_of(tier)->network_ns, monotonic_ns());
}

static void s3_why(struct tier *tier, char *buffer, size_t size)
{
	struct s3_tier *s3 = s3_of(tier);

	scoped_lock(&s3->lock);
	(void)snprintf(buffer, size, "%s", s3->why);
}

/* Keys are UTF-8: what is not would come back as something else, or not at all. */
static bool is_utf8(const char *text)
{
	const unsigned char *at = (const unsigned char *)text;

	while (*at) {
		unsigned more = *at < 0x80   ? 0
				: *at < 0xc2 ? 9
				: *at < 0xe0 ? 1
				: *at < 0xf0 ? 2
					     : 3;
		unsigned first = *at++, second = *at;

		if (more == 9 || first > 0xf4 || (first == 0xe0 && second < 0xa0) ||
		    (first == 0xed && second > 0x9f) || (first == 0xf0 && second < 0x90) ||
		    (first == 0xf4 && second > 0x8f))
			return false;
		for (; more; more--)
			if ((*at++ & 0xc0) != 0x80)
				return false;
	}
	return true;
}

int s3_check_key(const struct s3_tier *s3, const char *key)
{
	const char *prefix = s3->place.prefix;

	if (!tier_key_ok(key) && !small_key_ok(key))
		return -EINVAL;
	if (strlen(prefix) + (*prefix ? 1 : 0) + strlen(key) > S3_KEY_MAX)
		return -ENAMETOOLONG;
	return is_utf8(key) ? 0 : -EILSEQ;
}

/* Whole small objects ------------------------------------------------------------------------ */

/* Without a look at tier.json first. */
static int fetch_small(struct s3_tier *s3, const char *key, size_t max_bytes, void **ret_bytes,
		       size_t *ret_length)
{
	struct s3_request request = { .method = "GET", .key = key, .reply_max = max_bytes };
	struct s3_reply reply;
	int r;

	r = s3_call(s3, &request, &reply);
	if (r == 0 && !reply.body) { /* empty */
		reply.body = strdup("");
		r = reply.body ? 0 : -ENOMEM;
	}
	if (r == 0) {
		*ret_bytes = take_ptr(reply.body);
		*ret_length = reply.body_length;
	}
	s3_reply_fini(&reply);
	return r;
}

/* The place as a whole: is the bucket there, and is it the one that is expected? */
static int look_at_identity(struct s3_tier *s3)
{
	const char *expected = atomic_load(&s3->tier.expected);
	struct tier_identity identity;
	cleanup_free void *bytes = NULL;
	size_t length;
	int r;

	r = fetch_small(s3, TIER_IDENTITY_KEY, TIER_IDENTITY_MAX, &bytes, &length);
	if (r == -ENOENT && !expected)
		return 0;
	if (r == -ENOENT) {
		s3_set_why(s3, "%s is missing there", TIER_IDENTITY_KEY);
		return -EHOSTDOWN;
	}
	if (r == -EACCES || r == -EREMOTEIO) /* nothing else can be read either */
		return -EHOSTDOWN;
	if (r < 0 || !expected)
		return r;
	r = identity_parse(bytes, length, &identity);
	if (r == -EPROTONOSUPPORT)
		return r;
	if (r < 0 || strcmp(identity.tier_uuid, expected) != 0) {
		s3_set_why(s3, "%s there is not that of this tier", TIER_IDENTITY_KEY);
		return -EHOSTDOWN;
	}
	atomic_store(&s3->identity_ns, monotonic_ns());
	return 0;
}

static int s3_probe(struct tier *tier)
{
	return look_at_identity(s3_of(tier));
}

int s3_enter(struct s3_tier *s3)
{
	int64_t seen = atomic_load(&s3->identity_ns);

	if (!atomic_load(&s3->tier.expected) || (seen && monotonic_ns() - seen < IDENTITY_NS))
		return 0;
	return look_at_identity(s3);
}

static int s3_get_small(struct tier *tier, const char *key, size_t max_bytes, void **ret_bytes,
			size_t *ret_length)
{
	struct s3_tier *s3 = s3_of(tier);
	int r = small_key_ok(key) || tier_key_ok(key) ? s3_enter(s3) : -EINVAL;

	return r < 0 ? r : fetch_small(s3, key, max_bytes, ret_bytes, ret_length);
}

static int s3_put_small(struct tier *tier, const char *key, const void *bytes, size_t length,
			enum put_flags flags)
{
	struct s3_tier *s3 = s3_of(tier);
	int r = small_key_ok(key) ? s3_enter(s3) : -EINVAL;

	/* What is refused must not leave a place that belongs to a volume. */
	if (r == 0 && strcmp(key, TIER_IDENTITY_KEY) == 0)
		r = s3_customer_try(s3);
	return r < 0 ? r : s3_put_bytes(s3, key, bytes, length, flags);
}

/* Objects ------------------------------------------------------------------------------------ */

int s3_head(struct s3_tier *s3, const char *key, struct s3_reply *ret_reply)
{
	struct s3_request request = { .method = "HEAD", .key = key };
	int r = s3_call(s3, &request, ret_reply);

	return r == 0 && ret_reply->length < 0 ? -EREMOTEIO : r;
}

static int begin(struct tier *tier, const char *key)
{
	int r = s3_check_key(s3_of(tier), key);

	return r < 0 ? r : s3_enter(s3_of(tier));
}

static int s3_stat(struct tier *tier, const char *key, uint64_t *ret_size)
{
	struct s3_reply reply;
	int r = begin(tier, key);

	if (r < 0)
		return r;
	r = s3_head(s3_of(tier), key, &reply);
	if (r == 0)
		*ret_size = (uint64_t)reply.length;
	s3_reply_fini(&reply);
	return r;
}

/* Did the server send the range that was asked for, and all of it? */
static int check_range(const struct s3_reply *reply, uint64_t offset, size_t length)
{
	if (reply->status == 206 && reply->range_start != (int64_t)offset)
		return -EREMOTEIO;
	if (reply->status == 206 && reply->range_total >= 0 &&
	    (uint64_t)reply->range_total < offset + length)
		return -EBADMSG;
	if (reply->status != 206 && offset != 0) /* it sent all of it */
		return -EREMOTEIO;
	if (reply->status == 206 && reply->received < length)
		return -EREMOTEIO; /* it has more, as it says itself */
	return reply->received == length ? 0 : -EBADMSG;
}

static int s3_get(struct tier *tier, const char *key, uint64_t offset, void *buffer, size_t length,
		  const struct tier_source *pace)
{
	struct s3_request request = {
		.method = "GET", .into = buffer, .into_size = length, .pace = pace
	};
	struct s3_reply reply;
	char range[64];
	int r = begin(tier, key);

	if (r < 0)
		return r;
	request.key = key;
	(void)snprintf(range, sizeof(range), "bytes=%llu-%llu", (unsigned long long)offset,
		       (unsigned long long)(offset + length - 1));
	if (length)
		s3_add_header(&request, "range", range);
	else
		request.method = "HEAD";
	r = s3_call(s3_of(tier), &request, &reply);
	if (r == 0 && length)
		r = check_range(&reply, offset, length);
	if (r == -EREMOTEIO && reply.status / 100 == 2)
		s3_set_why(s3_of(tier), "the server sends another range than it was asked for");
	else if (r == 0 && !length && reply.length < (int64_t)offset)
		r = -EBADMSG;
	s3_reply_fini(&reply);
	return r;
}

/* A whole object on its way to a sink. */
struct reading {
	tier_sink_fn sink;
	void *arg;
	uint64_t offset;
	struct s3_reply first; /* of the first answer: halves of two objects are none */
	bool known;            /* there was one */
};

static int take_bytes(void *arg, const void *bytes, size_t length)
{
	struct reading *reading = arg;

	reading->offset += length;
	return reading->sink(reading->arg, bytes, length);
}

/* From where it broke off. 0: at the end. */
static int read_on(struct s3_tier *s3, const char *key, const struct tier_source *pace,
		   struct reading *reading)
{
	struct s3_request request = { .method = "GET",
				      .key = key,
				      .pace = pace,
				      .sink = take_bytes,
				      .sink_arg = reading,
				      .tries = 1 };
	const char *first_etag = reading->first.etag;
	uint64_t start = reading->offset;
	struct s3_reply reply;
	char range[64], etag[132];
	int r;

	if (start) {
		(void)snprintf(range, sizeof(range), "bytes=%llu-", (unsigned long long)start);
		(void)snprintf(etag, sizeof(etag), "\"%s\"", first_etag);
		s3_add_header(&request, "range", range);
		if (*first_etag)
			s3_add_header(&request, "if-match", etag);
	} else {
		s3_add_header(&request, "x-amz-checksum-mode", "ENABLED");
	}
	r = s3_call(s3, &request, &reply);
	if (reply.status == 200 && !start) {
		reading->first = reply;
		reading->first.body = NULL;
		reading->known = true;
	}
	if (start && (reply.status == 412 || reply.status == 416))
		r = -EBADMSG; /* another object by now */
	else if (start && reply.status / 100 == 2 &&
		 (reply.status != 206 || reply.range_start != (int64_t)start ||
		  strcmp(reply.etag, first_etag) != 0))
		r = -EBADMSG;
	s3_reply_fini(&reply);
	return r;
}

int s3_read_whole(struct s3_tier *s3, const char *key, const struct tier_source *pace,
		  tier_sink_fn sink, void *arg, struct s3_reply *ret_first)
{
	struct reading reading = { .sink = sink, .arg = arg };
	unsigned idle = 0;
	int r;

	for (;;) {
		uint64_t before = reading.offset;

		r = read_on(s3, key, pace, &reading);
		if (r != -EHOSTDOWN && r != -EREMOTEIO)
			break;
		idle = reading.offset > before ? 0 : idle + 1;
		if (idle == RESUME_TRIES || s3_pause(s3, NS_PER_SEC / 2 << idle) < 0)
			break;
	}
	if (r == 0 && reading.known && reading.first.length >= 0 &&
	    reading.offset != (uint64_t)reading.first.length)
		r = -EBADMSG;
	if (r == 0)
		*ret_first = reading.first;
	return atomic_load(&s3->stopping) && r < 0 ? -ECANCELED : r;
}

struct digesting {
	struct digest_state *state; /* owned */
	uint64_t size, crc;
};

static int digest_bytes(void *arg, const void *bytes, size_t length)
{
	struct digesting *digesting = arg;

	digest_update(digesting->state, bytes, length);
	digesting->crc = crc64_nvme(digesting->crc, bytes, length);
	digesting->size += length;
	return 0;
}

int s3_read_digest(struct s3_tier *s3, const char *key, const struct tier_source *pace,
		   struct digest *ret_digest, uint64_t *ret_size)
{
	struct digesting digesting = { .state = digest_new() };
	struct s3_proof proof = { .kind = S3_SUM_CRC64 };
	struct s3_reply first;
	int r;

	if (!digesting.state)
		return -ENOMEM;
	r = s3_read_whole(s3, key, pace, digest_bytes, &digesting, &first);
	if (r == 0) {
		digest_final(digesting.state, ret_digest);
		*ret_size = digesting.size;
		/* Others refuse what differs from the checksum that is kept with it. */
		s3_sum_crc_text(digesting.crc, proof.sum);
		r = s3_proves(&first, &proof) < 0 ? -EBADMSG : 0;
	}
	digest_free(digesting.state);
	return r;
}

static int s3_check(struct tier *tier, const char *key, const struct tier_source *pace,
		    struct digest *ret_digest, uint64_t *ret_size)
{
	int r = begin(tier, key);

	return r < 0 ? r : s3_read_digest(s3_of(tier), key, pace, ret_digest, ret_size);
}

/*
 * What we sent was accepted with its SHA-256, and carries its digest; who replaces an object
 * replaces its metadata too.
 */
static int s3_confirm(struct tier *tier, const char *key, const struct tier_object *object)
{
	char hex[DIGEST_HEX_SIZE];
	struct s3_reply reply;
	int r = begin(tier, key);

	if (r < 0)
		return r;
	digest_hex(&object->digest, hex);
	r = s3_head(s3_of(tier), key, &reply);
	if (r == 0 && (uint64_t)reply.length != object->size)
		r = -EBADMSG;
	else if (r == 0 && !*reply.digest)
		r = -ENOTSUP; /* not by us: only its bytes can tell */
	else if (r == 0 && strcmp(reply.digest, hex) != 0)
		r = -EBADMSG;
	if (r == 0) {
		r = s3_look_at_archive(s3_of(tier), key, &reply);
		if (r == -ENOMEDIUM || r == -EINPROGRESS)
			r = 1;
	}
	s3_reply_fini(&reply);
	return r;
}

static unsigned s3_parallel(struct tier *tier)
{
	struct s3_tier *s3 = s3_of(tier);

	scoped_lock(&s3->lock);
	return s3->width.now;
}

static int s3_space(struct tier *tier, uint64_t *ret_free, uint64_t *ret_total)
{
	(void)tier, (void)ret_free, (void)ret_total;
	return -ENOTSUP;
}

static int s3_put(struct tier *tier, const char *key, const struct tier_object *object,
		  const struct tier_source *source)
{
	struct s3_tier *s3 = s3_of(tier);
	cleanup_free uint8_t *bytes = NULL;
	struct digest digest;
	int r = tier_key_ok(key) ? begin(tier, key) : -EINVAL;

	if (r < 0)
		return r;
	if (object->size > s3_part_bytes(object->size))
		return s3_put_parts(s3, key, object, source, NULL);
	bytes = malloc(object->size + 1);
	if (!bytes)
		return -ENOMEM;
	r = source->read(source->arg, 0, bytes, object->size);
	if (r < 0)
		return r;
	digest_of(bytes, object->size, &digest);
	if (!digest_equal(&digest, &object->digest))
		return -ESTALE;
	r = s3_put_whole(s3, key, bytes, object, source);
	if (r != -ETIME)
		return r;
	/* So slow a line brings it there only in a part, of which nobody sees anything. What is
	 * empty has none. */
	return object->size ? s3_put_parts(s3, key, object, source, NULL) : -EHOSTDOWN;
}

static bool s3_may_overwrite(struct tier *tier, uint64_t size)
{
	return !s3_keeps_condition(s3_of(tier), size > S3_PART_MIN_BYTES);
}

const struct tier_backend s3_backend = {
	.scheme = "s3",
	.small_bytes = S3_PART_MIN_BYTES,
	.open = s3_open,
	.close = s3_close,
	.stop = s3_stop,
	.network_changed = s3_network_changed,
	.why = s3_why,
	.probe = s3_probe,
	.survey = s3_survey,
	.put = s3_put,
	.may_overwrite = s3_may_overwrite,
	.copy = s3_copy,
	.forget = s3_forget,
	.stat = s3_stat,
	.get = s3_get,
	.check = s3_check,
	.confirm = s3_confirm,
	.restore = s3_restore,
	.put_small = s3_put_small,
	.get_small = s3_get_small,
	.list = s3_list,
	.each = s3_each,
	.look = s3_look,
	.stream = s3_stream,
	.space = s3_space,
	.parallel = s3_parallel,
};
