/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * Settings: mediafs.conf, an ini file. One table in settings.c names every key with its
 * section, type, default, range and one line of help; parser, `config get|set`, --help and
 * the man page all come from it.
 *
 *   [ingest]   verify = async|close   verify_rate = 0 (bytes/s, 0 = no limit)
 *              scrub_interval = 30d   settle = 5s
 *   [space]    evict_above = 80% (0 = never)   reserve = 5%
 *   [transfer] limit = 0   timetable = "mon-fri 07:00-19:00 20M" (util/timetable.h)
 *              metered = no   lower_effort = yes   pause = no   retry_max = 10min
 *              required_copies = 1   hydrate_timeout = 60s   read_ahead = 32M
 *              overwrite_wait = 10min
 *   [rules]    ignore = "*.tmp .DS_Store ._* ..." (space-separated globs)
 *              priority.NAME = globs     (see transfer/rules.h)
 *   [safe]     copies = 2   offsite = 1   distinct_devices = yes
 *   [sync]     poll = 2s   flush = 1s
 *   [manifest] kind = asc|legacy|both|none   hash = xxh128 (list)   seal = yes
 *              settle = 1min
 *   [tier NAME] url = file:///mnt/nas   offsite = yes|no   uplink = yes|no
 *
 * Keys are SECTION.KEY: "transfer.limit", "rules.ignore", "rules.priority.notes",
 * "tier.NAME.url". settings_get() may run while another thread sets; everything else is
 * serialised by the owner.
 */
#include <stddef.h>
#include <stdint.h>

#include "util/cleanup.h"

enum setting {
	SETTING_VERIFY,          /* 0 async, 1 close */
	SETTING_VERIFY_RATE,     /* bytes/s */
	SETTING_SCRUB_INTERVAL,  /* ns, 0 never */
	SETTING_SETTLE,          /* ns after close before a file is sent */
	SETTING_EVICT_ABOVE,     /* per mille of the file system, 0 never */
	SETTING_RESERVE,         /* per mille kept free for catalog and metadata */
	SETTING_LIMIT,           /* bytes/s up and down, 0 no limit */
	SETTING_METERED,         /* 0, 1 */
	SETTING_LOWER_EFFORT,    /* 0, 1 */
	SETTING_PAUSE,           /* 0, 1 */
	SETTING_RETRY_MAX,       /* ns, longest back-off */
	SETTING_REQUIRED_COPIES, /* before eviction */
	SETTING_OVERWRITE_WAIT,  /* ns until a copy counts that another site may write over */
	SETTING_HYDRATE_TIMEOUT, /* ns a reader waits */
	SETTING_READ_AHEAD,      /* bytes */
	SETTING_SAFE_COPIES,     /* of a card's files, before it may be formatted */
	SETTING_SAFE_OFFSITE,    /* of them in tiers that are another place */
	SETTING_SAFE_DISTINCT,   /* 0, 1: the copies count once a disk */
	SETTING_SYNC_POLL,       /* ns */
	SETTING_SYNC_FLUSH,      /* ns */
	SETTING_MANIFEST_KIND,   /* enum manifest_kind */
	SETTING_MANIFEST_HASH,   /* HASH_BIT()s */
	SETTING_MANIFEST_SEAL,   /* 0, 1 */
	SETTING_MANIFEST_SETTLE, /* ns an offload is left alone before its history is written */
	SETTING_COUNT
};

/* The order of the words in settings_table.c. */
enum manifest_kind { MANIFEST_ASC, MANIFEST_LEGACY, MANIFEST_BOTH, MANIFEST_NONE };

#define SETTINGS_TIERS_MAX 16

struct settings_tier {
	char *name;  /* owned */
	char *url;   /* owned */
	int offsite; /* 1 another place, 0 not, -1 not said: as its kind is */
	int uplink;  /* 1 the limits of [transfer] are meant for it, 0 not, -1 not said: the same */
};

struct settings;

/* Parse @text. On -EINVAL *ret_message (caller frees) says line, key and what is allowed. */
int settings_parse(const char *text, size_t length, struct settings **ret_settings,
		   char **ret_message);
void settings_free(struct settings *settings);
DEFINE_CLEANUP(struct settings *, settings_free)

/* Read PATH/mediafs.conf; a missing file gives the defaults. */
int settings_load(const char *store_path, struct settings **ret_settings, char **ret_message);

int64_t settings_get(const struct settings *settings, enum setting setting);

/* As a person writes it ("80%", "20M", "5s"). Caller frees. -ENOENT: no such key. */
int settings_get_text(const struct settings *settings, const char *key, char **ret_value);

/* Another one that says the same. */
int settings_copy(const struct settings *settings, struct settings **ret_copy);

/* Say what @other does, which is freed. Nothing of it can fail. */
void settings_become(struct settings *settings, struct settings *other);

/*
 * Change a value in memory, checked. "" takes the key out: the default applies again, a tier
 * is gone, with all that was said of it. -ENOENT no such key, -EINVAL with a message. Makes what
 * settings_rule() and settings_tier() returned before invalid. -ENOMEM may leave it half done: who
 * goes on with @settings changes a copy.
 */
int settings_set_text(struct settings *settings, const char *key, const char *value,
		      char **ret_message);

/* The same, but settings_save() does not write it. */
int settings_override(struct settings *settings, const char *key, const char *value,
		      char **ret_message);

/*
 * Write what was set, once, to PATH/mediafs.conf as it is there now, keeping comments, order and
 * what others changed meanwhile; atomic, durable. -EINVAL: the file there cannot be read any more.
 */
int settings_save(struct settings *settings, const char *store_path);

/* Tiers in file order; borrowed. */
size_t settings_tier_count(const struct settings *settings);
const struct settings_tier *settings_tier(const struct settings *settings, size_t index);

/* 1 and NAME of a key tier.NAME.url, which caller frees; 0: another key. */
int settings_tier_name(const char *key, char **ret_name);

/* Globs of [rules] @name ("ignore", "priority.notes"), or NULL: the built-in ones apply. Borrowed.
 */
const char *settings_rule(const struct settings *settings, const char *name);

enum limit_rule { LIMIT_BY_SETTING, LIMIT_BY_TIMETABLE, LIMIT_BY_OVERRIDE };

struct limit_now {
	uint64_t per_second; /* bytes, 0 no limit */
	enum limit_rule rule;
};

/* What the file says for the moment @realtime_ns: the timetable, else transfer.limit. */
struct limit_now settings_limit(const struct settings *settings, int64_t realtime_ns);

/* When the timetable changes that next (realtime); 0 not within a week. Takes milliseconds. */
int64_t settings_limit_until(const struct settings *settings, int64_t realtime_ns);

/* One line for each key: name, default, help. For --help and the man page test. */
int settings_describe(size_t index, const char **ret_key, const char **ret_default,
		      const char **ret_help); /* -ENOENT past the end */
