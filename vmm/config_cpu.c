/* SPDX-License-Identifier: Apache-2.0 */
/*
 * vmm/config_cpu.c - what stands after --cpu.  Its form only: a template file
 * is opened when the machine is built (vmm/x86/cpu_model.h).
 */
#include "vmm/config_values.h"

#include <errno.h>

#include "vmm/error.h"
#include "vmm/x86/cpu_model.h"

int config_value_cpu_model(const char *value, char **text, struct error *err)
{
	struct error why;

	if (cpu_model_check_form(value, &why) < 0)
		return config_refuse(err, "cpu", value, "%s", why.text);
	return config_set_text(text, value);
}
