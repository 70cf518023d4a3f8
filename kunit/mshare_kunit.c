// SPDX-License-Identifier: GPL-2.0
/*
 * KUnit tests of mshare: ranges, rights, addresses, and who is a member of what.
 * What programs can see is tested by tools/testing/selftests/mshare.
 */
#include <kunit/test.h>
#include <kunit/visibility.h>
#include <linux/cpumask.h>
#include <linux/mm.h>
#include <linux/mmu_notifier.h>
#include <linux/mshare.h>
#include <linux/sched/mm.h>

#include <asm/mshare.h>

#include "../internal.h"
#include "../mshare.h"
#include "../vma.h"

MODULE_IMPORT_NS("EXPORTED_FOR_KUNIT_TESTING");

static void mshare_test_range(struct kunit *test)
{
	const unsigned long end = 3 * PUD_SIZE + 5 * PAGE_SIZE;
	static const struct {
		u64 offset, size;
		bool good;
	} cases[] = {
		{ 0, PAGE_SIZE, true },
		{ 0, 3 * PUD_SIZE + 5 * PAGE_SIZE, true },
		{ 3 * PUD_SIZE + 4 * PAGE_SIZE, PAGE_SIZE, true },
		{ PUD_SIZE - PAGE_SIZE, 2 * PAGE_SIZE, true },
		{ 0, 0, false },
		{ 0, 1, false },
		{ 1, PAGE_SIZE, false },
		{ 0, PAGE_SIZE + 1, false },
		{ 0, 3 * PUD_SIZE + 6 * PAGE_SIZE, false },
		{ 3 * PUD_SIZE + 5 * PAGE_SIZE, PAGE_SIZE, false },
		{ 3 * PUD_SIZE + 4 * PAGE_SIZE, 2 * PAGE_SIZE, false },
		{ 4 * PUD_SIZE, PAGE_SIZE, false },
		/* What would wrap */
		{ -PAGE_SIZE, PAGE_SIZE, false },
		{ -PAGE_SIZE, 2 * PAGE_SIZE, false },
		{ PAGE_SIZE, -PAGE_SIZE, false },
		{ PAGE_SIZE, -2 * PAGE_SIZE, false },
		{ 1ULL << 63, 1ULL << 63, false },
	};
	size_t i;

	for (i = 0; i < ARRAY_SIZE(cases); i++)
		KUNIT_EXPECT_EQ_MSG(test, cases[i].good,
				    !mshare_check_range(end, cases[i].offset, cases[i].size),
				    "offset %llx size %llx", cases[i].offset, cases[i].size);
	/* A region that has no size yet */
	KUNIT_EXPECT_EQ(test, -EINVAL, mshare_check_range(0, 0, PAGE_SIZE));
}

/* Each way to access, and each way to map */
static void mshare_test_rights(struct kunit *test)
{
	static const vm_flags_t rights[] = { VM_READ, VM_WRITE, VM_EXEC };
	unsigned int i;

	for (i = 0; i < 8; i++) {
		struct vm_area_struct vma = { };
		vm_flags_t flags = VM_SHARED | VM_MAYREAD | VM_MAYWRITE | VM_MAYEXEC;
		unsigned int bit;

		for (bit = 0; bit < 3; bit++)
			flags |= i >> bit & 1 ? rights[bit] : 0;
		vm_flags_init(&vma, flags);
		/* As anywhere, what can be executed or written to can be read */
		KUNIT_EXPECT_EQ_MSG(test, !!i, mshare_fault_permitted(&vma, 0),
				    "read, rights %x", i);
		KUNIT_EXPECT_EQ_MSG(test, !!(i & 2),
				    mshare_fault_permitted(&vma, FAULT_FLAG_WRITE),
				    "write, rights %x", i);
		KUNIT_EXPECT_EQ_MSG(test, !!(i & 4),
				    mshare_fault_permitted(&vma, FAULT_FLAG_INSTRUCTION),
				    "execute, rights %x", i);
		/* Remote accesses have no more rights */
		KUNIT_EXPECT_EQ_MSG(test, !!(i & 2),
				    mshare_fault_permitted(&vma, FAULT_FLAG_WRITE |
							   FAULT_FLAG_REMOTE),
				    "remote write, rights %x", i);
	}
}

/* From the address in a window to the one in the region, and back */
static void mshare_test_addresses(struct kunit *test)
{
	static const struct vm_operations_struct ops;
	/* Not anonymous, whose offsets are addresses */
	struct vm_area_struct window = { .vm_start = 100 * PUD_SIZE, .vm_ops = &ops };
	static const unsigned long at[] = { 0, PAGE_SIZE, PUD_SIZE, 2 * PUD_SIZE - PAGE_SIZE };
	unsigned long first, addr;
	size_t i, part;

	for (part = 0; part < 3; part++) {
		window.vm_end = window.vm_start + 2 * PUD_SIZE;
		vma_set_pgoff(&window, part * PUD_SIZE >> PAGE_SHIFT);
		first = mshare_region_address(&window, window.vm_start);
		/* Never the zero page, and never another granule */
		KUNIT_EXPECT_LE(test, PUD_SIZE, first);
		KUNIT_EXPECT_EQ(test, 0, first & ~PUD_MASK);
		KUNIT_EXPECT_EQ(test, part * PUD_SIZE >> PAGE_SHIFT, mshare_region_pgoff(first));
		for (i = 0; i < ARRAY_SIZE(at); i++) {
			addr = mshare_region_address(&window, window.vm_start + at[i]);
			KUNIT_EXPECT_EQ(test, first + at[i], addr);
			KUNIT_EXPECT_EQ(test, window.vm_start + at[i],
					mshare_window_address(&window, mshare_region_pgoff(addr)));
		}
	}
}

/* A table's entry has all rights; that of a window what was asked for. */
static void mshare_test_entry(struct kunit *test)
{
	pud_t region = __pud(_PAGE_TABLE | 0x1234000), entry;

	entry = mshare_pud(region, true, true);
	KUNIT_EXPECT_EQ(test, pud_val(region), pud_val(entry));
	entry = mshare_pud(region, false, true);
	KUNIT_EXPECT_FALSE(test, pud_val(entry) & (_PAGE_RW | _PAGE_DIRTY));
	KUNIT_EXPECT_FALSE(test, pud_table_permits(entry, true));
	KUNIT_EXPECT_TRUE(test, pud_table_permits(entry, false));
	entry = mshare_pud(region, true, false);
	KUNIT_EXPECT_TRUE(test, pud_table_permits(entry, true));
	KUNIT_EXPECT_EQ(test, __supported_pte_mask & _PAGE_NX, pud_val(entry) & _PAGE_NX);
	entry = mshare_pud(region, false, false);
	/* None of them looks like a broken entry, or like a page. */
	KUNIT_EXPECT_FALSE(test, pud_bad(entry));
	KUNIT_EXPECT_FALSE(test, pud_leaf(entry));
	KUNIT_EXPECT_TRUE(test, pud_present(entry));
	KUNIT_EXPECT_EQ(test, pud_pfn(region), pud_pfn(entry));
}

#define REGIONS		65

struct members {
	struct mm_struct *mm, *child;
	struct mm_struct *region[REGIONS];
};

static struct mm_struct *make_mm(struct kunit *test)
{
	struct mm_struct *mm = mm_alloc();

	KUNIT_ASSERT_NOT_NULL(test, mm);
	return mm;
}

static int join(struct mm_struct *mm, struct mm_struct *region)
{
	int ret;

	mmap_write_lock(mm);
	ret = mshare_tlb_join(mm, region);
	mmap_write_unlock(mm);
	return ret;
}

static void leave(struct mm_struct *mm, struct mm_struct *region)
{
	mmap_write_lock(mm);
	mshare_tlb_leave(mm, region);
	mmap_write_unlock(mm);
}

#define EXPECT_MEMBERS(n, mm) \
	KUNIT_EXPECT_EQ(test, n, atomic_long_read(&(mm)->mshare_members))

static void mshare_test_members(struct kunit *test)
{
	struct members *m = test->priv;
	int i;

	/* Two windows of one region are one member. */
	KUNIT_EXPECT_EQ(test, 0, join(m->mm, m->region[0]));
	KUNIT_EXPECT_EQ(test, 0, join(m->mm, m->region[0]));
	EXPECT_MEMBERS(1, m->region[0]);
	leave(m->mm, m->region[0]);
	EXPECT_MEMBERS(1, m->region[0]);
	/* A child is another one, also if its fork fails in the end. */
	mmap_write_lock(m->mm);
	KUNIT_EXPECT_EQ(test, 0, mshare_tlb_dup(m->mm, m->child));
	mmap_write_unlock(m->mm);
	EXPECT_MEMBERS(2, m->region[0]);
	mmput(m->child);
	m->child = NULL;
	EXPECT_MEMBERS(1, m->region[0]);
	leave(m->mm, m->region[0]);
	EXPECT_MEMBERS(0, m->region[0]);
	/* So many, and not more; who leaves one can join another. */
	for (i = 0; i < REGIONS - 1; i++)
		KUNIT_EXPECT_EQ(test, 0, join(m->mm, m->region[i]));
	KUNIT_EXPECT_EQ(test, -ENOSPC, join(m->mm, m->region[REGIONS - 1]));
	EXPECT_MEMBERS(0, m->region[REGIONS - 1]);
	leave(m->mm, m->region[7]);
	KUNIT_EXPECT_EQ(test, 0, join(m->mm, m->region[REGIONS - 1]));
	for (i = 0; i < REGIONS; i++)
		EXPECT_MEMBERS(i == 7 ? 0 : 1, m->region[i]);
}

/* Whom a flush has to reach, and what it is that has to be flushed */
static void mshare_test_generations(struct kunit *test)
{
	struct members *m = test->priv;
	const u16 asid = 1;
	unsigned long irq;
	u64 saved;

	KUNIT_ASSERT_EQ(test, 0, join(m->mm, m->region[0]));
	KUNIT_ASSERT_EQ(test, 0, join(m->mm, m->region[1]));
	/* What is changed is of this CPU, and is restored. */
	migrate_disable();
	local_irq_save(irq);
	saved = this_cpu_read(cpu_tlbstate.mshare_gen[asid]);

	KUNIT_EXPECT_FALSE(test, cpumask_test_cpu(smp_processor_id(), mm_cpumask(m->region[0])));
	__mshare_tlb_enter(m->mm, asid);
	KUNIT_EXPECT_TRUE(test, cpumask_test_cpu(smp_processor_id(), mm_cpumask(m->region[0])));
	KUNIT_EXPECT_TRUE(test, cpumask_test_cpu(smp_processor_id(), mm_cpumask(m->region[1])));
	KUNIT_EXPECT_FALSE(test, cpumask_test_cpu(smp_processor_id(), mm_cpumask(m->region[2])));

	__mshare_tlb_flushed(m->mm, asid);
	KUNIT_EXPECT_FALSE(test, __mshare_tlb_behind(m->mm, asid));
	KUNIT_EXPECT_FALSE(test, __mshare_tlb_enter(m->mm, asid));
	/* A change of either, and of one that it is no member of */
	inc_mm_tlb_gen(m->region[1]);
	KUNIT_EXPECT_TRUE(test, __mshare_tlb_behind(m->mm, asid));
	KUNIT_EXPECT_TRUE(test, __mshare_tlb_enter(m->mm, asid));
	__mshare_tlb_flushed(m->mm, asid);
	inc_mm_tlb_gen(m->region[2]);
	KUNIT_EXPECT_FALSE(test, __mshare_tlb_behind(m->mm, asid));
	/* What an ASID has of an mm without windows is never up to date */
	__mshare_tlb_flushed(m->child, asid);
	KUNIT_EXPECT_TRUE(test, __mshare_tlb_behind(m->mm, asid));
	KUNIT_EXPECT_FALSE(test, __mshare_tlb_behind(m->child, asid));
	__mshare_tlb_flushed(m->mm, asid);

	/* Interrupted for a region of which this is a member, and for another one */
	KUNIT_EXPECT_FALSE(test, __mshare_tlb_wrong_cpu(m->mm, m->region[0]));
	KUNIT_EXPECT_TRUE(test, cpumask_test_cpu(smp_processor_id(), mm_cpumask(m->region[0])));
	KUNIT_EXPECT_TRUE(test, __mshare_tlb_wrong_cpu(m->child, m->region[0]));
	KUNIT_EXPECT_FALSE(test, cpumask_test_cpu(smp_processor_id(), mm_cpumask(m->region[0])));
	local_irq_restore(irq);

	/* Other regions make another sum, whatever their generations are. */
	leave(m->mm, m->region[1]);
	local_irq_disable();
	KUNIT_EXPECT_TRUE(test, __mshare_tlb_behind(m->mm, asid));
	__mshare_tlb_flushed(m->mm, asid);
	local_irq_enable();
	KUNIT_EXPECT_EQ(test, 0, join(m->mm, m->region[1]));
	local_irq_disable();
	KUNIT_EXPECT_TRUE(test, __mshare_tlb_behind(m->mm, asid));
	this_cpu_write(cpu_tlbstate.mshare_gen[asid], saved);
	local_irq_enable();
	migrate_enable();
}

static int mshare_members_init(struct kunit *test)
{
	struct members *m = kunit_kzalloc(test, sizeof(*m), GFP_KERNEL);
	int i;

	KUNIT_ASSERT_NOT_NULL(test, m);
	test->priv = m;
	m->mm = make_mm(test);
	m->child = make_mm(test);
	for (i = 0; i < REGIONS; i++)
		m->region[i] = make_mm(test);
	return 0;
}

static void mshare_members_exit(struct kunit *test)
{
	struct members *m = test->priv;
	int i;

	if (!m)
		return;
	if (m->mm)
		mmput(m->mm);
	if (m->child)
		mmput(m->child);
	for (i = 0; i < REGIONS; i++)
		if (m->region[i])
			mmput(m->region[i]);
}

#ifdef CONFIG_MMU_NOTIFIER
/*
 * Not where windows are, by the way that those register who want to know of all of
 * an mm; the test driver, which user space has, goes by the other one.
 */
static void mshare_test_notifier(struct kunit *test)
{
	static const struct mmu_notifier_ops ops;
	static struct mmu_notifier notifier = { .ops = &ops };
	struct members *m = test->priv;
	int round;

	/* An mm that never had a notifier, and one that had */
	for (round = 0; round < 2; round++) {
		WRITE_ONCE(m->mm->mshare_vm, 1);
		KUNIT_EXPECT_EQ(test, -EBUSY, mmu_notifier_register(&notifier, m->mm));
		WRITE_ONCE(m->mm->mshare_vm, 0);
		KUNIT_ASSERT_EQ(test, 0, mmu_notifier_register(&notifier, m->mm));
		mmu_notifier_unregister(&notifier, m->mm);
	}
}
#endif

static struct kunit_case mshare_cases[] = {
	KUNIT_CASE(mshare_test_range),
	KUNIT_CASE(mshare_test_rights),
	KUNIT_CASE(mshare_test_addresses),
	KUNIT_CASE(mshare_test_entry),
	{ }
};

static struct kunit_suite mshare_suite = {
	.name		= "mshare",
	.test_cases	= mshare_cases,
};

static struct kunit_case mshare_members_cases[] = {
	KUNIT_CASE(mshare_test_members),
	KUNIT_CASE(mshare_test_generations),
#ifdef CONFIG_MMU_NOTIFIER
	KUNIT_CASE(mshare_test_notifier),
#endif
	{ }
};

static struct kunit_suite mshare_members_suite = {
	.name		= "mshare_members",
	.init		= mshare_members_init,
	.exit		= mshare_members_exit,
	.test_cases	= mshare_members_cases,
};

kunit_test_suites(&mshare_suite, &mshare_members_suite);
