#!/usr/bin/env python3
"""check-kernels.py DIR: reads what scripts/check-spills.sh -o DIR left there, a folder sm_NN for
each architecture, and checks what the source of the kernels does not show.

Instructions: every function of cuda/ptx.cuh has a kernel in tests/emu/ptx_kernels.cu whose PTX must
have the instructions below, with these constants. A header that rewrites one, as __byte_perm does
with the fourth bit of a digit, shows here; so does a kernel that does not wait for the one ahead.

A folder that has ptx_kernels.ptx alone is checked for the instructions of that.

Occupancy: from registers, shared memory and threads, how many blocks of a kernel a multiprocessor
holds, and that small kernels which start early leave room for a block of a matrix product."""
import functools
import re
import sys
from pathlib import Path

# ---- instructions ---------------------------------------------------------------------------------

# By kernel (a part of its mangled name) or by file, for sm_NN and later. Registers are %r (32 bits),
# %rd, %rs and %f; numbers are hexadecimal, also those that a register was given once; an address
# may have an offset.
PTX_KERNELS = [
    ("matrix_kernel", 80, [
        "cp.async.cg.shared.global [%r], [%rd], 0x10, 0x10",
        "cp.async.commit_group", "cp.async.wait_group 0x0",
        "ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%r, %r, %r, %r}, [%r]",
        "ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%r, %r, %r, %r}, [%r]",
        "mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 "
        "{%f, %f, %f, %f}, {%r, %r, %r, %r}, {%r, %r}, {%f, %f, %f, %f}"]),
    ("copy_kernel", 80, ["cp.async.cg.shared.global [%r], [%rd], 0x10, %r",
                         "cp.async.wait_group 0x1"]),
    ("ring_kernel", 80, [
        "createpolicy.fractional.L2::evict_first.b64 %rd, 1.0",
        "cp.async.cg.shared.global.L2::cache_hint [%r], [%rd], 0x10, %rd",
        *(f"cp.async.wait_group {n:#x}" for n in range(7))]),
    ("pair_kernel", 80, ["cvt.rn.bf16x2.f32 %r, %f, %f"]),
    ("f16_kernel", 80, ["cvt.f32.f16 %f, %rs"]),
    ("fma_kernel", 80, ["fma.rn.bf16x2 %r, %r, %r, %r"]),
    ("pick_kernel", 80, ["prmt.b32 %r, %r, %r, %r"]),
    ("put_kernel", 80, ["lop3.b32 %r, %r, %r, %r, 0xea"]),
    ("constants_kernel", 80, [
        *(f"prmt.b32 %r, %r, %r, {digits}" for digits in ("0x9988", "0xbbaa", "0xfedc", "0x7440")),
        "lop3.b32 %r, %r, 0xf000f, 0x43004300, 0xea"]),
    ("fp8_kernel", 80, [
        *(f"prmt.b32 %r, %r, 0x0, {digits}" for digits in ("0x1404", "0x3424", "0x9988", "0xbbaa")),
        "lop3.b32 %r, %r, 0x80008000, %r, 0xea",
        "fma.rn.bf16x2 %r, %r, 0x7b807b80, 0x80008000"]),
    ("l2_kernel", 80, ["ld.global.cg.v4.u32 {%r,%r,%r,%r}, [%rd]"]),
    ("l2_kernel", 90, ["cp.async.bulk.prefetch.L2.global [%rd], %r"]),
    ("peers_kernel", 90, [
        "griddepcontrol.launch_dependents", "barrier.cluster.arrive.release.aligned",
        "barrier.cluster.wait.acquire.aligned", "mapa.u64 %rd, %rd, %r",
        "mov.u32 %r, %cluster_ctarank", "mov.u32 %r, %cluster_nctarank"]),
    ("chain_kernel", 90, ["griddepcontrol.launch_dependents"]),
    ("clock_kernel", 80, ["mov.u64 %rd, %globaltimer"]),
]
# What kernels that people wait for are made of.
PTX_FILES = [
    ("attention", 80, ["prmt.b32 %r, %r, 0x0, 0x9988", "prmt.b32 %r, %r, 0x0, 0xbbaa"]),
    ("attention_matrix", 80, [
        "prmt.b32 %r, %r, 0x0, 0x9988", "prmt.b32 %r, %r, 0x0, 0xbbaa",
        "mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 "
        "{%f, %f, %f, %f}, {%r, %r, %r, %r}, {%r, %r}, {%f, %f, %f, %f}"]),
    ("product_int8", 80, [f"prmt.b32 %r, %r, 0x4b000000, {digits}"
                          for digits in ("0x7440", "0x7441", "0x7442", "0x7443")]),
    ("product_fp8", 80, ["fma.rn.bf16x2 %r, %r, 0x7b807b80, 0x80008000"]),
    *((f"product_{type}", 80, [
        "cp.async.cg.shared.global.L2::cache_hint [%r], [%rd], 0x10, %rd",
        "mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 "
        "{%f, %f, %f, %f}, {%r, %r, %r, %r}, {%r, %r}, {%f, %f, %f, %f}"])
      for type in ("bf16", "fp8", "int8", "int4", "int4_min", "int4_k", "iq4", "fp4", "fp8_32",
                   "int2_k", "nvfp4")),
    *((f"product_{type}", 90, ["griddepcontrol.launch_dependents", "mapa.u64 %rd, %rd, %r"])
      for type in ("bf16", "fp8", "int8", "int4", "int4_min", "int4_k", "iq4", "fp4", "fp8_32",
                   "int2_k", "nvfp4")),
]
WAITS = ("griddepcontrol.wait", 90)  # in every kernel


def kernels(ptx):
    """Name and body of each kernel of a file."""
    for part in re.split(r"(?m)^(?:\.visible )?\.entry ", ptx)[1:]:
        yield re.match(r"\w+", part).group(), part


@functools.lru_cache(maxsize=None)
def instructions(body):
    """The kernel's instructions in the form of the tables above."""
    lines = [re.sub(r"\s+", " ", line).strip() for line in re.sub(r"//.*", "", body).split(";")]
    lines = [re.sub(r"^.*[}{:] (?=\w)|^@!?%p\d+ ", "", line) for line in lines]
    given, times = {}, {}
    for line in lines:
        to = re.match(r"[\w.:]+ (%\w+)\b", line)
        if to:
            times[to.group(1)] = times.get(to.group(1), 0) + 1
        constant = re.fullmatch(r"mov\.[ub]32 (%r\d+), (-?\d+)", line)
        if constant:
            given[constant.group(1)] = constant.group(2)

    def plain(line):
        op, _, rest = line.partition(" ")
        first, comma, rest = rest.partition(",")
        rest = re.sub(r"%r\d+\b", lambda m: given[m.group()] if times.get(m.group()) == 1
                      and m.group() in given else m.group(), rest)
        rest = re.sub(r"(%[a-z]+)\d+\b", r"\1", first + comma + rest)
        rest = re.sub(r"\+-?\d+\]", "]", rest)
        return (op + " " + re.sub(r"(?<![\w.%])-?(0x[0-9a-fA-F]+|\d+)(?![\w.])", number, rest)).strip()

    def number(m):
        return f"{int(m.group(), 0) & 0xffffffff:#x}"

    return {plain(line) for line in lines}


def check_instructions(arch, files):
    """What is missing: lines of text."""
    wrong, seen = [], {}
    for name, text in files.items():
        in_file = set()
        for kernel, body in kernels(text):
            found = instructions(body)
            in_file |= found
            seen[kernel] = found
            if arch >= WAITS[1] and WAITS[0] not in found:
                wrong.append(f"{name}: {kernel} has no {WAITS[0]}")
        for file, least, wanted in PTX_FILES:
            if file == name and arch >= least:
                wrong += [f"{name}: no {w}" for w in wanted if w not in in_file]
    for part, least, wanted in PTX_KERNELS:
        of = [k for k in seen if re.search(rf"\d{part}", k)]
        if arch >= least and not of:
            wrong.append(f"there is no {part}")
        for kernel in of if arch >= least else []:
            wrong += [f"{kernel}: no {w}" for w in wanted if w not in seen[kernel]]
    if is_whole(files):
        wrong += [f"there is no {file}.cu" for file, _, _ in PTX_FILES if file not in files]
    return wrong


def is_whole(files):
    return set(files) != {"ptx_kernels"}


# ---- occupancy ------------------------------------------------------------------------------------

# Of a multiprocessor: CUDA C++ Programming Guide, Compute Capabilities, Technical Specifications.
# Registers are given to warps, 256 at a time; the system takes 1 KB of shared memory for each block.
# Other architectures hold fewer warps and have no occupancy checked.
REGISTERS, REGISTER_UNIT, WARPS, BLOCKS, SYSTEM_SHARED = 65536, 256, 64, 32, 1024
SHARED = {80: 164 << 10, 90: 228 << 10, 100: 228 << 10}

# A product of few rows starts while this kernel runs, of which so many blocks may be there: what
# launch_merge asks for at the most, spread evenly.
EARLY = ("merge_kernel", 4)
PRODUCT = "product_kernel"  # those compiled for two blocks a multiprocessor, with half of its memory


class Kernel:
    """What a kernel's blocks take: from `ptxas -v` and the bounds in the PTX."""

    def __init__(self, name, registers, shared, threads, least_blocks):
        self.name, self.registers, self.shared = name, registers, shared
        self.threads, self.least_blocks = threads, least_blocks

    def takes(self, dynamic=0):
        """(registers, warps, shared memory, blocks) of a block."""
        warps = -(-self.threads // 32)
        of_warp = -(-32 * self.registers // REGISTER_UNIT) * REGISTER_UNIT
        return of_warp * warps, warps, self.shared + dynamic + SYSTEM_SHARED, 1


def there_is(arch):
    return REGISTERS, WARPS, SHARED[arch], BLOCKS


def fit(arch, takes):
    """How many blocks a multiprocessor holds by itself."""
    return min(all_ // one for all_, one in zip(there_is(arch), takes))


def resources(report, files):
    bounds = {}
    for text in files.values():
        for kernel, body in kernels(text):
            threads = re.search(r"\.maxntid (\d+)(?:, (\d+), (\d+))?", body.partition("{")[0])
            least = re.search(r"\.minnctapersm (\d+)", body.partition("{")[0])
            if threads:
                bounds[kernel] = (int(threads[1]) * int(threads[2] or 1) * int(threads[3] or 1),
                                  int(least[1]) if least else 1)
    for name, registers, rest in re.findall(r"(?m)^  \w+ +(\w+): (\d+) registers(.*)$", report):
        shared = re.search(r"(\d+) bytes smem", rest)
        if name in bounds:
            yield Kernel(name, int(registers), int(shared[1]) if shared else 0, *bounds[name])


def check_occupancy(arch, all_):
    wrong = []
    early = [k for k in all_ if EARLY[0] in k.name]
    products = [k for k in all_ if PRODUCT in k.name and k.least_blocks == 2]
    if not early or not products:
        return [f"there is no {EARLY[0]}, or no {PRODUCT} for two blocks a multiprocessor"]
    for k in all_:
        holds = fit(arch, k.takes())
        if holds < k.least_blocks:
            wrong.append(f"{k.name}: {holds} blocks a multiprocessor, its bound says "
                         f"{k.least_blocks}")
    for k in early:
        for product in products:
            block = product.takes(dynamic=SHARED[arch] // 2 - SYSTEM_SHARED)
            left = [a - EARLY[1] * one for a, one in zip(there_is(arch), k.takes())]
            if any(need > has for need, has in zip(block, left)):
                wrong.append(f"{EARLY[1]} blocks of {k.name} leave (registers, warps, shared, "
                             f"blocks) {tuple(left)}; {product.name} takes {block}")
    return wrong


# ---- all ------------------------------------------------------------------------------------------


def main():
    folders = sorted(Path(sys.argv[1]).glob("sm_*"))
    wrong = [] if folders else [f"{sys.argv[1]}: no folder sm_NN: check-spills.sh -o makes them"]
    for folder in folders:
        arch = int(folder.name[3:])
        files = {f.stem: f.read_text() for f in sorted(folder.glob("*.ptx"))}
        all_ = list(resources((folder / "report").read_text(), files))
        found = check_instructions(arch, files)
        found += check_occupancy(arch, all_) if is_whole(files) and arch in SHARED else []
        print(folder.name)
        for k in all_ if arch in SHARED else []:
            print(f"  {k.name}: {k.threads} threads, {k.registers} registers, {k.shared} bytes: "
                  f"{fit(arch, k.takes())} blocks")
        wrong += [f"{folder.name}: {line}" for line in found]
    for line in wrong:
        print(f"BAD {line}", file=sys.stderr)
    sys.exit(1 if wrong else 0)


if __name__ == "__main__":
    main()
