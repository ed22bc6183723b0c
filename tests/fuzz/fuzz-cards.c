/* SPDX-License-Identifier: Apache-2.0 */
#include <stdint.h>

#include "card/card.h"

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t length);

/* A file of rules, and a card looked at with them. */
int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t length)
{
	static const struct card_entry entries[] = {
		{ "A001R2EC/", 0 },
		{ "A001R2EC/A001C001_261128_R2EC.mxf", 5 },
		{ "A001R2EC/A001C002_261128_R2EC.mxf", 0 },
		{ "DCIM/", 0 },
		{ "DCIM/100CANON/MVI_0001.MP4", 7 },
		{ "PRIVATE/M4ROOT/CLIP/C0001.MP4", 9 },
		{ "take-1_0001.wav", 3 },
	};
	struct card_rules *rules = card_rules_new();
	struct card *card = NULL;

	if (!rules)
		return 0;
	if (card_rules_add(rules, "fuzz", (const char *)bytes, length) == 0 &&
	    card_look(rules, "A001R2EC", entries, ARRAY_SIZE(entries), &card) == 1) {
		(void)card_knows(card, entries[1].path);
		card_free(card);
	}
	(void)card_name_is_given(rules, "Untitled");
	(void)card_path_is_junk(rules, "A001R2EC/.DS_Store");
	card_rules_free(rules);
	return 0;
}
