/* SPDX-License-Identifier: Apache-2.0 */
/* The tables of the sync layer. unpublished is filled by the writer: see private.h. */
#include "catalog/private.h"

const char schema_sync[] =
	"CREATE TABLE unpublished(path BLOB PRIMARY KEY, subtree INTEGER NOT NULL,"
	" noted_ns INTEGER NOT NULL) WITHOUT ROWID;"
	"CREATE INDEX unpublished_noted ON unpublished(noted_ns);"

	/* How far each site's journal was read (or, for our own, written). Rows with segment 0
	 * were only named in a base so far. */
	"CREATE TABLE sites(id INTEGER PRIMARY KEY, site TEXT NOT NULL UNIQUE,"
	" name TEXT NOT NULL, segment INTEGER NOT NULL, records INTEGER NOT NULL,"
	" lamport INTEGER NOT NULL, chain BLOB NOT NULL);"

	/* Puts not named as a base by any record (live), and those that are but are still shown
	 * in our tree. shown: where. size to key: of files; key NULL while announced. */
	"CREATE TABLE versions(id INTEGER PRIMARY KEY, site INTEGER NOT NULL, seq INTEGER NOT NULL,"
	" lamport INTEGER NOT NULL, path BLOB NOT NULL, kind INTEGER NOT NULL,"
	" mode INTEGER NOT NULL, mtime_ns INTEGER NOT NULL, size INTEGER NOT NULL,"
	" digest BLOB NOT NULL, map BLOB NOT NULL, tier TEXT NOT NULL, key BLOB, target BLOB,"
	" live INTEGER NOT NULL, shown BLOB, UNIQUE(site, seq));"
	"CREATE INDEX versions_path ON versions(path);"
	"CREATE INDEX versions_shown ON versions(shown) WHERE shown IS NOT NULL;"
	/* To move a file instead of fetching it again, when a path went and another came. */
	"CREATE INDEX versions_dead ON versions(digest) WHERE live = 0;"
	"CREATE INDEX versions_conflict ON versions(id) WHERE live = 1 AND shown <> path;"
	"CREATE INDEX versions_pending ON versions(path, id)"
	" WHERE live = 1 AND kind = 1 AND key IS NULL;"

	/* Versions named as a base before they were seen. */
	"CREATE TABLE superseded(site INTEGER NOT NULL, seq INTEGER NOT NULL,"
	" PRIMARY KEY(site, seq)) WITHOUT ROWID;"

	/* Paths whose versions changed since the syncer looked. */
	"CREATE TABLE unshown(path BLOB PRIMARY KEY, noted_ns INTEGER NOT NULL) WITHOUT ROWID;"

	/* Our segments that the tier does not have yet, packed. */
	"CREATE TABLE outbox(segment INTEGER PRIMARY KEY, bytes BLOB NOT NULL);";
