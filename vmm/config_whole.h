/* SPDX-License-Identifier: Apache-2.0 */
/*
 * vmm/config_whole.h - what only all options together can tell.  For config.c.
 */
#ifndef GODWIT_VMM_CONFIG_WHOLE_H
#define GODWIT_VMM_CONFIG_WHOLE_H

#include "vmm/config.h"

/* Options that exclude or need each other.  0 or -EINVAL with @err. */
int config_whole_check(const struct config *cfg, struct error *err);

/* Networks without a mac= get one from the VM's name.  What a name gives must
 * not change when another name is given elsewhere: it becomes one of the words.
 * 0 or -ENOMEM. */
int config_whole_name_nets(struct config *cfg);

/* Devices that name no I/O thread get one in turn. */
void config_whole_spread(struct config *cfg);

#endif
