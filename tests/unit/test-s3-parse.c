/* SPDX-License-Identifier: Apache-2.0 */
#include "tier/s3.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "test.h"
#include "tier/s3_xml.h"
#include "util/cleanup.h"
#include "util/io.h"
#include "util/xml.h"

static void check_place(const char *url, const char *host, const char *path)
{
	struct s3_place place;
	cleanup_free char *found_host = NULL, *found_path = NULL;

	check_int(s3_url_parse(url, &place), 0);
	found_host = s3_place_host(&place, place.region);
	found_path = s3_place_path(&place, "DAY 1/a%b.mov");
	check_str(found_host, host);
	check_str(found_path, path);
	s3_place_fini(&place);
}

TEST(urls_say_where_objects_lie)
{
	check_place("s3://media", "media.s3.us-east-1.amazonaws.com", "/DAY 1/a%b.mov");
	check_place("s3://media/show/x/?region=eu-west-1", "media.s3.eu-west-1.amazonaws.com",
		    "/show/x/DAY 1/a%b.mov");
	check_place("s3://me.dia/show", "s3.us-east-1.amazonaws.com", "/me.dia/show/DAY 1/a%b.mov");
	check_place("s3://media/a%20b?endpoint=http://127.0.0.1:9000", "127.0.0.1:9000",
		    "/media/a b/DAY 1/a%b.mov");
	check_place("s3://media?endpoint=https%3A%2F%2Fs3.example.com%2F&style=virtual",
		    "media.s3.example.com", "/DAY 1/a%b.mov");
	check_place("s3://media?endpoint=http://[::1]:9000", "[::1]:9000", "/media/DAY 1/a%b.mov");
}

TEST(urls_that_make_no_sense_are_refused)
{
	static const char *const bad[] = {
		"s3://",
		"s3:///x",
		"s3://ab",
		"s3://-ab",
		"s3://a..b",
		"s3://user:secret@media",
		"s3://media/../x",
		"s3://media/.mediafs",
		"s3://media/a%0ab",
		"s3://media/a%zz",
		"s3://media/a%4",
		"s3://media?secret=x",
		"s3://media?aws_secret_access_key=x",
		"s3://media?region",
		"s3://media?region=",
		"s3://media?region=a/b",
		"s3://media?style=other",
		"s3://media?parallel=0",
		"s3://media?parallel=17",
		"s3://media?parallel=2x",
		"s3://media?endpoint=http://",
		"s3://media?endpoint=ftp://x",
		"s3://media?endpoint=http://user@x",
		"s3://media?endpoint=http://x/y",
		"s3://media?endpoint=http://x:y",
		"s3://media?endpoint=x&endpoint=y",
		"s3://media?ca=relative",
		"s3://media?credentials=relative",
		"s3://media?sse-kms-key=abc",
		"s3://media?sse-c-key=relative",
		"s3://media?sse-c-key=/key&sse=AES256",
		"s3://media?sse-c-key=/key&endpoint=http://x",
		"http://media",
	};
	struct s3_place place;

	for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
		if (s3_url_parse(bad[i], &place) != -EINVAL)
			test_fail(__FILE__, __LINE__, "\"%s\" is taken", bad[i]);
	}
}

TEST(options_of_urls)
{
	struct s3_place place;

	check_int(s3_url_parse("s3://media?endpoint=http://h&region=garage&profile=a b&ca=/x/ca.pem"
			       "&credentials=/etc/keys&storage-class=STANDARD_IA&parallel=16"
			       "&sse=aws%3Akms&sse-kms-key=arn:aws:kms:x/y",
			       &place),
		  0);
	check_str(place.region, "garage");
	check_str(place.scheme, "http");
	check_str(place.profile, "a b");
	check_str(place.ca_file, "/x/ca.pem");
	check_str(place.credentials_file, "/etc/keys");
	check_str(place.storage_class, "STANDARD_IA");
	check_str(place.encryption, "aws:kms");
	check_str(place.kms_key, "arn:aws:kms:x/y");
	check_int(place.parallel, 16);
	s3_place_fini(&place);
	check_int(s3_url_parse("s3://media?sse-c-key=/etc/a%20key", &place), 0);
	check_str(place.customer_file, "/etc/a key");
	s3_place_fini(&place);
}

/* Everything that was read, as lines. */
static int note_element(void *arg, const char *path, const char *text)
{
	char *out = arg;

	(void)sprintf(out + strlen(out), "%s=%s\n", path, text);
	return strcmp(text, "stop") == 0 ? 7 : 0;
}

static int read_xml(const char *text, char *out)
{
	out[0] = 0;
	return s3_xml_read(text, strlen(text), note_element, out);
}

TEST(xml_is_read_as_paths_and_texts)
{
	char out[1024];

	check_int(read_xml("  \n<?xml version=\"1.0\"?><R xmlns=\"http://x/\"><a>1&amp;&#50;</a>"
			   "<n:b><c/></n:b>\n<d>x y</d></R>",
			   out),
		  0);
	check_str(out, "R/a=1&2\nR/b/c=\nR/b=\nR/d=x y\nR=\n");
	check_int(read_xml("<R><a>stop</a><b/></R>", out), 7);
	check_str(out, "R/a=stop\n");
}

TEST(hostile_xml_is_refused)
{
	static const char *const bad[] = {
		"",
		"text",
		"<a>",
		"<a></b>",
		"<a/><b/>",
		"<!DOCTYPE a [<!ENTITY x \"y\">]><a>&x;</a>",
		"<!DOCTYPE a SYSTEM \"file:///etc/passwd\"><a/>",
		"<a>&unknown;</a>",
		"<a>\xff</a>",
	};
	cleanup_free char *long_text = malloc(XML_TEXT_MAX + 64);
	char out[1024];

	for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
		if (read_xml(bad[i], out) != -EPROTO)
			test_fail(__FILE__, __LINE__, "%s is taken", bad[i]);
	}
	(void)strcpy(long_text, "<a>");
	memset(long_text + 3, 'x', XML_TEXT_MAX);
	(void)strcpy(long_text + 3 + XML_TEXT_MAX, "</a>");
	check_int(read_xml(long_text, out), -EPROTO);
	check_int(s3_xml_read("<a/>\0<b/>", 9, note_element, out), -EPROTO);
	/* An empty element whose name is too long: its end is told all the same. */
	(void)sprintf(long_text, "<%0*d/>", XML_PATH_MAX, 0);
	long_text[1] = 'x';
	check_int(read_xml(long_text, out), -EPROTO);
}

TEST(escaped_text_comes_back)
{
	cleanup_free char *escaped = s3_xml_escape("a<b>&\"c\"'d'\r\n");
	char text[128], out[128];

	check_str(escaped, "a&lt;b&gt;&amp;&quot;c&quot;'d'&#13;&#10;");
	(void)snprintf(text, sizeof(text), "<x>%s</x>", escaped);
	check_int(read_xml(text, out), 0);
	check_str(out, "x=a<b>&\"c\"'d'\r\n\n");
}

static const char profiles[] = "; awscli's\n"
			       "[default]\n"
			       "aws_access_key_id = AKIADEFAULT\n"
			       "aws_secret_access_key=secret/+=\r\n"
			       "\n"
			       "[ other ]\n"
			       "aws_access_key_id = AKIAOTHER\n"
			       "aws_secret_access_key = s2\n"
			       "aws_session_token = t2\n"
			       "[run]\n"
			       "credential_process = \"/a b/prog\" --x 'y z'";

TEST(profiles_are_found_in_files)
{
	struct s3_profile profile = { 0 };

	check_int(s3_profile_parse(profiles, strlen(profiles), "default", &profile), 1);
	check_str(profile.keys.access_key, "AKIADEFAULT");
	check_str(profile.keys.secret_key, "secret/+=");
	check(profile.keys.token == NULL);
	s3_profile_fini(&profile);
	check_int(s3_profile_parse(profiles, strlen(profiles), "other", &profile), 1);
	check_str(profile.keys.token, "t2");
	s3_profile_fini(&profile);
	check_int(s3_profile_parse(profiles, strlen(profiles), "run", &profile), 1);
	check_str(profile.process, "\"/a b/prog\" --x 'y z'");
	s3_profile_fini(&profile);
	check_int(s3_profile_parse(profiles, strlen(profiles), "none", &profile), 0);
	check_int(s3_profile_parse("aws_access_key_id=x", 19, "any", &profile), 1);
	check_str(profile.keys.access_key, "x");
	s3_profile_fini(&profile);
}

TEST(command_lines_are_split_without_a_shell)
{
	char **words;

	check_int(s3_split_words("  \"/a b/prog\"  --x='y $z' \\\"q ''", &words), 0);
	check_str(words[0], "/a b/prog");
	check_str(words[1], "--x=y $z");
	check_str(words[2], "\"q");
	check_str(words[3], "");
	check(words[4] == NULL);
	free(words);
	check_int(s3_split_words("a 'b", &words), -EINVAL);
	check_int(s3_split_words("  ", &words), -EINVAL);
	check_int(s3_split_words("a b c d e", &words), 0); /* the most words for its length */
	check_str(words[4], "e");
	free(words);
}

TEST(what_a_credential_process_prints)
{
	static const char good[] =
		"{\"Version\":1,\"AccessKeyId\":\"A\",\"SecretAccessKey\":\"S\","
		"\"SessionToken\":\"T\",\"Expiration\":\"2026-11-28T18:20:31Z\"}";
	static const char *const bad[] = {
		"",
		"{}",
		"{\"Version\":2,\"AccessKeyId\":\"A\",\"SecretAccessKey\":\"S\"}",
		"{\"Version\":1,\"AccessKeyId\":\"A\"}",
		"[1]",
	};
	struct s3_keys keys;

	check_int(s3_keys_parse_json(good, strlen(good), &keys), 0);
	check_str(keys.access_key, "A");
	check_str(keys.secret_key, "S");
	check_str(keys.token, "T");
	check_int(keys.expires_s, 1795890031);
	s3_keys_fini(&keys);
	for (size_t i = 0; i < ARRAY_SIZE(bad); i++)
		check_int(s3_keys_parse_json(bad[i], strlen(bad[i]), &keys), -EINVAL);
}

/* Where keys come from ----------------------------------------------------------------------- */

static void clear_environment(struct scratch *dir)
{
	static const char *const names[] = { "AWS_ACCESS_KEY_ID",           "AWS_SECRET_ACCESS_KEY",
					     "AWS_SESSION_TOKEN",           "AWS_PROFILE",
					     "AWS_SHARED_CREDENTIALS_FILE", "AWS_CONFIG_FILE",
					     "CREDENTIALS_DIRECTORY" };

	for (size_t i = 0; i < ARRAY_SIZE(names); i++)
		(void)unsetenv(names[i]);
	(void)setenv("HOME", dir->path, 1);
}

static void write_text(struct scratch *dir, const char *name, const char *text, mode_t mode)
{
	check_int(write_file(AT_FDCWD, scratch_file(dir, name), text, strlen(text), mode), 0);
}

static void check_keys(const char *profile, const char *file, int error, const char *access)
{
	struct s3_credentials *source;
	struct s3_keys keys = { 0 };

	check_int(s3_credentials_new(profile, file, &source), 0);
	check_int(s3_credentials_get(source, NULL, &keys), error);
	if (error == 0)
		check_str(keys.access_key, access);
	s3_keys_fini(&keys);
	s3_credentials_free(source);
}

TEST(keys_come_from_the_first_place_that_has_some)
{
	static const char two[] = "aws_access_key_id=%s\naws_secret_access_key=s\n";
	cleanup_with(scratch_free_slot) struct scratch *dir = scratch_new();
	cleanup_free char *file = strdup(scratch_file(dir, "keys"));
	char text[256];

	clear_environment(dir);
	check_keys(NULL, NULL, -ENOKEY, NULL);
	check_int(mkdir(scratch_file(dir, ".aws"), 0700), 0);
	write_text(dir, ".aws/config",
		   "[profile p]\ncredential_process = echo '{\"Version\":1,\"AccessKeyId\":"
		   "\"FROM-PROCESS\",\"SecretAccessKey\":\"s\"}'\n[profile q]\n"
		   "credential_process = false\n",
		   0600);
	check_keys("p", NULL, 0, "FROM-PROCESS");
	check_keys("q", NULL, -EINVAL, NULL);
	write_text(dir, ".aws/credentials",
		   "[default]\naws_access_key_id=FROM-HOME\n"
		   "aws_secret_access_key=s\n",
		   0600);
	check_keys(NULL, NULL, 0, "FROM-HOME");
	(void)setenv("AWS_ACCESS_KEY_ID", "FROM-ENV", 1);
	(void)setenv("AWS_SECRET_ACCESS_KEY", "s", 1);
	check_keys(NULL, NULL, 0, "FROM-ENV");
	(void)setenv("CREDENTIALS_DIRECTORY", dir->path, 1);
	(void)snprintf(text, sizeof(text), two, "FROM-SYSTEMD");
	write_text(dir, "mediafs-s3", text, 0440);
	check_keys(NULL, NULL, 0, "FROM-SYSTEMD");
	(void)snprintf(text, sizeof(text), two, "FROM-FILE");
	write_text(dir, "keys", text, 0640);
	check_keys(NULL, file, -EACCES, NULL);
	check_int(chmod(file, 0600), 0);
	check_keys(NULL, file, 0, "FROM-FILE");
	check_int(unlink(file), 0);
	check_keys(NULL, file, -ENOKEY, NULL); /* and none of the others instead */
	clear_environment(dir);
}

TEST(refused_keys_are_read_again)
{
	cleanup_with(scratch_free_slot) struct scratch *dir = scratch_new();
	cleanup_free char *file = strdup(scratch_file(dir, "keys"));
	struct s3_credentials *source;
	struct s3_keys old = { 0 }, new = { 0 };

	write_text(dir, "keys", "aws_access_key_id=A\naws_secret_access_key=old\n", 0600);
	check_int(s3_credentials_new(NULL, file, &source), 0);
	check_int(s3_credentials_get(source, NULL, &old), 0);
	check_int(s3_credentials_get(source, &old, &new), -EKEYREJECTED);
	write_text(dir, "keys", "aws_access_key_id=A\naws_secret_access_key=new\n", 0600);
	check_int(s3_credentials_get(source, NULL, &new), 0);
	check_str(new.secret_key, "old"); /* nobody refused them */
	s3_keys_fini(&new);
	check_int(s3_credentials_get(source, &old, &new), 0);
	check_str(new.secret_key, "new");
	s3_keys_fini(&new);
	s3_keys_fini(&old);
	s3_credentials_free(source);
}

/* What rclone and s3fs write, and what somebody may write instead. */
TEST(times_in_metadata_are_read_or_not_believed)
{
	static const struct {
		const char *text;
		int error;
		int64_t ns;
	} samples[] = {
		{ "1700000000", 0, 1700000000000000000 },
		{ "1700000000.123456789", 0, 1700000000123456789 },
		{ "1700000000.5", 0, 1700000000500000000 },
		{ "1700000000.1234567899", 0, 1700000000123456789 },
		{ "0", 0, 0 },
		{ "-1.5", 0, -1500000000 },
		{ "", -EINVAL, 0 },
		{ ".5", -EINVAL, 0 },
		{ "1e9", -EINVAL, 0 },
		{ "1700000000 ", -EINVAL, 0 },
		{ "9223372036854775807", -EINVAL, 0 },
		{ "-9223372036854775808", -EINVAL, 0 },
		{ "99999999999999999999999999", -EINVAL, 0 },
	};

	for (size_t i = 0; i < ARRAY_SIZE(samples); i++) {
		int64_t ns = 0;

		if (s3_read_seconds(samples[i].text, &ns) != samples[i].error ||
		    ns != samples[i].ns)
			test_fail(__FILE__, __LINE__, "\"%s\" is %lld", samples[i].text,
				  (long long)ns);
	}
}

TEST(metadata_of_others_are_told_from_ours)
{
	static const char *const lines[] = {
		"HTTP/1.1 200 OK\r\n",
		"x-amz-meta-mtime: 1700000000.25\r\n",
		"X-Amz-Meta-Mode: 33188\r\n",
		"Last-Modified: Fri, 21 Dec 2012 00:00:00 GMT\r\n",
	};
	struct s3_exchange exchange = { 0 };
	struct s3_reply *reply = &exchange.reply;
	char line[128];

	for (size_t i = 0; i < ARRAY_SIZE(lines); i++) {
		(void)snprintf(line, sizeof(line), "%s", lines[i]);
		check_int(s3_on_header(line, 1, strlen(line), &exchange), strlen(line));
	}
	check_int(reply->mtime_ns, 1700000000250000000);
	check_int(reply->mode, S_IFREG | 0644);
	check_int(reply->modified_ns, 1356048000000000000);
	(void)snprintf(line, sizeof(line), "Last-Modified: Fri, 01 Jun 2558 00:00:00 GMT\r\n");
	(void)s3_on_header(line, 1, strlen(line), &exchange);
	check_int(reply->modified_ns, 0); /* it is not within 64 bits */
	(void)snprintf(line, sizeof(line), "x-amz-meta-mode: 100600\r\n");
	reply->mode = 0;
	(void)s3_on_header(line, 1, strlen(line), &exchange);
	check_int(reply->mode, S_IFREG | 0600);
	(void)snprintf(line, sizeof(line), S3_META_MTIME ": 7\r\n");
	(void)s3_on_header(line, 1, strlen(line), &exchange);
	check_int(reply->mtime_ns, 7);
	(void)snprintf(line, sizeof(line), "x-amz-restore: ongoing-request=\"true\"\r\n");
	(void)s3_on_header(line, 1, strlen(line), &exchange);
	check_int(reply->restore, S3_RESTORING);
}
