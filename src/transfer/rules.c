/* SPDX-License-Identifier: Apache-2.0 */
#include "transfer/rules.h"

#include <stdio.h>
#include <string.h>

#include "util/cleanup.h"
#include "util/io.h"

#define SEPARATORS " \t\n"

struct globs {
	char *text;  /* owned; NUL between the globs */
	char **glob; /* owned array; strings lie in text */
	size_t count;
};

struct rules {
	struct globs ignore;
	struct globs classes[PRIORITY_COUNT];
};

/*
 * What systems and applications leave behind, by exact pattern: card folders hold odd dot files
 * that are camera data. A '?' stands for the space in "System Volume Information" and others,
 * because spaces separate globs.
 */
static const char default_ignore[] =
	/* macOS */
	".DS_Store ._* .AppleDB .AppleDesktop .apdisk .localized .VolumeIcon.icns Icon[[:cntrl:]] "
	".metadata_never_index* .metadata_direct_scope_only .ql_disable* .com.apple.timemachine.* "
	"*/.AppleDouble/* */.Trashes/* */.TemporaryItems/* "
	"*.sb-????????"
	"-?????? " /* in one piece it holds a trigraph */
	"*/.Spotlight-V100/* */.fseventsd/* */.DocumentRevisions-V100/* */Network?Trash?Folder/* "
	"*/Temporary?Items/* "
	/* Linux desktops, FUSE, NFS, Samba */
	".goutputstream-* .hidden .directory .xdg-volume-info .nfs???????????????? .fuse_hidden* "
	".~lock.* *.trashinfo* */.Trash/* */.Trash-*/* .::TMPNAME:* */.::TMPNAME:*/* .smbdelete* "
	"*/lost+found/* "
	/* Windows */
	"Thumbs.db desktop.ini ~$* */$RECYCLE.BIN/* */System?Volume?Information/* "
	/* unfinished */
	"*.tmp *.part *.partial *.filepart *.crdownload *.swp "
	/* ours */
	".mediafs-*";

static const char *const default_classes[PRIORITY_COUNT] = {
	[PRIORITY_READER] = "",
	[PRIORITY_NOTES] = "*.txt *.pdf *.csv *.tsv *.xml *.ale *.mhl *.html *.htm *.json *.edl "
			   "*.fcpxml *.otio *.cdl *.cc *.ccc *.cube *.3dl *.lut *.look *.aml *.amf "
			   "*.xmp *.rtf *.md *.log *.doc* *.xls* *.ods *.odt *.pages *.numbers "
			   "*.rmd *.rtn *.sidecar *.srt *.bim *.ppn *.smi *.sif *.cif *.cpf *.mif",
	[PRIORITY_SOUND] = "*.wav *.bwf *.aif* *.mp3 *.m4a *.flac *.caf *.w64 *.rf64 *.rx2",
	[PRIORITY_PROXIES] = ("*/proxy/* *proxies*/* *_proxy.* *_proxy_* */dailies/* "
			      "*/XDROOT/Sub/* */M4ROOT/Sub/* *.lrv *.lrf *.thm *.jpg *.jpeg *.png"),
	[PRIORITY_ORIGINALS] = "",
};

static const char *const names[PRIORITY_COUNT] = {
	[PRIORITY_READER] = "reader",       [PRIORITY_NOTES] = "notes",
	[PRIORITY_SOUND] = "sound",         [PRIORITY_PROXIES] = "proxies",
	[PRIORITY_ORIGINALS] = "originals",
};

const char *priority_name(enum priority_class class)
{
	return (unsigned)class < PRIORITY_COUNT ? names[class] : "unknown";
}

const char *rules_default_ignore(void)
{
	return default_ignore;
}

const char *rules_default_class(enum priority_class class)
{
	return (unsigned)class < PRIORITY_COUNT ? default_classes[class] : "";
}

static size_t count_globs(const char *text)
{
	size_t count = 0;

	for (text += strspn(text, SEPARATORS); *text; text += strspn(text, SEPARATORS)) {
		text += strcspn(text, SEPARATORS);
		count++;
	}
	return count;
}

static bool globs_init(struct globs *globs, const char *text)
{
	char *next, *rest;

	globs->text = strdup(text);
	globs->glob = calloc(count_globs(text) + 1, sizeof(*globs->glob));
	if (!globs->text || !globs->glob)
		return false;
	for (next = strtok_r(globs->text, SEPARATORS, &rest); next;
	     next = strtok_r(NULL, SEPARATORS, &rest))
		globs->glob[globs->count++] = next;
	return true;
}

static void globs_fini(struct globs *globs)
{
	free(globs->text);
	free(globs->glob);
}

struct rules *rules_new(const char *ignore, const char *const classes[PRIORITY_COUNT])
{
	struct rules *rules = calloc(1, sizeof(*rules));

	if (!rules)
		return NULL;
	if (!globs_init(&rules->ignore, ignore ? ignore : default_ignore))
		goto fail;
	for (unsigned i = 0; i < PRIORITY_COUNT; i++) {
		const char *text = classes && classes[i] ? classes[i] : default_classes[i];

		if (!globs_init(&rules->classes[i], text))
			goto fail;
	}
	return rules;
fail:
	rules_free(rules);
	return NULL;
}

void rules_free(struct rules *rules)
{
	if (!rules)
		return;
	globs_fini(&rules->ignore);
	for (unsigned i = 0; i < PRIORITY_COUNT; i++)
		globs_fini(&rules->classes[i]);
	free(rules);
}

/* @rooted is "/PATH": lets a glob that begins with a folder of any depth match at the top too. */
static const char *globs_match(const struct globs *globs, const char *rooted)
{
	const char *name = strrchr(rooted, '/') + 1;

	for (size_t i = 0; i < globs->count; i++) {
		const char *glob = globs->glob[i];

		if (!strchr(glob, '/')
			    ? glob_matches(glob, name)
			    : glob_matches(glob, rooted + 1) || glob_matches(glob, rooted))
			return glob;
	}
	return NULL;
}

static void root_path(char *buffer, size_t size, const char *path)
{
	(void)snprintf(buffer, size, "/%s", path);
}

bool rules_is_unfinished(const char *path)
{
	const char *slash = strrchr(path, '/');

	return glob_matches(UNFINISHED_GLOB, slash ? slash + 1 : path);
}

const char *rules_ignores(const struct rules *rules, const char *path)
{
	char rooted[4100];

	if (rules_is_unfinished(path))
		return UNFINISHED_GLOB;
	root_path(rooted, sizeof(rooted), path);
	return globs_match(&rules->ignore, rooted);
}

enum priority_class rules_class(const struct rules *rules, const char *path)
{
	char rooted[4100];

	root_path(rooted, sizeof(rooted), path);
	for (unsigned i = 0; i < PRIORITY_COUNT; i++)
		if (globs_match(&rules->classes[i], rooted))
			return i;
	return PRIORITY_ORIGINALS;
}
