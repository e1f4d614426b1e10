"""Layout of the tests: shared helpers are in support/, and every test file that is named somewhere exists."""

import ast
import re

import mutate
import pytest
from processes import ROOT, SUPPORT, TESTS

NAMING = [path for pattern in ("README.md", "docs/*.md", ".ci/run", "pyproject.toml", "fastbptt/**/*.py", "bench/*.py",
                               "tests/**/*.py", "tests/**/*.c", "tests/**/*.h")
          for path in sorted(ROOT.glob(pattern)) if path.name != "test_tiers.py"]  # it invents names


def imported(source):
    """Return the names of the modules that a source text imports."""
    found = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            found |= {each.name for each in node.names}
        elif isinstance(node, ast.ImportFrom):
            found.add(node.module)
    return found


@pytest.mark.thorough
def test_no_test_imports_from_another():
    tests = {path.stem: imported(path.read_text(encoding="utf-8")) for path in TESTS.rglob("test_*.py")}
    assert len(tests) > 50
    assert {name: found & set(tests) for name, found in tests.items() if found & set(tests)} == {}


def test_no_two_files_of_tests_have_one_name():
    """pytest imports each file only by its name, and helpers come before the package's modules."""
    names = [path.stem for path in TESTS.rglob("test_*.py")] + [path.stem for path in SUPPORT.glob("*.py")]
    assert sorted(names) == sorted(set(names))


@pytest.mark.parametrize("path", NAMING, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_every_named_test_file_exists(path):
    named = set(re.findall(r"\btests/[\w/]*\w\.(?:py|c|h|pyx|json)\b", path.read_text(encoding="utf-8")))
    missing = {name for name in named if not (ROOT / name).exists()}
    assert not missing


def test_mutate_names_functions_and_test_files_that_exist():
    if not (ROOT / "fastbptt" / "_core.pyx").exists():
        pytest.skip("no sources beside the tests")
    for group, functions in mutate.CORE_FUNCTIONS.items():
        text = "\n".join(path.read_text(encoding="utf-8") for of, path, _ in mutate.core_files(ROOT) if of == group)
        defined = set(re.findall(r"^ *(?:cdef|def) [^(\n=]*?(\w+)\(", text, re.MULTILINE))
        assert {name.rpartition(".")[2] for name in functions} - defined == set()
    assert set(mutate.TEST_FILES) - {path.name for path in TESTS.rglob("test_*.py")} == set()


# Files that a build writes
LONG = {"fastbptt/kernels/names.py", "fastbptt/options/signature.py"}


def test_lines_of_the_package_have_at_most_128_characters():
    if not (ROOT / "fastbptt" / "_core.pyx").exists():
        pytest.skip("no sources beside the tests")
    paths = [ROOT / "setup.py", *(path for folder in ("fastbptt", "bench") for path in (ROOT / folder).rglob("*.p*")
                                  if path.suffix in (".py", ".pyx", ".pxi", ".pxd"))]
    assert len(paths) > 200
    too_long = [f"{name}:{number}" for path in paths if (name := path.relative_to(ROOT).as_posix()) not in LONG
                for number, line in enumerate(path.read_text(encoding="utf-8").split("\n"), 1)
                if len(line) > 128 and "://" not in line]
    assert too_long == []
