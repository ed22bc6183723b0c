/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Requests by libcurl. Signed anew for each attempt; no time-out for the whole, but for silence;
 * HTTP/1.1, since several connections survive losses better than one that is shared.
 */
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdarg.h>
#include <string.h>
#include <sys/socket.h>

#include "tier/s3.h"
#include "util/clock.h"

#define CONNECT_TIMEOUT_S 10L
#define SEND_CHUNK 65536u
/* Less is as good as silence: who drips would keep a connection for ever. */
#define MOVED_MIN_BYTES 4096
#define FIRST_PAUSE_NS (200 * NS_PER_MS)
#define RETRY_AFTER_MAX_S 10

void s3_set_why(struct s3_tier *s3, const char *format, ...)
{
	va_list ap;

	va_start(ap, format);
	mutex_lock(&s3->lock);
	(void)vsnprintf(s3->why, sizeof(s3->why), format, ap);
	mutex_unlock(&s3->lock);
	va_end(ap);
}

int s3_pause(struct s3_tier *s3, int64_t pause_ns)
{
	int64_t deadline = monotonic_ns() + pause_ns;

	scoped_lock(&s3->lock);
	while (!atomic_load(&s3->stopping) && cond_wait_until(&s3->changed, &s3->lock, deadline))
		;
	return atomic_load(&s3->stopping) ? -ECANCELED : 0;
}

void s3_add_header(struct s3_request *request, const char *name, const char *value)
{
	request->headers[request->header_count++] = (struct s3_pair){ name, value };
}

void s3_add_query(struct s3_request *request, const char *name, const char *value)
{
	request->query[request->query_count++] = (struct s3_pair){ name, value };
}

/* Handles -------------------------------------------------------------------------------- */

static CURL *take_handle(const struct s3_exchange *exchange)
{
	struct s3_tier *s3 = exchange->s3;
	struct s3_pool *pool = &s3->pools[exchange->request->lower_effort];

	scoped_lock(&s3->lock);
	return pool->count ? pool->handles[--pool->count] : NULL;
}

static void give_handle(const struct s3_exchange *exchange)
{
	struct s3_tier *s3 = exchange->s3;
	struct s3_pool *pool = &s3->pools[exchange->request->lower_effort];
	CURL *easy = exchange->easy;

	curl_easy_reset(easy); /* its connection stays, and so does the mark */
	mutex_lock(&s3->lock);
	if (pool->count < S3_POOL_MAX) {
		pool->handles[pool->count++] = easy;
		easy = NULL;
	}
	mutex_unlock(&s3->lock);
	if (easy)
		curl_easy_cleanup(easy);
}

/* What libcurl calls --------------------------------------------------------------------- */

static curl_socket_t open_socket(void *arg, curlsocktype purpose, struct curl_sockaddr *address)
{
	(void)arg, (void)purpose;
	return socket(address->family, address->socktype | SOCK_CLOEXEC, address->protocol);
}

/* A field of 6 bits: "lower effort". Source: RFC 8622. */
#define DSCP_LE 1

/* Of what goes out; a socket has one of the two, or both. */
static void mark(curl_socket_t fd)
{
	static const int class = DSCP_LE << 2;

	(void)setsockopt(fd, IPPROTO_IP, IP_TOS, &class, sizeof(class));
	(void)setsockopt(fd, IPPROTO_IPV6, IPV6_TCLASS, &class, sizeof(class));
}

/* A link that is gone shows within seconds, also where nothing but silence comes back. */
static int tune_socket(void *arg, curl_socket_t fd, curlsocktype purpose)
{
	static const int on = 1, idle_s = 15, interval_s = 5, count = 3;
	static const unsigned user_timeout_ms = S3_HANG_S * 1000;

	(void)purpose;
	if (((const struct s3_exchange *)arg)->request->lower_effort)
		mark(fd);
	/* Not every kind of socket has them: the watch over silence stays. */
	(void)setsockopt(fd, SOL_SOCKET, SO_KEEPALIVE, &on, sizeof(on));
	(void)setsockopt(fd, IPPROTO_TCP, TCP_KEEPIDLE, &idle_s, sizeof(idle_s));
	(void)setsockopt(fd, IPPROTO_TCP, TCP_KEEPINTVL, &interval_s, sizeof(interval_s));
	(void)setsockopt(fd, IPPROTO_TCP, TCP_KEEPCNT, &count, sizeof(count));
	(void)setsockopt(fd, IPPROTO_TCP, TCP_USER_TIMEOUT, &user_timeout_ms,
			 sizeof(user_timeout_ms));
	return CURL_SOCKOPT_OK;
}

static int pace(struct s3_exchange *exchange, size_t bytes)
{
	const struct tier_source *source = exchange->request->pace;
	int64_t before = monotonic_ns(), now;
	int r = source && source->pace ? source->pace(source->arg, bytes) : 0;

	/* A limit is no silence; those that share our thread were held up with us. */
	now = monotonic_ns();
	exchange->moved_ns += now - before;
	(void)atomic_fetch_add(&exchange->s3->paced_ns, now - before);
	if (now - before > NS_PER_SEC)
		atomic_store(&exchange->s3->held_ns, now);
	return r > 0 ? -ECANCELED : r;
}

/* What the server was asked before it may not be so any more. */
static bool is_too_late(const struct s3_request *request)
{
	return request->until_ns && boot_ns() > request->until_ns;
}

static size_t on_send(char *buffer, size_t size, size_t count, void *arg)
{
	struct s3_exchange *exchange = arg;
	const struct s3_request *request = exchange->request;
	size_t length = request->body_length - exchange->sent;

	if (length > size * count)
		length = size * count;
	if (length > SEND_CHUNK)
		length = SEND_CHUNK;
	if (length)
		exchange->reply.local_error = pace(exchange, length);
	if (exchange->reply.local_error == 0 && is_too_late(request))
		exchange->reply.local_error = -ETIME;
	if (exchange->reply.local_error)
		return CURL_READFUNC_ABORT;
	memcpy(buffer, (const char *)request->body + exchange->sent, length);
	exchange->sent += length;
	return length;
}

static int on_seek(void *arg, curl_off_t offset, int origin)
{
	struct s3_exchange *exchange = arg;

	if (origin != SEEK_SET || offset < 0 || (size_t)offset > exchange->request->body_length)
		return CURL_SEEKFUNC_FAIL;
	exchange->sent = (size_t)offset;
	return CURL_SEEKFUNC_OK;
}

static size_t on_body(char *bytes, size_t size, size_t count, void *arg)
{
	struct s3_exchange *exchange = arg;
	size_t length = size * count;
	int r = s3_take_body(exchange, bytes, length);

	if (r == 0 && !exchange->request->body)
		r = pace(exchange, length);
	exchange->reply.local_error = r;
	return r == 0 ? length : 0;
}

/* Seconds of silence that are too many. */
static int64_t hang_s(const struct s3_exchange *exchange, int64_t now)
{
	int64_t changed = atomic_load(&exchange->s3->network_ns);

	if (exchange->request->hang_s)
		return exchange->request->hang_s;
	return changed && now - changed < S3_CHANGED_NS ? S3_HANG_CHANGED_S : S3_HANG_S;
}

/* Asked for about once a second, also while nothing moves. */
static int on_progress(void *arg, curl_off_t down_total, curl_off_t down, curl_off_t up_total,
		       curl_off_t up)
{
	struct s3_exchange *exchange = arg;
	int64_t now = monotonic_ns(), held, since;

	(void)down_total, (void)up_total;
	if (atomic_load(&exchange->s3->stopping)) {
		exchange->reply.local_error = -ECANCELED;
		return 1;
	}
	/* Less than before: libcurl began anew, on another connection. */
	if (down + up - exchange->moved_bytes >= MOVED_MIN_BYTES ||
	    down + up < exchange->moved_bytes) {
		exchange->moved_bytes = down + up;
		exchange->moved_ns = now;
	}
	held = atomic_load(&exchange->s3->held_ns);
	since = held > exchange->moved_ns ? held : exchange->moved_ns;
	return now - since > hang_s(exchange, now) * NS_PER_SEC;
}

/* One attempt ---------------------------------------------------------------------------- */

void s3_exchange_init(struct s3_exchange *exchange, struct s3_tier *s3, struct s3_request *request)
{
	memset(exchange, 0, sizeof(*exchange));
	exchange->s3 = s3;
	exchange->request = request;
	s3_reply_clear(&exchange->reply);
}

static void drop_headers(struct s3_exchange *exchange)
{
	for (struct curl_slist *line = exchange->headers; line; line = line->next)
		explicit_bzero(line->data, strlen(line->data));
	curl_slist_free_all(exchange->headers);
	exchange->headers = NULL;
}

void s3_exchange_fini(struct s3_exchange *exchange)
{
	if (exchange->easy)
		give_handle(exchange);
	exchange->easy = NULL;
	drop_headers(exchange);
	s3_keys_fini(&exchange->keys);
	s3_reply_fini(&exchange->reply);
}

static const char *no_keys_text(int error)
{
	switch (-error) {
	case ENOKEY:
		return "no credentials were found";
	case EACCES:
		return "the credentials file may be read by others: chmod 600";
	default:
		return "the credentials cannot be read";
	}
}

static int get_keys(struct s3_exchange *exchange)
{
	struct s3_keys keys = { 0 };
	int r = s3_credentials_get(exchange->s3->credentials, NULL, &keys);

	if (r == -ENOMEM)
		return r;
	if (r < 0) {
		s3_set_why(exchange->s3, "%s", no_keys_text(r));
		return -EHOSTDOWN;
	}
	s3_keys_fini(&exchange->keys);
	exchange->keys = keys;
	return 0;
}

static int add_line(struct s3_exchange *exchange, const char *name, const char *value)
{
	cleanup_free char *line = NULL;
	struct curl_slist *list;

	/* ';' makes curl send a header that has no value; "NAME:" alone takes one of its own out.
	 */
	if (asprintf(&line, "%s%s%s", name, value && !*value ? ";" : ":", value ? value : "") < 0) {
		line = NULL;
		return -ENOMEM;
	}
	list = curl_slist_append(exchange->headers, line);
	explicit_bzero(line, strlen(line));
	if (!list)
		return -ENOMEM;
	exchange->headers = list;
	return 0;
}

/* All headers: what is signed, the signature, and those of curl's that are not wanted. */
static int make_headers(struct s3_exchange *exchange, const char *path, const char *region,
			const char *host)
{
	struct s3_request *request = exchange->request;
	struct s3_pair headers[S3_HEADERS_MAX + 4 + S3_CUSTOMER_HEADERS];
	size_t count = request->header_count;
	cleanup_free char *authorization = NULL;
	char date[S3_DATE_SIZE];
	struct s3_signing signing = {
		.method = request->method,
		.path = path,
		.query = request->query,
		.query_count = request->query_count,
		.headers = headers,
		.payload_hash = request->payload_hash,
		.region = region,
		.time_s = exchange->signed_s,
		.access_key = exchange->keys.access_key,
		.secret_key = exchange->keys.secret_key,
	};
	int r;

	s3_date(exchange->signed_s, date);
	memcpy(headers, request->headers, count * sizeof(*headers));
	headers[count++] = (struct s3_pair){ "host", host };
	headers[count++] = (struct s3_pair){ "x-amz-content-sha256", request->payload_hash };
	headers[count++] = (struct s3_pair){ "x-amz-date", date };
	if (exchange->keys.token)
		headers[count++] = (struct s3_pair){ "x-amz-security-token", exchange->keys.token };
	count += s3_customer_headers(exchange, headers + count);
	signing.header_count = count;
	r = s3_sign(&signing, &authorization);
	if (r == 0 && request->spoil_signature) {
		char *last = authorization + strlen(authorization) - 1;

		*last = *last == '0' ? '1' : '0';
	}
	for (size_t i = 0; r == 0 && i < count; i++)
		r = add_line(exchange, headers[i].name, headers[i].value);
	if (r == 0)
		r = add_line(exchange, "authorization", authorization);
	if (r == 0)
		r = add_line(exchange, "expect", NULL);
	if (r == 0)
		r = add_line(exchange, "accept", NULL);
	return r;
}

static void set_method(CURL *easy, const struct s3_request *request)
{
	bool sends = strcmp(request->method, "PUT") == 0 || strcmp(request->method, "POST") == 0;

	if (sends) {
		(void)curl_easy_setopt(easy, CURLOPT_UPLOAD, 1L);
		(void)curl_easy_setopt(easy, CURLOPT_INFILESIZE_LARGE,
				       (curl_off_t)request->body_length);
	} else if (strcmp(request->method, "HEAD") == 0) {
		(void)curl_easy_setopt(easy, CURLOPT_NOBODY, 1L);
	}
	if (strcmp(request->method, "POST") == 0 || strcmp(request->method, "DELETE") == 0)
		(void)curl_easy_setopt(easy, CURLOPT_CUSTOMREQUEST, request->method);
}

static void set_callbacks(struct s3_exchange *exchange)
{
	CURL *easy = exchange->easy;

	(void)curl_easy_setopt(easy, CURLOPT_OPENSOCKETFUNCTION, open_socket);
	(void)curl_easy_setopt(easy, CURLOPT_SOCKOPTFUNCTION, tune_socket);
	(void)curl_easy_setopt(easy, CURLOPT_SOCKOPTDATA, exchange);
	(void)curl_easy_setopt(easy, CURLOPT_READFUNCTION, on_send);
	(void)curl_easy_setopt(easy, CURLOPT_READDATA, exchange);
	(void)curl_easy_setopt(easy, CURLOPT_SEEKFUNCTION, on_seek);
	(void)curl_easy_setopt(easy, CURLOPT_SEEKDATA, exchange);
	(void)curl_easy_setopt(easy, CURLOPT_WRITEFUNCTION, on_body);
	(void)curl_easy_setopt(easy, CURLOPT_WRITEDATA, exchange);
	(void)curl_easy_setopt(easy, CURLOPT_HEADERFUNCTION, s3_on_header);
	(void)curl_easy_setopt(easy, CURLOPT_HEADERDATA, exchange);
	(void)curl_easy_setopt(easy, CURLOPT_XFERINFOFUNCTION, on_progress);
	(void)curl_easy_setopt(easy, CURLOPT_XFERINFODATA, exchange);
	(void)curl_easy_setopt(easy, CURLOPT_NOPROGRESS, 0L);
}

static int set_options(struct s3_exchange *exchange, const char *url)
{
	const struct s3_place *place = &exchange->s3->place;
	CURL *easy = exchange->easy;

	/* Fails only without memory. */
	if (curl_easy_setopt(easy, CURLOPT_URL, url) != CURLE_OK ||
	    (place->ca_file && curl_easy_setopt(easy, CURLOPT_CAINFO, place->ca_file) != CURLE_OK))
		return -ENOMEM;
	(void)curl_easy_setopt(easy, CURLOPT_PRIVATE, exchange);
	(void)curl_easy_setopt(easy, CURLOPT_ERRORBUFFER, exchange->curl_error);
	(void)curl_easy_setopt(easy, CURLOPT_HTTPHEADER, exchange->headers);
	(void)curl_easy_setopt(easy, CURLOPT_HTTP_VERSION, CURL_HTTP_VERSION_1_1);
	(void)curl_easy_setopt(easy, CURLOPT_PROTOCOLS_STR, "http,https");
	(void)curl_easy_setopt(easy, CURLOPT_PATH_AS_IS, 1L);
	(void)curl_easy_setopt(easy, CURLOPT_NOSIGNAL, 1L);
	(void)curl_easy_setopt(easy, CURLOPT_FOLLOWLOCATION, 0L);
	(void)curl_easy_setopt(easy, CURLOPT_CONNECTTIMEOUT, CONNECT_TIMEOUT_S);
	(void)curl_easy_setopt(easy, CURLOPT_SSLVERSION, CURL_SSLVERSION_TLSv1_2);
	(void)curl_easy_setopt(easy, CURLOPT_SSL_VERIFYPEER, 1L);
	(void)curl_easy_setopt(easy, CURLOPT_SSL_VERIFYHOST, 2L);
	(void)curl_easy_setopt(easy, CURLOPT_MAXAGE_CONN, 50L); /* servers close idle ones */
	(void)curl_easy_setopt(easy, CURLOPT_BUFFERSIZE, 512L << 10);
	(void)curl_easy_setopt(easy, CURLOPT_UPLOAD_BUFFERSIZE, 512L << 10);
	set_callbacks(exchange);
	set_method(easy, exchange->request);
	return 0;
}

int s3_exchange_begin(struct s3_exchange *exchange)
{
	struct s3_tier *s3 = exchange->s3;
	struct s3_request *request = exchange->request;
	cleanup_free char *host = NULL, *path = NULL, *encoded = NULL, *query = NULL, *url = NULL;
	char region[sizeof(s3->region)];
	int r;

	s3_reply_clear(&exchange->reply);
	/* Of what has no body nothing else ends the sending. */
	if (is_too_late(request))
		return -ETIME;
	drop_headers(exchange);
	exchange->curl_error[0] = 0;
	exchange->sent = 0;
	exchange->moved_ns = monotonic_ns();
	exchange->moved_bytes = 0;
	r = get_keys(exchange);
	if (r == 0)
		r = s3_customer_ready(s3);
	if (r == 0)
		r = s3_customer_refuses(exchange);
	if (r == 0 && !request->payload_hash[0])
		r = s3_payload_hash(request->body, request->body_length, request->payload_hash);
	if (r < 0)
		return r;
	mutex_lock(&s3->lock);
	memcpy(region, s3->region, sizeof(region));
	exchange->signed_s = realtime_ns() / NS_PER_SEC + s3->clock_offset_s;
	mutex_unlock(&s3->lock);
	host = s3_place_host(&s3->place, region);
	path = s3_place_path(&s3->place, request->key);
	encoded = path ? s3_encode_path(path) : NULL;
	query = s3_encode_query(request->query, request->query_count);
	if (!host || !encoded || !query ||
	    asprintf(&url, "%s://%s%s%s%s", s3->place.scheme, host, encoded, *query ? "?" : "",
		     query) < 0) {
		url = NULL;
		return -ENOMEM;
	}
	if (!exchange->easy)
		exchange->easy = take_handle(exchange);
	if (!exchange->easy)
		exchange->easy = curl_easy_init();
	if (!exchange->easy)
		return -ENOMEM;
	r = make_headers(exchange, path, region, host);
	return r < 0 ? r : set_options(exchange, url);
}

/* Change what the server did not like. False: that was tried, or there is nothing to change. */
static bool mend(struct s3_exchange *exchange, enum s3_next next)
{
	struct s3_tier *s3 = exchange->s3;
	struct s3_reply *reply = &exchange->reply;

	if (exchange->fixed & 1u << next)
		return false;
	exchange->fixed |= 1u << next;
	if (next == S3_REFRESH) {
		struct s3_keys keys = { 0 };
		int r = s3_credentials_get(s3->credentials, &exchange->keys, &keys);

		s3_keys_fini(&keys); /* the next attempt asks for them again */
		return r == 0;
	}
	scoped_lock(&s3->lock);
	if (next == S3_CLOCK) {
		s3->clock_offset_s = reply->date_s - realtime_ns() / NS_PER_SEC;
		return reply->date_s != 0;
	}
	if (!reply->region[0])
		return false;
	(void)strcpy(s3->region, reply->region);
	return true;
}

static int64_t pause_after(const struct s3_exchange *exchange)
{
	int64_t most = FIRST_PAUSE_NS << (2 * (exchange->attempts < 6 ? exchange->attempts : 6));
	uint64_t noise = (uint64_t)monotonic_ns() * 0x9e3779b97f4a7c15u >> 33;
	int64_t wait_s = exchange->reply.retry_after_s;

	if (wait_s > 0)
		return (wait_s < RETRY_AFTER_MAX_S ? wait_s : RETRY_AFTER_MAX_S) * NS_PER_SEC;
	return most / 2 + (int64_t)(noise % (uint64_t)(most / 2 + 1));
}

static void tell_why(struct s3_exchange *exchange, const struct s3_verdict *verdict)
{
	const struct s3_place *place = &exchange->s3->place;
	const char *where = place->endpoint ? place->endpoint : "amazonaws.com";
	char status[16];
	const char *code = exchange->reply.code;

	if (!verdict->why)
		return;
	(void)snprintf(status, sizeof(status), "HTTP %ld", exchange->reply.status);
	if (!*code && exchange->reply.status)
		code = status;
	if (*verdict->why)
		s3_set_why(exchange->s3, "%s%s%s%s (bucket %s at %s)", verdict->why,
			   *code ? " (" : "", code, *code ? ")" : "", place->bucket, where);
	else
		s3_set_why(exchange->s3, "%s: %s", where,
			   exchange->curl_error[0] ? exchange->curl_error : "no answer");
}

static void note_trouble(struct s3_tier *s3)
{
	scoped_lock(&s3->lock);
	s3_width_trouble(&s3->width);
}

int s3_exchange_end(struct s3_exchange *exchange, CURLcode curl, int64_t *ret_pause_ns)
{
	struct s3_reply *reply = &exchange->reply;
	unsigned tries = exchange->request->tries ? exchange->request->tries : S3_TRIES;
	struct s3_verdict verdict;
	bool again;

	/* A POST or a copy may say 200 and then fail; what GET answers is data of anybody's. */
	if (curl == CURLE_OK &&
	    (reply->status / 100 != 2 || strcmp(exchange->request->method, "GET") != 0))
		s3_read_error(reply);
	verdict = s3_judge(curl, exchange->request->method, reply, exchange->signed_s);
	if (verdict.next == S3_DONE)
		return s3_customer_judge(exchange);
	*ret_pause_ns = 0;
	/* What somebody else put there, or we before there was a key, is refused with one. */
	if (reply->status == 400 && verdict.next == S3_FAIL && !exchange->request->body &&
	    strcmp(exchange->request->method, "PUT") != 0 && s3_customer_used(exchange)) {
		exchange->plain = true;
		return 1;
	}
	if (verdict.next == S3_RETRY) {
		/* Not what was only damaged on its way, nor what others do with the object. */
		if (verdict.error == -EHOSTDOWN || reply->status >= 500)
			note_trouble(exchange->s3);
		*ret_pause_ns = pause_after(exchange);
		again = ++exchange->attempts < tries;
	} else {
		again = verdict.next != S3_FAIL && mend(exchange, verdict.next);
	}
	if (again)
		return 1;
	if (!exchange->request->is_trial)
		tell_why(exchange, &verdict);
	return verdict.error;
}

int s3_call(struct s3_tier *s3, struct s3_request *request, struct s3_reply *ret_reply)
{
	struct s3_exchange exchange;
	int64_t pause_ns = 0;
	int r;

	s3_exchange_init(&exchange, s3, request);
	do {
		r = atomic_load(&s3->stopping) ? -ECANCELED : s3_exchange_begin(&exchange);
		if (r == 0)
			r = s3_exchange_end(&exchange, curl_easy_perform(exchange.easy), &pause_ns);
		if (r == 1 && s3_pause(s3, pause_ns) < 0)
			r = -ECANCELED;
	} while (r == 1);
	*ret_reply = exchange.reply;
	memset(&exchange.reply, 0, sizeof(exchange.reply));
	s3_exchange_fini(&exchange);
	return r;
}
