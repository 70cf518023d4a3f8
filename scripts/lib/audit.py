# SPDX-License-Identifier: GPL-2.0
"""Places in a kernel tree that could touch the memory of a private node
without having asked for it, and the list of those that were looked at."""
import collections
import os
import re
import subprocess

import common

ALLOW = os.path.join(common.TOP, "configs", "audit.allow")
TREE = os.path.join(common.BUILD, "tree")
DEFECTS = os.path.join(common.TOP, "Documentation", "project",
                       "known-defects.md")

# Where code that runs beside private nodes is. Of the architectures those that
# can have CONFIG_NUMA_MEMBLKS, which CONFIG_PRIVATE_NODES depends on. Not
# samples and tools, which no kernel is made of, nor tests inside the kernel,
# which may do what they like to a machine that runs them.
FOLDERS = ("arch/arm64", "arch/loongarch", "arch/riscv", "arch/x86", "block",
           "certs", "crypto", "drivers", "fs", "include", "init", "io_uring",
           "ipc", "kernel", "lib", "mm", "net", "rust/helpers", "security",
           "sound", "virt")
# Half a gigabyte of names of registers; and our own and other tests.
SKIP_FOLDERS = ("asic_reg", "tests")
SKIP_FILES = re.compile(r"(_kunit|-test|_test)\.c$")

# What is looked for, by what can go wrong. Not here, as the zonelists decide
# and KUnit tests them: allocations by kmalloc_node() and the like, which have
# no way to insist on a node, and walks of zonelists.
PATTERNS = {
    "nodes that have memory": """
        N_MEMORY N_NORMAL_MEMORY N_HIGH_MEMORY N_ONLINE node_states
        first_memory_node next_memory_node""",
    "nodes, whether their memory is for all or not": """
        for_each_online_node for_each_node node_online_map node_possible_map
        first_online_node next_online_node num_online_nodes node_online
        nr_online_nodes hotplug_node_notifier register_node_notifier""",
    "zones": """
        for_each_populated_zone for_each_zone for_each_online_pgdat
        first_online_pgdat next_online_pgdat NODE_DATA""",
    "pages by node, and no others": """
        __GFP_THISNODE alloc_pages_node alloc_pages_node_noprof
        __folio_alloc_node __folio_alloc_node_noprof alloc_pages_exact_nid
        alloc_contig_pages alloc_contig_frozen_pages
        memblock_alloc_exact_nid_raw""",
    "pages by their number": """
        alloc_contig_range alloc_contig_frozen_range walk_system_ram_range
        walk_system_ram_res walk_system_ram_res_rev walk_mem_res
        pfn_to_online_page for_each_valid_pfn node_start_pfn node_end_pfn
        pgdat_end_pfn node_spanned_pages node_present_pages
        for_each_mem_pfn_range for_each_mem_range for_each_free_mem_range
        for_each_free_mem_range_reverse for_each_mem_region
        register_memory_notifier hotplug_memory_notifier
        set_online_page_callback""",
    "sums and sizes": """
        totalram_pages _totalram_pages nr_free_pages global_zone_page_state
        global_node_page_state global_node_page_state_pages
        global_numa_event_state si_meminfo si_meminfo_node si_mem_available
        nr_free_buffer_pages zone_managed_pages managed_pages
        memblock_phys_mem_size""",
}
NAMES = sorted({name for words in PATTERNS.values() for name in words.split()})
# Names that others have as well, for members of structures: as calls only.
CALLS = {"node_online", "nr_free_pages", "num_online_nodes"}
ANY = r"\b(%s)\b" % "|".join(NAMES)
FIND = re.compile(r"\b(?:%s)\b|\b(?:%s)(?=\()" % (
    "|".join(set(NAMES) - CALLS), "|".join(sorted(CALLS))))

VERDICTS = {
    "definition": "defines or declares it",
    "ok-structural": "allocates by zonelists, which lead to public memory",
    "ok-N_MEMORY-excludes": "leaves private nodes out, and rightly",
    "ok-no-memory": "about CPUs, devices, distances, ids: not about memory",
    "ok-own-pages": "about pages that it has, or that are freed",
    "ok-all-nodes": "is to see private nodes as well, and does",
    "ok-public-sum": "a sum that the series keeps private memory out of",
    "ok-shows": "shows it to the administrator, by node or as a whole",
    "ok-hotplug": "part of making and removing memory of any kind",
    "ok-boot": "boot, before or without pages of private nodes",
    "ok-guarded": "private nodes are refused further on",
    "changed-by-series": "a patch of the series decides it here",
    "not-built": "cannot be in a kernel together with private nodes",
    "documented-defect": "wrong, and in Documentation/project/known-defects.md",
    "documented-limit": "as described in the documents of the series",
}

STRIP = re.compile(r"/\*.*?\*/|//[^\n]*|\"(?:\\.|[^\"\\\n])*\"|"
                   r"'(?:\\.|[^'\\\n])+'", re.S)
LABEL = re.compile(r"\w+:\s*$|(?:public|default)\b")
CALL = re.compile(r"(\w+)\s*\(\s*([\w\s*]*)")
NOT_NAMES = {"__attribute__", "__aligned", "__section", "__printf", "__acquires",
             "__releases", "__must_hold", "if", "__free", "noinline_for_stack"}
# macros that are no names of their own: what counts is their first argument
MAKERS = re.compile(r"[A-Z][A-Z0-9_]*$")

Hit = collections.namedtuple("Hit", "file function pattern")


def blank(match):
    """As many line ends as the comment or string has, and nothing else."""
    return "\n" * match.group().count("\n") or " "


def name_of(line):
    """The name of what begins with this line: a function, macro, variable."""
    if line.startswith("#"):
        return "#" + re.sub(r".*?define\s+(\w+).*", r"\1", line, flags=re.S)
    for word, first in CALL.findall(line):
        if word not in NOT_NAMES:
            first = first.replace("*", " ").split()[-1:]
            return f"{word}({first[0]})" if MAKERS.match(word) and first \
                else word
    words = re.findall(r"\w+", re.split(r"[=\[{;,]", line)[0])
    return words[-1] if words else "?"


def scan_text(text, path):
    """Counter of the hits in the C source TEXT, and their line numbers."""
    found, lines = collections.Counter(), collections.defaultdict(list)
    name, macro, inside = "-", False, False
    for number, line in enumerate(STRIP.sub(blank, text).split("\n"), 1):
        if re.match(r"#\s*define\b", line):
            here, macro = name_of(line), True
        elif macro:
            pass
        elif line[:1] == "}":
            inside = False
        elif re.match(r"[A-Za-z_]", line) and not LABEL.match(line) \
                and not inside:
            name = name_of(line)
        if not macro:
            here = name
        if line[:1] == "{":
            inside = not line.rstrip().endswith("}")
        elif line.rstrip().endswith("{") and re.match(r"[A-Za-z_]", line):
            inside = True
        if not line.rstrip().endswith("\\"):
            macro = False
        if re.match(r"#\s*(if|elif|include)", line):
            continue
        for word in FIND.findall(line):
            hit = Hit(path, here, word)
            found[hit] += 1
            lines[hit].append(number)
    return found, lines


def sources(tree):
    """The files below TREE that have one of the names in them."""
    command = ["grep", "-rlE", "--include=*.[ch]"] + [
        "--exclude-dir=" + name for name in SKIP_FOLDERS] + ["-e", ANY]
    folders = [name for name in FOLDERS
               if os.path.isdir(os.path.join(tree, name))]
    result = []
    # drivers are as much as all the others: two halves at a time
    halves = [[f for f in folders if (f == "drivers") == drivers]
              for drivers in (True, False)]
    children = [subprocess.Popen(command + half, cwd=tree, text=True,
                                 env={**os.environ, "LC_ALL": "C"},
                                 stdout=subprocess.PIPE)
                for half in halves if half]
    for child in children:
        result += child.communicate()[0].split("\n")
        if child.returncode > 1:
            raise common.Fail(f"grep failed in {tree}, see above", 2)
    return sorted(name for name in result
                  if name and not SKIP_FILES.search(name))


def scan(tree):
    """({Hit: count}, {Hit: [line]}) of a kernel tree."""
    if not os.path.isfile(os.path.join(tree, "mm", "page_alloc.c")):
        raise common.Fail(f"no kernel tree in {tree}: --tree names one; without "
                          "it, the patched one is made and searched", 2)
    found, lines = {}, {}
    for path in sources(tree):
        with open(os.path.join(tree, path), encoding="utf-8",
                  errors="replace") as file:
            counts, where = scan_text(file.read(), path)
        found.update(counts)
        lines.update(where)
    return found, lines


def read_allow(path=ALLOW):
    """{Hit: (count, verdict, line number)} of the list of what was looked at.

    A line 'FILE VERDICT REASON' without indent is followed by lines
    'FUNCTION PATTERN[*COUNT]...' with one: what it is said of. FILE and FUNCTION
    '*' stand for all that are not listed: what is right by construction."""
    allowed, head = {}, None
    with open(path, encoding="utf-8") as text:
        for number, line in enumerate(text, 1):
            words = line.split()
            where = f"{os.path.basename(path)}:{number}"
            if not words or line.startswith("#"):
                continue
            if not line[0].isspace():
                if len(words) < 3 or words[1] not in VERDICTS:
                    raise common.Fail(
                        f"{where}: wants 'FILE VERDICT REASON'; verdicts are "
                        + ", ".join(VERDICTS), 2)
                head = words[:2]
                continue
            if head is None or len(words) < 2:
                raise common.Fail(f"{where}: wants 'FUNCTION PATTERN...' below "
                                  "'FILE VERDICT REASON'", 2)
            for word in words[1:]:
                pattern, _, count = word.partition("*")
                hit = Hit(head[0], words[0], pattern)
                if pattern not in NAMES or not (count or "1").isdigit():
                    raise common.Fail(f"{where}: {word} is no pattern of "
                                      "scripts/audit --patterns", 2)
                if hit in allowed:
                    raise common.Fail(f"{where}: {words[0]} {pattern} is listed "
                                      "twice", 2)
                allowed[hit] = (int(count or 1), head[1], number)
    return allowed


def anywhere(hit):
    """The entry that stands for all uses of the name."""
    return Hit("*", "*", hit.pattern)


def verdict(hit, allowed):
    """What the list says of a hit, by its own entry or the one for all."""
    return (allowed.get(hit) or allowed.get(anywhere(hit)) or (0, "NEW"))[1]


def looked_at(hit, count, allowed):
    """How many of COUNT uses the list has."""
    if hit not in allowed and anywhere(hit) in allowed:
        return count
    return allowed.get(hit, (0,))[0]


def compare(found, lines, allowed):
    """What differs, a line each."""
    wrong = []
    for hit, count in sorted(found.items()):
        listed = looked_at(hit, count, allowed)
        if count > listed:
            at = ", ".join(map(str, lines[hit]))
            wrong.append(f"{hit.file}: {hit.function}: {hit.pattern}: {count} "
                         f"uses (lines {at}), {listed or 'none'} looked at")
        elif count < listed:
            wrong.append(f"{hit.file}: {hit.function}: {hit.pattern}: "
                         f"{count} uses, but {listed} in the list")
    wrong += [f"{hit.file}: {hit.function}: {hit.pattern}: in the list, line "
              f"{allowed[hit][2]}, but not in the tree"
              for hit in sorted(set(allowed) - set(found)
                                - {anywhere(hit) for hit in found})]
    return wrong


def undocumented(allowed):
    """Files with the verdict documented-defect of which the document names
    neither a function nor the path, a line each."""
    words = set()
    if os.path.exists(DEFECTS):
        with open(DEFECTS, encoding="utf-8") as text:
            words = set(re.findall(r"[\w/.-]+", text.read()))
    names = collections.defaultdict(set)
    for hit, (_, said, _) in allowed.items():
        if said == "documented-defect":
            names[hit.file] |= {hit.file, hit.function.lstrip("#")}
    return [f"{file}: documented-defect, but "
            f"{os.path.relpath(DEFECTS, common.TOP)} has none of it: if it was "
            "mended, give another verdict"
            for file in sorted(names) if not names[file] & words]


def entries(found):
    """The lines of FOUND as the list wants them, a block for each file."""
    blocks = collections.defaultdict(lambda: collections.defaultdict(list))
    for hit, count in sorted(found.items()):
        blocks[hit.file][hit.function].append(
            hit.pattern + (f"*{count}" if count > 1 else ""))
    result = []
    for file, functions in blocks.items():
        result.append(file + " VERDICT REASON")
        result += [f"\t{name} {' '.join(words)}"
                   for name, words in functions.items()]
    return result
