/* SPDX-License-Identifier: Apache-2.0 */
/*
 * devices/device.c - one section around each device's state; see device.h.
 *
 * Main loop, quiesced.
 */
#include "devices/device.h"

#include <errno.h>
#include <string.h>

#include "migrate/state.h"
#include "vmm/error.h"

int device_save(const struct device *dev, struct state_writer *w)
{
	int err;

	state_begin(w, dev->name, dev->ops->version);
	err = dev->ops->save(dev, w);
	if (err < 0)
		return err;
	state_end(w);
	return state_writer_error(w);
}

int device_load(
	struct device *dev, struct state_reader *section, struct error *err)
{
	int rc;

	if (strcmp(section->name, dev->name) != 0)
		return error_set(err, -EPROTO,
			"%s: the state is that of \"%s\"", dev->name,
			section->name);
	if (section->version != dev->ops->version)
		return error_set(err, -EPROTO,
			"%s: %s state version %u, this program reads %u",
			dev->name, dev->ops->kind, section->version,
			dev->ops->version);
	rc = dev->ops->load(dev, section, err);
	if (rc < 0)
		return rc;
	if (state_reader_end(section) < 0)
		return error_set(err, -EBADMSG,
			"%s: %s state of the wrong length", dev->name,
			dev->ops->kind);
	return 0;
}
