/* SPDX-License-Identifier: Apache-2.0 */
/* The tables of the sync layer. unpublished is filled by the writer: see private.h. */
#include "catalog/private.h"

const char schema_sync[] =
	"CREATE TABLE unpublished(path BLOB PRIMARY KEY, subtree INTEGER NOT NULL,"
	" noted_ns INTEGER NOT NULL) WITHOUT ROWID;"
	"CREATE INDEX unpublished_noted ON unpublished(noted_ns);";
