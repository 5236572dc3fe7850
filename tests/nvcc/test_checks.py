#!/usr/bin/env python3
"""test_checks.py NVCC DIR ARCH: that scripts/check-spills.sh and scripts/check-kernels.py can fail.
DIR: what check-spills.sh left of the kernels as they are, for sm_ARCH; every fault is planted into
a copy of that, or of a source which nvcc then compiles."""
import importlib.util
import re
import subprocess
import sys
import tempfile
import unittest
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
NVCC, KEPT, ARCH = sys.argv[1], Path(sys.argv[2]) / f"sm_{sys.argv[3]}", int(sys.argv[3])

spec = importlib.util.spec_from_file_location("check_kernels", ROOT / "scripts/check-kernels.py")
check = importlib.util.module_from_spec(spec)
spec.loader.exec_module(check)

FILES = {f.stem: f.read_text() for f in KEPT.glob("*.ptx")}
REPORT = (KEPT / "report").read_text()


def missing(file, old, new):
    """What the check says when every `old` of a file is `new`."""
    text, n = re.subn(old, new, FILES[file])
    assert n > 0, f"{file} has no {old}"
    return "\n".join(check.check_instructions(ARCH, {**FILES, file: text}))


def crowded(old, new):
    """The same for the report of resources."""
    text, n = re.subn(old, new, REPORT)
    assert n > 0, f"the report has no {old}"
    return "\n".join(check.check_occupancy(ARCH, list(check.resources(text, FILES))))


class Instructions(unittest.TestCase):
    def test_as_it_is(self):
        self.assertEqual(check.check_instructions(ARCH, FILES), [])

    def test_another_intrinsic_in_the_source(self):
        """The one that was there once: it compiles, and takes three bits of each digit."""
        source = (ROOT / "cuda/ptx.cuh").read_text()
        planted, n = re.subn(r'asm\("prmt.b32[^;]*;[^;]*;', "d = __byte_perm(a, b, which);", source)
        self.assertEqual(n, 1)
        with tempfile.TemporaryDirectory() as tmp:
            Path(tmp, "ptx.cuh").write_text(planted)
            for name in ("common.cuh", "overlap.h", "cudart.h"):
                Path(tmp, name).write_text((ROOT / "cuda" / name).read_text())
            for name in ("ptx_kernels.cu", "ptx_kernels.h"):
                Path(tmp, name).write_text((ROOT / "tests/emu" / name).read_text())
            subprocess.run([NVCC, "-std=c++17", f"-arch=sm_{ARCH}", "-I", tmp, "-I",
                            ROOT / "include", "-ptx", "-o", f"{tmp}/out.ptx",
                            f"{tmp}/ptx_kernels.cu"], check=True)
            wrong = "\n".join(check.check_instructions(
                ARCH, {**FILES, "ptx_kernels": Path(tmp, "out.ptx").read_text()}))
        for digits in ("0x9988", "0xbbaa", "0xfedc"):
            self.assertIn(f"no prmt.b32 %r, %r, %r, {digits}", wrong)
        self.assertIn("no prmt.b32 %r, %r, 0x0, 0x9988", wrong)
        self.assertNotIn("0x7440", wrong)

    def test_another_constant(self):
        self.assertIn("0x9988", missing("attention", r"\b39304;", "4352;"))
        self.assertIn("0xbbaa", missing("attention_matrix", r"\b48042;", "13090;"))
        self.assertIn("0x43004300", missing("ptx_kernels", r"\b1124090624\b", "1124090625"))

    def test_a_constant_that_is_given_twice_is_none(self):
        self.assertIn("0x9988", missing("ptx_kernels", r"(mov\.[ub]32 *\t*)(%r\d+)(, 39304;)",
                                        r"\1\2\3\n\1\2, 4352;"))

    def test_another_instruction(self):
        for old, new in ((r"m16n8k16", "m16n8k8"), (r"\.x4\.trans", ".x4"),
                         (r"cp\.async\.cg\.shared\.global \[", "cp.async.ca.shared.global ["),
                         (r"fma\.rn\.bf16x2", "fma.rn.relu.bf16x2"),
                         (r"cp\.async\.wait_group 5", "cp.async.wait_group 4"),
                         (r"ld\.global\.cg", "ld.global.ca"), (r", 0xea;", ", 0xec;")):
            self.assertNotEqual(missing("ptx_kernels", old, new), "", old)

    @unittest.skipIf(ARCH < 90, "devices before sm_90 have no clusters, and no kernel waits")
    def test_what_only_sm_90_has(self):
        for old in (r"mapa\.u64", r"griddepcontrol\.launch_dependents", r"barrier\.cluster\.wait"):
            self.assertNotEqual(missing("ptx_kernels", old, "nop"), "", old)

    @unittest.skipIf(ARCH < 90, "before sm_90 no kernel waits")
    def test_a_kernel_does_not_wait(self):
        for file in ("norm", "product_int4", "attention_merge"):
            self.assertIn("has no griddepcontrol.wait",
                          missing(file, r"griddepcontrol\.wait;", ";"))

    def test_a_kernel_that_is_gone(self):
        self.assertIn("there is no fp8_kernel", missing("ptx_kernels", "fp8_kernel", "kernel"))
        files = {k: v for k, v in FILES.items() if k != "product_int4_k"}
        self.assertIn("there is no product_int4_k.cu", check.check_instructions(ARCH, files))


class Occupancy(unittest.TestCase):
    def test_by_hand(self):
        kernel = check.Kernel("k", registers=121, shared=0, threads=128, least_blocks=1)
        self.assertEqual(kernel.takes(), (16384, 4, 1024, 1))
        self.assertEqual(check.fit(90, kernel.takes()), 4)
        kernel = check.Kernel("k", registers=33, shared=22304, threads=512, least_blocks=1)
        self.assertEqual(kernel.takes(dynamic=1000), (512 * 40, 16, 22304 + 1000 + 1024, 1))
        self.assertEqual(check.fit(90, kernel.takes()), 3)

    def test_as_it_is(self):
        self.assertEqual(crowded("registers", "registers"), "")

    def test_a_merge_that_takes_all_registers(self):
        self.assertIn("blocks of _Z12merge_kernel", crowded(r"(merge_kernel\w+:) \d+", r"\1 121"))

    def test_a_merge_with_shared_memory(self):
        self.assertIn("blocks of _Z12merge_kernel",
                      crowded(r"(merge_kernel\w+: \d+ registers)", r"\1, 32768 bytes smem"))

    def test_a_bound_that_does_not_hold(self):
        self.assertIn("its bound says 2", crowded(r"(product_kernel\w+Li1ELi1E\w+:) \d+", r"\1 140"))


class Spills(unittest.TestCase):
    def spilled(self, source):
        with tempfile.TemporaryDirectory() as tmp:
            Path(tmp, "made.cu").write_text(source)
            return subprocess.run([ROOT / "scripts/check-spills.sh", NVCC, str(ARCH), f"{tmp}/made.cu"],
                                  capture_output=True, text=True)

    def test_an_array_in_local_memory(self):
        ran = self.spilled("""__global__ void made_kernel(int *x) {
            int a[64];
            for (int i = 0; i < 64; i++) { a[i] = x[i]; x[i] = 0; }
            for (int i = 0; i < 1000; i++) a[(a[i & 63] + i) & 63] += i;
            for (int i = 0; i < 64; i++) x[i] = a[i]; }""")
        self.assertNotEqual(ran.returncode, 0)
        self.assertRegex(ran.stdout, r"BAD \w*made_kernel")

    def test_none(self):
        ran = self.spilled("__global__ void made_kernel(int *x) { x[0] = 1; }")
        self.assertEqual(ran.returncode, 0, ran.stderr)


if __name__ == "__main__":
    unittest.main(argv=sys.argv[:1])
