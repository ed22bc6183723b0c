/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * A real volume in a scratch folder, without threads and without a mount, and what tests of
 * its files share.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <unistd.h>

#include "test.h"
#include "util/cleanup.h"
#include "util/clock.h"
#include "volume/behind.h"
#include "volume/file.h"
#include "volume/live.h"
#include "volume/verifier.h"
#include "volume/verify.h"

struct cart {
	struct scratch *scratch;
	struct volume *volume;
};

static inline struct caller me(void)
{
	return (struct caller){ .uid = getuid(), .gid = getgid(), .pid = getpid(), .umask = 022 };
}

static inline struct cart *cart_new(const char *settings)
{
	const struct store_identity identity = { .site_name = "cart" };
	struct cart *cart = calloc(1, sizeof(*cart));
	struct catalog *catalog = NULL;

	if (!cart)
		abort();
	cart->scratch = scratch_new();
	check_int(store_create(cart->scratch->path, &identity, settings), 0);
	check_int(catalog_open(scratch_file(cart->scratch, "catalog.db"), "site", CATALOG_CREATE,
			       &catalog),
		  0);
	catalog_close(catalog);
	check_int(volume_open(cart->scratch->path, VOLUME_NO_THREADS, &cart->volume), 0);
	return cart;
}

static inline void cart_free(struct cart *cart)
{
	volume_close(cart->volume);
	scratch_free(cart->scratch);
	free(cart);
}
DEFINE_CLEANUP(struct cart *, cart_free)
#define cleanup_cart cleanup_with(cart_free_slot)

/* Writes are put off, as in a mounted volume. */
static inline void put_writes_off(struct cart *cart)
{
	check_int(behind_start(cart->volume->behind), 0);
}

static inline void reopen(struct cart *cart)
{
	volume_close(cart->volume);
	cart->volume = NULL;
	check_int(volume_open(cart->scratch->path, VOLUME_NO_THREADS, &cart->volume), 0);
}

static inline struct file *create(struct cart *cart, const char *name)
{
	struct caller caller = me();
	struct volume_entry entry;
	struct file *file = NULL;

	check_int(volume_create(cart->volume, &caller, CATALOG_ROOT, name, 0644, O_RDWR | O_EXCL,
				&entry, &file),
		  0);
	return file;
}

static inline struct file *open_again(struct cart *cart, uint64_t id, int flags)
{
	struct caller caller = me();
	struct file *file = NULL;

	check_int(volume_open_file(cart->volume, &caller, id, flags, &file), 0);
	return file;
}

static inline void put(struct file *file, const void *bytes, size_t length, off_t offset)
{
	struct caller caller = me();

	check_int(volume_write(file, &caller, bytes, length, offset), length);
}

static inline struct node_row row_of(struct cart *cart, uint64_t id)
{
	struct node_row row;

	check_int(catalog_barrier(cart->volume->catalog), 0);
	check_int(catalog_get_node(cart->volume->catalog, id, &row), 1);
	return row;
}

static inline enum file_state state_of(struct cart *cart, uint64_t id)
{
	return row_of(cart, id).state;
}

/* A file of @length bytes, closed. */
static inline uint64_t received(struct cart *cart, const char *name, const void *bytes,
				size_t length)
{
	struct file *file = create(cart, name);
	uint64_t id = file_id(file);

	put(file, bytes, length, 0);
	check_int(volume_flush(file), 0);
	volume_release(file);
	return id;
}

static inline bool never(void *arg)
{
	(void)arg;
	return false;
}

static inline int verify(struct cart *cart, uint64_t id)
{
	return verifier_run(cart->volume->verifier, id);
}

static inline void flip(struct cart *cart, const char *name, off_t offset)
{
	char path[256];
	uint8_t byte;
	int fd;

	(void)snprintf(path, sizeof(path), "tree/%s", name);
	fd = open(scratch_file(cart->scratch, path), O_RDWR | O_CLOEXEC);
	check(fd >= 0);
	check_int(pread(fd, &byte, 1, offset), 1);
	byte ^= 4;
	check_int(pwrite(fd, &byte, 1, offset), 1);
	(void)close(fd);
}

struct counted {
	const char *event;
	unsigned count;
	char detail[1024];
};

static inline int count_event(void *arg, const struct event *event)
{
	struct counted *counted = arg;

	if (strcmp(event->event, counted->event) == 0) {
		counted->count++;
		(void)snprintf(counted->detail, sizeof(counted->detail), "%s %s", event->path,
			       event->detail);
	}
	return 0;
}

static inline struct counted events(struct cart *cart, const char *name)
{
	struct counted counted = { .event = name };

	check_int(catalog_barrier(cart->volume->catalog), 0);
	check_int(catalog_each_event(cart->volume->catalog, EVENTS_OLDEST_FIRST, 0, 0, count_event,
				     &counted),
		  0);
	return counted;
}

static uint32_t seed;

static inline uint32_t number(uint32_t below)
{
	seed = seed * 1664525u + 1013904223u;
	return (uint32_t)(((uint64_t)seed >> 4) % below);
}

static inline uint8_t *noise(size_t length)
{
	uint8_t *bytes = malloc(length + 4);

	if (!bytes)
		abort();
	for (size_t i = 0; i < length; i += 4) {
		uint32_t word = number(UINT32_MAX);

		memcpy(bytes + i, &word, 4);
	}
	return bytes;
}

/* The catalog's content of a verified file is exactly these bytes. */
static inline void check_verified(struct cart *cart, uint64_t id, const void *bytes, size_t length)
{
	struct node_row row = row_of(cart, id);
	struct content_row content;
	struct digest digest;

	check(file_state_is_verified(row.state));
	check_int(row.size, length);
	check_int(catalog_get_content(cart->volume->catalog, row.content, &content), 1);
	digest_of(bytes, length, &digest);
	check_int(content.size, length);
	check(digest_equal(&content.digest, &digest));
	content_row_fini(&content);
}
