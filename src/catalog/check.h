/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* What fsck asks of the catalog itself: does it agree with itself? */
#include "catalog/catalog.h"

struct catalog_finding {
	/*
	 * One of: "page" (SQLite's own integrity), "name without node", "name without folder",
	 * "node without name", "unreachable" (a loop of folders), "totals", "queue totals",
	 * "content" (digest or map does not fit its size), "file without content", "file without
	 * good copy", "file not queued", "event chain".
	 */
	const char *what;
	uint64_t id;      /* node, content, or number of the event; 0 when none */
	const char *text; /* details for a person; never NULL */
};

/*
 * Look at everything; @fn (NULL: nobody) hears of each finding, and stops the check when it
 * gives other than 0, which is returned. Otherwise the number of findings, or negative errno
 * when it could not be checked. One snapshot, but for the events: right beside a running daemon.
 * Blocks for seconds, with a thread of its own. @fn must not write to the catalog and wait.
 */
typedef int (*catalog_finding_fn)(void *arg, const struct catalog_finding *finding);
int catalog_check(struct catalog *catalog, catalog_finding_fn fn, void *arg);

/*
 * Mend what can be mended out of the catalog alone, durably: names without node or folder go,
 * nodes without name go, totals are counted anew. Media is not touched; a node that goes is found
 * again in the tree by the leveller. Waits.
 */
int catalog_mend(struct catalog *catalog);

/*
 * Which tree the catalog knows by number: store_tree_name() when it was levelled last. Another one:
 * the store was copied, and none of the catalog's ids means anything.
 */
#define META_TREE "tree"

struct renumber {
	uint64_t from, to; /* ids, neither CATALOG_ROOT */
};

/*
 * The nodes get the ids @to, each once, in whatever order, with all that is known of them; @tree
 * becomes META_TREE. Nodes that are not @from get ids that no inode has (above INT64_MAX): the
 * leveller finds them missing. The catalog is unclean then, all files count as not read since, what
 * is missing as lost by the disk. One durable transaction; waits. -EOVERFLOW for ids above
 * INT64_MAX: nothing has changed.
 */
int catalog_renumber(struct catalog *catalog, const struct renumber *numbers, size_t count,
		     const char *tree);
