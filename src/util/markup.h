/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * Markup: what stands for a character that XML and HTML take for their own, in text and in values
 * of attributes between double quotes. NULL: it stands for itself. Static.
 */
#include <stdint.h>

static inline const char *markup_entity(uint32_t code)
{
	switch (code) {
	case '&':
		return "&amp;";
	case '<':
		return "&lt;";
	case '>':
		return "&gt;";
	case '"':
		return "&quot;";
	default:
		return NULL;
	}
}
