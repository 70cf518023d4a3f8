// SPDX-License-Identifier: GPL-2.0
/* A dax device made of CXL or soft-reserved memory: pn_dax.h. */
#define _GNU_SOURCE
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "pn_dax.h"
#include "pn_util.h"

#define HMEM		"hmem.0"
#define HMEM_DRIVER	"/sys/bus/platform/drivers/hmem/"

static char saved_online[32];
static bool region;

static bool cxl_possible(void)
{
	return !access("/sys/bus/cxl/devices/mem0", F_OK) &&
	       !system("command -v cxl >/dev/null");
}

bool pn_dax_possible(void)
{
	if (system("command -v daxctl >/dev/null"))
		return false;
	return cxl_possible() ? access(PN_DAX, F_OK) :
				!access(HMEM_DRIVER HMEM "/dax_region", F_OK) ||
				!access(HMEM_DRIVER HMEM "/dax0.0", F_OK);
}

int pn_dax_try(const char *command)
{
	char line[300];

	snprintf(line, sizeof(line), "{ %s; } >/tmp/pn_dax.log 2>&1", command);
	return system(line);
}

int pn_dax_run(const char *command)
{
	int ret = pn_dax_try(command);

	if (ret) {
		pn_note("failed: %s", command);
		if (system("sed 's/^/#   /' /tmp/pn_dax.log >&2"))
			return -1;
	}
	return ret;
}

int pn_dax_hold(void)
{
	if (pn_read_line(PN_ONLINE, saved_online, sizeof(saved_online)))
		return -1;
	return pn_write_file(PN_ONLINE, "offline");
}

int pn_dax_unhold(void)
{
	return pn_write_file(PN_ONLINE, saved_online);
}

/* The region of soft-reserved memory comes and goes with its driver. */
static int renew_soft(void)
{
	return pn_write_file(HMEM_DRIVER "unbind", HMEM) ||
	       pn_write_file(HMEM_DRIVER "bind", HMEM);
}

static int create_cxl(const char *options)
{
	char command[200];

	snprintf(command, sizeof(command),
		 "cxl create-region -t ram -d decoder0.0 -m mem0 %s", options);
	return pn_dax_run(command);
}

static int destroy_cxl(void)
{
	return pn_dax_run("cxl disable-region region0 && cxl destroy-region region0");
}

int pn_dax_create(const char *options)
{
	int tries;

	/* Nothing shall use it before it is decided for whom it is. */
	if (pn_dax_hold())
		return -1;
	if (cxl_possible() ? create_cxl(options) : *options || renew_soft())
		return -1;
	region = true;
	for (tries = 0; access(PN_DAX "private", F_OK) && tries < 100; tries++)
		usleep(100000);
	if (access(PN_DAX "private", F_OK))
		return -1;
	return pn_read_long(PN_DAX "target_node");
}

int pn_dax_destroy(void)
{
	int ret = 0;

	if (region)
		ret = cxl_possible() ? destroy_cxl() : renew_soft();
	region = false;
	pn_dax_unhold();
	return ret;
}
