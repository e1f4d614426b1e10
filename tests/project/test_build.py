"""What setup.py and pyproject.toml say of versions."""

import ast
import importlib.metadata
import re
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
    """The function of setup.py, which calls it before it imports what may be too old."""
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
    """And each has one, so that .ci/run can install it."""
    parts = project()
    extras = parts["project"]["optional-dependencies"].values()
    every = [*parts["build-system"]["requires"], *parts["project"]["dependencies"], *(each for extra in extras for each in extra)]
    matched = [re.fullmatch(r"([\w-]+)>=(\d+(?:\.\d+)*)", each) for each in every]
    assert all(matched), every
    minimum = {}
    for name, version in (each.groups() for each in matched):
        assert minimum.setdefault(name, version) == version, name
    assert {"numpy", "scipy", "matplotlib", "pytest", "setuptools"} <= set(minimum)
