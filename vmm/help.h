/* SPDX-License-Identifier: Apache-2.0 */
/* vmm/help.h - the texts of `godwit help`; docs/godwit.1 is the long form. */
#ifndef GODWIT_VMM_HELP_H
#define GODWIT_VMM_HELP_H

#include <stdio.h>

/* The text for @verb; NULL: the overview.
 * Return: 0, -EINVAL for an unknown verb, or -EIO. */
int help_print(const char *verb, FILE *out);

#endif
