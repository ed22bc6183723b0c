/* SPDX-License-Identifier: Apache-2.0 */
#include "fs/notify.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "util/log.h"

#define NOTES_MAX 65536

struct note {
	struct note *next;
	uint64_t id; /* of the inode, or of the folder when there is a name */
	char name[]; /* "" for an inode */
};

struct notifier {
	struct fs *fs; /* borrowed, outlives us */
	struct thread thread;

	struct mutex lock; /* rank 48; guards the rest */
	struct cond changed;
	struct note *first, **last; /* owned */
	size_t count;
	bool stopped;
};

static struct note *take_note(struct notifier *notifier)
{
	struct note *note;

	scoped_lock(&notifier->lock);
	while (!notifier->first && !notifier->stopped)
		cond_wait(&notifier->changed, &notifier->lock);
	if (notifier->stopped)
		return NULL;
	note = notifier->first;
	notifier->first = note->next;
	if (!notifier->first)
		notifier->last = &notifier->first;
	notifier->count--;
	cond_broadcast(&notifier->changed);
	return note;
}

static void *notify_body(void *arg)
{
	struct notifier *notifier = arg;
	struct fuse_session *session = notifier->fs->session;
	struct note *note;

	while ((note = take_note(notifier)) != NULL) {
		int r;

		if (note->name[0])
			(void)fuse_lowlevel_notify_inval_entry(session, note->id, note->name,
							       strlen(note->name));
		/* Of a folder: what the kernel has not looked up may be in its list of names, or
		 * missing there. */
		r = fuse_lowlevel_notify_inval_inode(session, note->id, 0, 0);
		/* -ENOENT: the kernel does not have it. */
		if (r < 0 && r != -ENOENT)
			log_debug("notify %llu %s: %d", (unsigned long long)note->id, note->name,
				  r);
		free(note);
	}
	return NULL;
}

struct notifier *notifier_new(struct fs *fs)
{
	struct notifier *notifier = calloc(1, sizeof(*notifier));

	if (!notifier)
		return NULL;
	notifier->fs = fs;
	notifier->last = &notifier->first;
	mutex_init(&notifier->lock, 48);
	cond_init(&notifier->changed);
	return notifier;
}

int notifier_start(struct notifier *notifier)
{
	return thread_start(&notifier->thread, "notify", notify_body, notifier);
}

void notifier_stop(struct notifier *notifier)
{
	mutex_lock(&notifier->lock);
	notifier->stopped = true;
	cond_broadcast(&notifier->changed);
	mutex_unlock(&notifier->lock);
	thread_join(&notifier->thread);
}

void notifier_free(struct notifier *notifier)
{
	if (!notifier)
		return;
	notifier_stop(notifier);
	while (notifier->first) {
		struct note *note = notifier->first;

		notifier->first = note->next;
		free(note);
	}
	cond_fini(&notifier->changed);
	mutex_fini(&notifier->lock);
	free(notifier);
}

static void add_note(struct notifier *notifier, uint64_t id, const char *name)
{
	size_t size = strlen(name) + 1;
	struct note *note = malloc(sizeof(*note) + size);

	if (!note) {
		log_warning("no memory to tell the kernel of a change: it may show old names for "
			    "a day");
		return;
	}
	note->next = NULL;
	note->id = id;
	memcpy(note->name, name, size);
	mutex_lock(&notifier->lock);
	while (notifier->count >= NOTES_MAX && !notifier->stopped)
		cond_wait(&notifier->changed, &notifier->lock);
	*notifier->last = note;
	notifier->last = &note->next;
	notifier->count++;
	cond_broadcast(&notifier->changed);
	mutex_unlock(&notifier->lock);
}

void notifier_entry(void *arg, uint64_t parent, const char *name)
{
	add_note(arg, parent, name);
}

void notifier_inode(void *arg, uint64_t id)
{
	add_note(arg, id, "");
}

void notifier_attributes(void *arg, uint64_t id)
{
	struct notifier *notifier = arg;

	/* A negative offset: attributes only. -ENOENT: the kernel does not have it. */
	(void)fuse_lowlevel_notify_inval_inode(notifier->fs->session, id, -1, 0);
}
