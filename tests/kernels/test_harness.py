"""harness.c, built and run: one quick build, or with FASTBPTT_BUILDS=all every one that this machine has tools for.

The sources are those beside this folder, not the installed package: what is compiled here need not be what serves Python.
"""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

HERE = Path(__file__).resolve().parent
PACKAGE = HERE.parents[1] / "fastbptt"
FLAGS = ("-fno-math-errno", "-fno-trapping-math", "-Wall", "-Wextra")
# -O0: GCC 12 takes 6 s to build this, 40 at -O1 and 186 at -O3, which found nothing else (2026-11)
SANITIZERS = ("-O0", "-g", "-fsanitize=address,undefined", "-fno-sanitize-recover=all")

# Name: the compiler with its own flags, and what runs the program. setup.py builds with -O3; -std=c99 contracts no product
# and sum into one rounding.
BUILDS = {
    "gcc -O1": (("gcc", "-O1"), ()),
    "gcc -O0 -std=c99": (("gcc", "-O0", "-std=c99", "-pedantic"), ()),
    "gcc -O2": (("gcc", "-O2"), ()),
    "gcc -O3": (("gcc", "-O3"), ()),
    "gcc sanitizers": (("gcc", *SANITIZERS), ()),
    "clang -O3": (("clang", "-O3"), ()),
    "clang sanitizers": (("clang", *SANITIZERS), ()),
    # without guards, long double, or AVX-512, which valgrind does not know
    "gcc valgrind": (("gcc", "-O1", "-g", "-DFASTBPTT_MEMCHECK"),
                     ("valgrind", "-q", "--error-exitcode=9", "--leak-check=full", "--show-leak-kinds=all",
                      "--errors-for-leak-kinds=all")),
    "arm64": (("aarch64-linux-gnu-gcc", "-O3", "-static"), ("qemu-aarch64",)),
}
QUICK = "gcc -O1"


def has_sanitizers(compiler, folder):
    """Clang's are a package of their own."""
    source = folder / "empty.c"
    source.write_text("#include <sanitizer/common_interface_defs.h>\nint main(void) { return 0; }\n")
    return not subprocess.run([compiler, *SANITIZERS, source, "-o", folder / "empty"], capture_output=True).returncode


@pytest.mark.parametrize("name", BUILDS)
def test_every_verb_of_every_set_against_plain_loops(name, tmp_path):
    compiler, runner = BUILDS[name]
    if os.environ.get("FASTBPTT_BUILDS") != "all" and not (name == QUICK and os.environ.get("FASTBPTT_TESTS") == "all"):
        pytest.skip("takes up to a minute: FASTBPTT_BUILDS is not all")
    if not (PACKAGE / "kernels" / "dispatch.c").exists():
        pytest.skip("the sources are not here")
    for tool in (compiler[0], *runner[:1]):
        if shutil.which(tool) is None:
            pytest.skip(f"there is no {tool}")
    program = tmp_path / "harness"
    if SANITIZERS[-2] in compiler and not has_sanitizers(compiler[0], tmp_path):
        pytest.skip(f"{compiler[0]} has no sanitizers here")
    sources = [HERE / "harness.c", PACKAGE / "kernels" / "dispatch.c", *(PACKAGE / "kernels" / "sets").glob("*.c")]
    build = subprocess.run([*compiler, *FLAGS, f"-I{PACKAGE}/kernels", *sources, "-lm", "-o", program], capture_output=True,
                           text=True)
    assert build.returncode == 0, build.stderr
    run = subprocess.run([*runner, program], capture_output=True, text=True, timeout=600)
    print(run.stdout, run.stderr)
    assert run.returncode == 0, f"{run.stdout}{run.stderr}"
