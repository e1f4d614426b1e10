"""pool.c, built and run: what the pool of helper threads promises, without Python.

The sources are those beside this folder. A broken promise prints a line, or hangs until the limit.
"""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

HERE = Path(__file__).resolve().parent
PACKAGE = HERE.parents[1] / "fastbptt"
CHECKS = ("without-helpers", "short-jobs", "each-share-once", "no-more-workers", "busy-helpers", "poll", "costly-helpers",
          "patient-helpers", "fork", "fork-in-a-call")
COMPILERS = ("cc", "gcc", "clang", "x86_64-w64-mingw32-gcc")
FLAGS = ("-O2", "-g", "-Wall", "-Wextra", "-Werror", "-pthread")
MISSING = "the sources or a C compiler are not here"


def build(compiler, program, *flags):
    return subprocess.run([compiler, *FLAGS, *flags, f"-I{PACKAGE}/threads", HERE / "pool.c", PACKAGE / "threads" / "pool.c",
                           "-o", program], capture_output=True, text=True)


def run(program, check, *before):
    # a sanitizer's runtime that the tests themselves run under is not the program's
    environment = {name: value for name, value in os.environ.items() if name != "LD_PRELOAD"}
    return subprocess.run([*before, program, check], capture_output=True, text=True, timeout=300, env=environment)


@pytest.fixture(scope="module")
def program(tmp_path_factory):
    if os.name != "posix" or shutil.which("cc") is None or not (PACKAGE / "threads" / "pool.c").exists():
        pytest.skip(MISSING)
    program = tmp_path_factory.mktemp("pool") / "pool"
    done = build("cc", program)
    assert done.returncode == 0, done.stderr
    return program


@pytest.mark.quick
@pytest.mark.share(5)
@pytest.mark.parametrize("check", CHECKS)
def test_the_pool_keeps_its_promise(program, check):
    done = run(program, check)
    assert (done.returncode, done.stdout) == (0, f"{check} holds\n"), done.stdout + done.stderr


@pytest.mark.parametrize("sanitizer", ["thread", "address,undefined"])
def test_the_pool_has_no_data_race_and_no_bad_access(sanitizer, tmp_path):
    if os.environ.get("FASTBPTT_BUILDS") != "all":
        pytest.skip("takes half a minute: FASTBPTT_BUILDS is not all")
    if shutil.which("gcc") is None or shutil.which("setarch") is None or not (PACKAGE / "threads" / "pool.c").exists():
        pytest.skip(MISSING)
    done = build("gcc", tmp_path / "pool", f"-fsanitize={sanitizer}", "-fno-sanitize-recover=all")
    assert done.returncode == 0, done.stderr
    for check in CHECKS:
        if sanitizer == "thread" and check.startswith("fork"):  # ThreadSanitizer does not follow threads of a child
            continue
        done = run(tmp_path / "pool", check, "setarch", "-R")  # among random addresses the runtime may find no room
        if "personality" in done.stderr:
            pytest.skip("setarch -R is not permitted here")
        assert (done.returncode, done.stdout) == (0, f"{check} holds\n"), done.stdout + done.stderr


@pytest.mark.thorough
@pytest.mark.parametrize("compiler", COMPILERS)
def test_the_pool_compiles_without_warnings(compiler, tmp_path):
    """By Clang, and for Windows by MinGW, where nothing is run."""
    if shutil.which(compiler) is None or not (PACKAGE / "threads" / "pool.c").exists():
        pytest.skip(f"there is no {compiler}, or the sources are not here")
    done = subprocess.run([compiler, *FLAGS, f"-I{PACKAGE}/threads", "-c", PACKAGE / "threads" / "pool.c", "-o", tmp_path / "pool.o"],
                          capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
