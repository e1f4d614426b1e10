"""setup.py: what it builds and how. setup.py and pyproject.toml: versions."""

import ast
import importlib.metadata
import re
import runpy
import threading
from pathlib import Path

import pytest

try:
    import tomllib
except ModuleNotFoundError:  # the package needs 3.11, which has it
    tomllib = None

ROOT = Path(__file__).parents[2]
pytestmark = pytest.mark.skipif(not (ROOT / "setup.py").exists(), reason="no setup.py beside the tests")


def project():
    return tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))


def check_requirements():
    """Return the function of setup.py, which must call it before it imports packages that may be too old."""
    path = ROOT / "setup.py"
    body = ast.parse(path.read_text(encoding="utf-8")).body
    call, = (k for k, node in enumerate(body) if isinstance(node, ast.Expr) and "check_requirements(" in ast.unparse(node))
    later = "\n".join(ast.unparse(node) for node in body[call + 1:])
    assert all(f"{word} " in later for word in ("import numpy\nimport scipy\nfrom Cython.Build", "from setuptools"))
    space = {"__file__": str(path)}
    exec(compile(ast.Module(body[:call], []), "setup.py", "exec"), space)
    return space["check_requirements"]


@pytest.mark.parametrize("version, refused", [("65.5.0", True), ("76.9.9", True), ("77.0.1", False), ("77", False),
                                              ("100.1", False), ("84.2.1.post1", False), (None, True)])
def test_a_build_with_old_setuptools_says_what_to_upgrade(version, refused, monkeypatch):
    def installed(name):
        if name != "setuptools":
            return "99.9"
        if version is None:
            raise importlib.metadata.PackageNotFoundError(name)
        return version

    monkeypatch.setattr(importlib.metadata, "version", installed)
    check, requires = check_requirements(), project()["build-system"]["requires"]
    if not refused:
        check(requires)
        return
    with pytest.raises(SystemExit) as error:
        check(requires)
    least, = (each for each in requires if each.startswith("setuptools"))
    assert f'setuptools is {version or "not installed"}' in str(error.value)
    assert str(error.value).endswith(f'Run:  python -m pip install --upgrade "{least}"')


def test_each_package_has_one_minimum_version():
    """.ci/run installs the minimum versions, so each package needs one."""
    parts = project()
    extras = parts["project"]["optional-dependencies"].values()
    every = [*parts["build-system"]["requires"], *parts["project"]["dependencies"], *(each for extra in extras for each in extra)]
    matched = [re.fullmatch(r"([\w-]+)>=(\d+(?:\.\d+)*)", each) for each in every]
    assert all(matched), every
    minimum = {}
    for name, version in (each.groups() for each in matched):
        assert minimum.setdefault(name, version) == version, name
    assert {"numpy", "scipy", "matplotlib", "pytest", "setuptools"} <= set(minimum)


@pytest.fixture(scope="module")
def build_script():
    """Return the names that setup.py defines, without a build."""
    pytest.importorskip("Cython.Build")
    setuptools = pytest.importorskip("setuptools")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(ROOT)
        patch.setattr(setuptools, "setup", lambda **options: None)
        return runpy.run_path("setup.py")


@pytest.mark.thorough
def test_each_c_file_of_the_package_is_compiled_once(build_script):
    sources = [source for each in build_script["EXTENSIONS"].values() for source in each]
    assert sorted(sources) == sorted(path.relative_to(ROOT).as_posix() for path in (ROOT / "fastbptt").rglob("*.c"))


def waiting_compiler(at_once):
    """Return a compiler that runs no program. It waits for `at_once` files at the same time, and records links in `linked`."""
    from distutils.ccompiler import new_compiler  # setuptools' own

    barrier, compiler = threading.Barrier(at_once), new_compiler()

    def compile_file(sources, output_dir, **options):
        assert len(sources) == 1
        barrier.wait(timeout=60)
        if "broken" in sources[0]:
            raise RuntimeError(sources[0])
        return [f"{output_dir}/{sources[0]}.o"]

    compiler.linked = []
    compiler.compile = compile_file
    compiler.link_shared_object = lambda objects, path, **options: compiler.linked.append(
        [Path(name).name for name in objects])
    return compiler


def build(build_script, folder, compiler, threads, **files):
    """Build extensions, given as name=list of C files, by this compiler and this number of threads."""
    from setuptools import Distribution, Extension

    for name in {name for names in files.values() for name in names}:
        (folder / name).write_text("")
    extensions = [Extension(name, names) for name, names in files.items()]
    command = build_script["BuildExtensions"](Distribution({"name": "tried", "ext_modules": extensions}))
    command.build_lib, command.build_temp, command.parallel, command.inplace = "lib", "temp", threads, False
    command.ensure_finalized()
    command.compiler = compiler
    command.build_extensions()


@pytest.mark.thorough
def test_files_of_one_extension_and_of_several_are_compiled_at_the_same_time(build_script, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "build").mkdir()
    compiler = waiting_compiler(at_once=4)
    build(build_script, tmp_path, compiler, 4, one=["c.c", "a.c", "b.c"], two=["d.c"])
    assert compiler.linked == [["a.c.o", "b.c.o", "c.c.o"], ["d.c.o"]]  # by name, for the same library each time


def test_a_file_that_does_not_compile_ends_the_build(build_script, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "build").mkdir()
    compiler = waiting_compiler(at_once=2)
    with pytest.raises(RuntimeError, match="broken.c"):
        build(build_script, tmp_path, compiler, 2, one=["a.c", "broken.c"])
    assert not compiler.linked
