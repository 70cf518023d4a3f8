/* SPDX-License-Identifier: GPL-2.0 */
/*
 * A dax device made of a CXL memory device that has no region yet, which needs the
 * tools cxl and daxctl; or of soft-reserved memory, which needs daxctl.
 */
#ifndef PN_DAX_H
#define PN_DAX_H

#include <stdbool.h>

#define PN_DAX		"/sys/bus/dax/devices/dax0.0/"
#define PN_ONLINE	"/sys/devices/system/memory/auto_online_blocks"

bool pn_dax_possible(void);
/* A command of the shell: 0 if it succeeds. */
int pn_dax_try(const char *command);
/* The same, with its messages if it fails. */
int pn_dax_run(const char *command);
/* Memory that is added from now on stays offline, until it is undone. 0 or -1. */
int pn_dax_hold(void);
int pn_dax_unhold(void);
/*
 * A region, and with it the dax device, whose memory is not brought online. Options
 * are those of "cxl create-region"; soft-reserved memory has none. Returns the node
 * of the memory, or -1.
 */
int pn_dax_create(const char *options);
/*
 * Give the region back, that of soft-reserved memory for a new one as after boot; the
 * memory must be offline. 0 if that worked.
 */
int pn_dax_destroy(void);

#endif /* PN_DAX_H */
