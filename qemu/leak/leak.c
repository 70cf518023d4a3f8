// SPDX-License-Identifier: GPL-2.0
/*
 * Loses memory when it is loaded, and refuses to stay. The test runner's own
 * test loads it to see that a leak fails a run on the debug kernel.
 */
#include <linux/module.h>
#include <linux/slab.h>

static int __init leak_init(void)
{
	int i;

	/* many: a stale copy of the last pointer may hide that one */
	for (i = 0; i < 32; i++) {
		void *lost = kzalloc(200, GFP_KERNEL);

		OPTIMIZER_HIDE_VAR(lost);
	}
	return -EAGAIN;
}
module_init(leak_init);

MODULE_DESCRIPTION("Leaks memory on purpose");
MODULE_LICENSE("GPL");
