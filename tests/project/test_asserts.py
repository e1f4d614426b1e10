"""Each test asserts something: an assert, pytest.raises or a helper that has one, and not only inside an `if`.

This reads the source of the tests and runs none. It cannot detect a loop over nothing, or an assertion that always holds;
mutate.py does that.
"""

import ast
from pathlib import Path

import pytest

FILES = sorted(Path(__file__).parents[1].rglob("*.py"))
OF_PYTEST = ("raises", "warns", "deprecated_call", "fail")


ASSERT = "assert"


def said(node):
    """Return what may assert in a statement: ASSERT, names of called functions, and for an `if` a pair of lists, one per branch."""
    if isinstance(node, ast.Assert):
        constant = isinstance(node.test, (ast.Constant, ast.Tuple, ast.GeneratorExp, ast.Lambda))
        return said(node.test) if constant else [ASSERT]
    if isinstance(node, ast.If):
        return [tuple([each for part in branch for each in said(part)] for branch in (node.body, node.orelse))]
    if isinstance(node, (ast.FunctionDef, ast.Lambda, ast.ClassDef)):
        return []  # it may never be called; a call counts by its name
    found = []
    if isinstance(node, ast.Call):
        name = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
        found.append(ASSERT if name in OF_PYTEST or name.startswith("assert_") else name)
    return found + [each for child in ast.iter_child_nodes(node) for each in said(child)]


def asserts(found, helpers):
    """Return whether a list of `said` asserts, with these helpers. Both branches of an `if` must."""
    return any(all(asserts(branch, helpers) for branch in each) if isinstance(each, tuple) else each == ASSERT or each in helpers
               for each in found)


def functions_in(tree):
    return [node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)]


def asserting(trees):
    """Return names of functions that assert, by module: its own and imported ones."""
    functions = [(name, node.name, [each for part in node.body for each in said(part)])
                 for name, tree in trees.items() for node in functions_in(tree)]
    imports = [(name, each.asname or each.name, node.module, each.name) for name, tree in trees.items() for node in ast.walk(tree)
               if isinstance(node, ast.ImportFrom) and node.module in trees for each in node.names]
    found = {name: set() for name in trees}
    before = -1
    while before != (before := sum(map(len, found.values()))):
        for name, function, words in functions:
            if asserts(words, found[name]):
                found[name].add(function)
        for name, here, module, there in imports:
            if there in found[module]:
                found[name].add(here)
    return found


def silent(sources):
    """Return the tests that assert nothing, from {module: source}."""
    trees = {name: ast.parse(source) for name, source in sources.items()}
    found = asserting(trees)
    return [f"{name}.{node.name}" for name, tree in trees.items() if name.startswith("test_") for node in functions_in(tree)
            if node.name.startswith("test_") and node.name not in found[name]]


@pytest.mark.thorough
def test_each_test_asserts_something():
    sources = {path.stem: path.read_text(encoding="utf-8") for path in FILES}
    assert sum(name.startswith("test_") for name in sources) > 40 and silent(sources) == []


@pytest.mark.parametrize("body, expected", [
    ("f(1)", True), ("assert True", True), ("assert (1 == 2, 'words')", True), ("if f(1):\n  assert f(2)", True),
    ("if f(1):\n  assert f(2)\n else:\n  f(3)", True), ("def inner():\n  assert f(1)", True), ("helper.f(1)", True),
    ("assert f(1)", False), ("for x in f(1):\n  assert x", False), ("with pytest.raises(E):\n  f(1)", False),
    ("np.testing.assert_allclose(f(1), 1)", False), ("check(f(1))", False), ("twice(f(1))", False),
    ("if f(1):\n  assert f(2)\n else:\n  check(3)", False), ("def inner():\n  assert f(1)\n inner()", False),
])
def test_a_test_without_an_assertion_is_reported(body, expected):
    sources = {"helpers": "def check(x):\n assert x\ndef twice(x):\n check(x)\ndef f(x):\n return x",
               "test_it": f"from helpers import check, f, twice\ndef test_one():\n {body}\n"}
    assert silent(sources) == ["test_it.test_one"] * expected
