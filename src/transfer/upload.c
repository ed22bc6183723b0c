/* SPDX-License-Identifier: Apache-2.0 */
#include <inttypes.h>
#include <string.h>
#include <sys/stat.h>

#include "transfer/internal.h"
#include "util/cleanup.h"
#include "util/clock.h"
#include "util/error.h"
#include "util/io.h"
#include "util/log.h"

/* The first pause after a failure that was the file's own; doubled each time. */
#define FILE_BACK_OFF_NS NS_PER_SEC

/* Sent without asking first whether it is there. */
#define SMALL_BYTES (256u << 10)

/* A file that is being renamed or rewritten is looked at again after this. */
#define MOVED_NS (500 * NS_PER_MS)
/* However often: a file that is renamed all the time is not to wait for minutes after that. */
#define MOVED_MAX_NS (15 * NS_PER_SEC)

/* One file on its way to one tier. */
struct job {
	struct sender *sender;
	struct lane *lane;           /* the sender's */
	const struct queue_row *row; /* the sender's */
	struct node_row node;
	struct content_row content;
	struct copy_row copy; /* owned; that the tier has, under another path; key NULL: none */
	char *path;           /* owned */
	int fd;               /* owned */
};

static void job_fini(struct job *job)
{
	free(job->path);
	if (job->fd >= 0)
		(void)close(job->fd);
	copy_row_fini(&job->copy);
	content_row_fini(&job->content);
}

/* It moved on, went away or is kept here by a rule: what is left of it in the queue goes. */
static int drop(struct lane *lane, const struct queue_row *row)
{
	return catalog_dequeue(lane->transfer->catalog, row->id, row->generation, row->tier);
}

static void set_state(struct job *job, enum file_state state)
{
	/* Only for show; refused when the file has moved on. */
	(void)catalog_set_state(job->lane->transfer->catalog, job->row->id, job->row->generation,
				state, 0);
}

/* Look at the file as the catalog has it. 1 go on, 0 nothing to send (dropped). */
static int job_look(struct job *job)
{
	struct catalog *catalog = job->lane->transfer->catalog;
	int r;

	r = catalog_get_node(catalog, job->row->id, &job->node);
	if (r < 0)
		return r;
	if (r == 0 || job->node.generation != job->row->generation ||
	    !file_state_is_verified(job->node.state) || !job->node.content) {
		r = drop(job->lane, job->row);
		return r < 0 ? r : 0;
	}
	r = catalog_get_content(catalog, job->node.content, &job->content);
	if (r == 0)
		return -EUCLEAN;
	return r;
}

/* Kept here by a rule that came later, or by its new name: back to VERIFIED, listed as ignored. */
static int leave_here(struct job *job)
{
	if (job->node.state == FILE_QUEUED || job->node.state == FILE_UPLOADING)
		set_state(job, FILE_VERIFIED);
	return drop(job->lane, job->row);
}

/* @told, @again_ns: as catalog_set_stored(), whose -EAGAIN is passed on. */
static int record(struct job *job, const struct copy_row *copy, uint64_t told, int64_t again_ns)
{
	struct transfer *transfer = job->lane->transfer;
	const struct queue_row *row = job->row;
	bool was_stored = file_state_is_stored(job->node.state);
	struct node_row now;
	int r;

	r = catalog_set_stored(transfer->catalog, row->id, row->generation, copy, told, again_ns);
	if (r == -ESTALE) /* rewritten or removed meanwhile; the copy is recorded all the same */
		return drop(job->lane, row);
	if (r < 0)
		return r;
	if (!was_stored || told)
		transfer_event(transfer, "stored", job->path, &job->content.digest,
			       "tier %s key %s", job->lane->tier.tier->name, copy->key);
	/* It is stored and out of the queue, whether that can be read now or not: who called that a
	 * failure would have it wait in no queue for ever. */
	r = catalog_get_node(transfer->catalog, row->id, &now);
	if (r == 1 && now.generation == row->generation && file_state_is_stored(now.state))
		transfer->host.stored(transfer->host.arg, row->id, row->generation);
	return 0;
}

/* The content's copy in that tier, under whatever path: job->copy.key stays NULL without one. */
static int find_copy_there(struct job *job)
{
	struct catalog *catalog = job->lane->transfer->catalog;
	struct copy_row *copies = NULL;
	size_t count = 0;
	int r;

	r = catalog_get_copies(catalog, job->content.id, &copies, &count);
	if (r < 0)
		return r;
	for (size_t i = 0; i < count; i++) {
		if (!job->copy.key && copies[i].tier == job->row->tier && !copies[i].bad) {
			job->copy = copies[i];
			copies[i].key = NULL; /* the job's now */
		}
		copy_row_fini(&copies[i]);
	}
	free(copies);
	return 0;
}

/* Where a name that may not be a key goes: all but printable ASCII becomes '_'. */
static char *safe_key(const struct job *job)
{
	char hex[DIGEST_HEX_SIZE];
	char *key;

	digest_hex(&job->content.digest, hex);
	if (asprintf(&key, "_%s~%.8s", job->path, hex) < 0)
		return NULL;
	for (char *c = key; *c; c++)
		if ((unsigned char)*c < 0x20 || (unsigned char)*c >= 0x7f)
			*c = '_';
	return key;
}

/* "stem~<hex of the digest>.ext": the name when another object has the first one. */
static char *other_key(const struct job *job, const char *key, int digits)
{
	const char *name = strrchr(key, '/') ? strrchr(key, '/') + 1 : key;
	const char *dot = strrchr(name, '.');
	char hex[DIGEST_HEX_SIZE];
	char *other;
	int stem;

	digest_hex(&job->content.digest, hex);
	if (!dot || dot == name)
		dot = name + strlen(name);
	stem = (int)(dot - key);
	if (asprintf(&other, "%.*s~%.*s%s", stem, key, digits, hex, dot) < 0)
		return NULL;
	return other;
}

static struct tier_object object_of(const struct job *job)
{
	return (struct tier_object){
		.size = job->content.size,
		.digest = job->content.digest,
		.mtime_ns = job->node.mtime_ns,
		.mode = job->node.mode,
		.site = job->lane->transfer->store->site_uuid,
	};
}

/* Somebody has @key already. 1 it is this content, 0 it is not; the tier's errors. */
static int is_it_this(struct job *job, const char *key, struct source *source)
{
	struct tier *tier = job->lane->tier.tier;
	const struct tier_source pace = { .pace = source_pace, .arg = source };
	const struct tier_object object = object_of(job);
	uint64_t size = object.size;
	int r = 0;

	/* Before all of it is read. */
	if (!tier->backend->confirm)
		r = tier->backend->stat(tier, key, &size);
	if (r == 0 && size != object.size)
		return 0;
	/* It may be what an attempt left that was found not to be whole: its metadata vouch for it.
	 */
	if (r == 0 && job->row->attempts)
		r = tier_read_back(tier, key, &object, &pace);
	else if (r == 0)
		r = tier_verify(tier, key, &object, &pace);
	if (r == -EBADMSG || r == -ENOMEDIUM) /* archived, and nothing vouches for it */
		return 0;
	return r < 0 ? r : 1; /* archived or not */
}

/* Make the object: of the copy that the tier has, else of the bytes here. The tier's errors. */
static int make_object(struct job *job, const char *key, const struct tier_object *object,
		       const struct tier_source *bytes)
{
	struct tier *tier = job->lane->tier.tier;
	int r;

	if (job->copy.key) {
		r = tier->backend->copy(tier, job->copy.key, key, object, bytes);
		if (r != -ESTALE)
			return r;
		log_warning("tier %s: the copy %s is gone or another object: %s is sent again",
			    tier->name, job->copy.key, job->path);
		copy_row_fini(&job->copy);
	}
	return tier->backend->put(tier, key, object, bytes);
}

static bool is_lower_effort(const struct job *job)
{
	const struct transfer_host *host = &job->lane->transfer->host;

	return job->row->class == PRIORITY_ORIGINALS &&
	       host->setting(host->arg, SETTING_LOWER_EFFORT);
}

/* 1 the object under @key is this content, 0 the key is another's. */
static int put_under(struct job *job, const char *key, struct source *source)
{
	struct tier *tier = job->lane->tier.tier;
	const struct tier_source bytes = {
		.read = source_read,
		.pace = source_pace,
		.note = source_note,
		.recall = source_recall,
		.arg = source,
		.lower_effort = is_lower_effort(job),
	};
	const struct tier_object object = object_of(job);
	uint64_t size;
	int r;

	if (job->copy.key && strcmp(key, job->copy.key) == 0)
		return 1;
	/*
	 * Asked first: what was sent before a crash is not sent again, nor is a name tried in vain.
	 * Over a network the question costs as much as what is small.
	 */
	r = tier->backend->confirm && object.size <= SMALL_BYTES
		    ? -ENOENT
		    : tier->backend->stat(tier, key, &size);
	if (r == -ENOENT)
		r = make_object(job, key, &object, &bytes);
	else if (r == 0)
		r = -EEXIST;
	if (r == 0)
		return 1;
	if (r == -EISDIR || r == -ENOTDIR) /* a folder has the name, or a file a folder's */
		return 0;
	return r == -EEXIST ? is_it_this(job, key, source) : r;
}

/* The keys to try, best first; the last one lies at the top, where no folder can be in the way. */
static char *key_to_try(const struct job *job, unsigned attempt, bool plain)
{
	cleanup_free char *key = strdup(job->path);

	if (key && (plain || !tier_key_ok(key))) {
		free(key);
		key = safe_key(job);
	}
	if (!key || attempt == 0)
		return take_ptr(key);
	if (attempt == 1)
		return other_key(job, key, 8);
	return other_key(job, strrchr(key, '/') ? strrchr(key, '/') + 1 : key, 32);
}

/* The copy that the tier has already. */
static int record_known(struct job *job)
{
	int r = record(job, &job->copy, 0, 0);

	return r == -EAGAIN ? -ESTALE : r; /* it was found bad meanwhile: look at all of it again */
}

/*
 * @key was found to be this content. 0 recorded; 1 another site's object has taken its place. Where
 * that can be, the tier is asked whose it is, and again if other sites told of objects before it
 * was recorded: what they tell of later is compared with what is recorded (catalog/doubts.h). Some
 * never tell, so it is asked once more after a while.
 */
static int record_sent(struct job *job, const char *key, struct source *source)
{
	struct tier *tier = job->lane->tier.tier;
	struct transfer_host *host = &job->lane->transfer->host;
	int64_t wait_ns = host->setting(host->arg, SETTING_OVERWRITE_WAIT);
	bool ask = tier_may_overwrite(tier, job->content.size);
	struct copy_row copy = {
		.content = job->content.id,
		.tier = job->row->tier,
		.key = (char *)(uintptr_t)key, /* only read */
		.digest = job->content.digest,
	};
	int r;

	do {
		uint64_t told = catalog_told(job->lane->transfer->catalog);

		copy.confirmed_ns = copy.checked_ns = realtime_ns();
		r = ask ? is_it_this(job, key, source) : 1;
		if (r <= 0)
			return r < 0 ? r : 1;
		r = record(job, &copy, told, ask ? copy.checked_ns + wait_ns : 0);
	} while (r == -EAGAIN);
	return r;
}

static int put(struct job *job, struct source *source)
{
	bool plain = false;

	for (unsigned attempt = 0; attempt < 3;) {
		cleanup_free char *key = key_to_try(job, attempt, plain);
		int r;

		if (!key)
			return -ENOMEM;
		if (!tier_key_ok(key))
			return -ENAMETOOLONG;
		r = put_under(job, key, source);
		if (r == -ENOTSUP && job->copy.key) /* it is stored, and has one name there */
			return record_known(job);
		if (r == -EILSEQ && !plain) {
			plain = true; /* bytes that the place has no name for */
			continue;
		}
		attempt++;
		/* A file is where a folder would have to be, or the other way round. */
		if (r == -ENOTDIR || r == -EISDIR || r == -ENAMETOOLONG)
			continue;
		if (r < 0)
			return r;
		if (r == 0)
			continue;
		if (job->copy.key) {
			if (strcmp(key, job->copy.key) != 0)
				(void)catalog_note_key(job->lane->transfer->catalog, job->row->tier,
						       key);
			return record_known(job);
		}
		r = record_sent(job, key, source);
		if (r <= 0)
			return r;
	}
	return -EEXIST;
}

/* The bytes here are not those that were verified: the file is damaged, and does not leave. */
static int found_damaged(struct job *job, uint64_t block)
{
	struct transfer *transfer = job->lane->transfer;
	const struct queue_row *row = job->row;
	int r;

	r = catalog_set_damaged(transfer->catalog, row->id, row->generation, -EBADMSG,
				STEP_DURABLE);
	if (r == -ESTALE)
		return drop(job->lane, row);
	if (r < 0)
		return r;
	log_error("%s: damaged: the block at %" PRIu64
		  " is not what was verified (found while reading it for tier %s); not sent",
		  job->path, block * BLOCK_BYTES, job->lane->tier.tier->name);
	transfer_event(transfer, "damaged", job->path, &job->content.digest,
		       "block at %" PRIu64 " differs, found while sending", block * BLOCK_BYTES);
	transfer->host.damaged(transfer->host.arg, row->id, row->generation, block);
	return drop(job->lane, row);
}

/* How long to wait after another failure of @row. */
static int64_t pause_after(struct transfer *transfer, const struct queue_row *row, int error,
			   bool poison)
{
	int64_t first = error == -ESTALE ? MOVED_NS : FILE_BACK_OFF_NS;
	int64_t most = transfer->host.setting(transfer->host.arg, SETTING_RETRY_MAX);
	uint32_t doublings = row->attempts;
	int64_t pause_ns;

	if (error == -ESTALE && most > MOVED_MAX_NS)
		most = MOVED_MAX_NS;
	if (poison) {
		first = POISON_PAUSE_NS;
		most = POISON_PAUSE_MAX_NS;
		/* It may have been moved often before it failed. */
		doublings = row->poison ? row->attempts + 1 - POISON_ATTEMPTS : 0;
	}
	pause_ns = first << (doublings < 20 ? doublings : 20);
	return pause_ns < most ? pause_ns : most;
}

/* It failed for a reason of its own: later again, for ever; who fails often waits long. */
static int try_later(struct job *job, int error)
{
	struct transfer *transfer = job->lane->transfer;
	const struct queue_row *row = job->row;
	bool poison = row->attempts + 1 >= POISON_ATTEMPTS && error != -ESTALE &&
		      !error_is_of_tier(error);
	const char *path = job->path ? job->path : "?";
	char why[TIER_WHY_SIZE];

	set_state(job, FILE_QUEUED);
	if (catalog_error(transfer->catalog) < 0)
		return error; /* not the file's fault */
	lane_ask_why(job->lane, error, why);
	if (poison && !row->poison) {
		log_error("%s: cannot be sent to tier %s, set aside after %u attempts, tried again "
			  "now and then: %s%s%s",
			  path, job->lane->tier.tier->name, row->attempts + 1, error_text(error),
			  *why ? ": " : "", why);
		transfer_event(transfer, "poison", path, &job->content.digest, "tier %s: %s%s%s",
			       job->lane->tier.tier->name, error_text(error), *why ? ": " : "",
			       why);
	} else if (error != -ESTALE) {
		log_info("%s: not sent to tier %s, attempt %u: %s%s%s", path,
			 job->lane->tier.tier->name, row->attempts + 1, error_text(error),
			 *why ? ": " : "", why);
	}
	return catalog_queue_retry(transfer->catalog, row->id, row->generation, row->tier,
				   transfer_now_ns(transfer) +
					   pause_after(transfer, row, error, poison),
				   error, poison, why);
}

static void show(struct sender *sender, const struct job *job)
{
	scoped_lock(&sender->lane->transfer->lock);
	(void)snprintf(sender->path, sizeof(sender->path), "%s", job ? job->path : "");
	sender->path_bytes = job ? job->content.size : 0;
	sender->path_done = 0;
}

static int send_bytes(struct job *job)
{
	struct source source;
	int r;

	r = source_init(&source, job->sender, &job->content, job->path, job->fd);
	if (r < 0)
		return try_later(job, r);
	show(job->sender, job);
	if (job->node.state == FILE_QUEUED)
		set_state(job, FILE_UPLOADING);
	r = put(job, &source);
	show(job->sender, NULL);
	source_fini(&source);
	if (r == 0)
		return 0;
	if (source.error == -EBADMSG && source.bad_block != UINT64_MAX)
		return found_damaged(job, source.bad_block);
	if (!source.error && r != -ESTALE)
		r = lane_judge(job->lane, r);
	/* Of the tier that it goes to; a block that is to come from another one is its own affair.
	 */
	if (source.error == -ECANCELED ||
	    (!source.error && (r == -ECANCELED || error_is_of_tier(r)))) {
		set_state(job, FILE_QUEUED);
		return r;
	}
	return try_later(job, source.error ? source.error : r);
}

/* The copy that the tier has needs no second name there, or has this one. */
static bool has_right_name(const struct job *job)
{
	return !job->lane->tier.tier->backend->copy || strcmp(job->copy.key, job->path) == 0;
}

static int send_job(struct job *job)
{
	struct transfer *transfer = job->lane->transfer;
	int r = job_look(job);

	if (r <= 0)
		return r == -EUCLEAN ? try_later(job, r) : r;
	r = transfer_open_file(transfer, job->row->id, &job->path, &job->fd);
	if (r < 0)
		return try_later(job, r);
	if (transfer_excludes(transfer, job->path) && !file_state_is_stored(job->node.state))
		return leave_here(job);
	r = find_copy_there(job);
	if (r == 0 && job->copy.key && has_right_name(job))
		r = record_known(job);
	else if (r == 0)
		return send_bytes(job);
	return r < 0 ? try_later(job, r) : 0;
}

int sender_send(struct sender *sender)
{
	cleanup_with(job_fini) struct job job = {
		.sender = sender,
		.lane = sender->lane,
		.row = &sender->row,
		.fd = -1,
	};

	return send_job(&job);
}
