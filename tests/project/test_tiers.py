"""support/tiers.py selects the tests of a run."""

import itertools
import sys
import threading
from types import SimpleNamespace

import pytest
import tiers

pytestmark = pytest.mark.quick


class Item:
    def __init__(self, name, n, **parameters):
        self.nodeid, self.n, self.callspec = f"tests/engine/test_it.py::{name}", n, SimpleNamespace(params=parameters)

    def get_closest_marker(self, name):
        mine = self.n if self.n == "thorough" else "share" if self.n else None
        return SimpleNamespace(args=(self.n,)) if name == mine else None


@pytest.mark.parametrize(("instances", "n", "kept"), [
    (8, 4, 2), (9, 4, 3), (13, 4, tiers.MOST), (3, 4, 1), (4, 1, tiers.MOST), (3, None, 3), (0, 4, 0),
    (tiers.MOST, None, tiers.MOST), (40, None, tiers.MOST), (40, 2, tiers.MOST)])
def test_a_plain_run_takes_one_instance_in_n_and_at_most_so_many_whatever_their_order(instances, n, kept):
    items = [Item(f"test_one[{k}-float64]", n) for k in range(instances)]
    left_out = tiers.left_out(items)
    assert len(items) - len(left_out) == kept
    assert tiers.left_out(items[::-1]) == left_out


def test_the_instances_of_a_plain_run_have_the_most_different_values():
    items = [Item(f"test_one[{a}-{b}-{c}]", None, a=a, b=b, c=c)
             for a, b, c in itertools.product(("sum", "mean"), ("float32", "float64"), range(tiers.MOST))]
    taken = [item.callspec.params for item in items if item not in tiers.left_out(items)]
    assert len(taken) == tiers.MOST
    assert [len({each[name] for each in taken}) for name in "abc"] == [2, 2, tiers.MOST]
    few = tiers.various(items, 2)
    assert all(few[0].callspec.params[name] != few[1].callspec.params[name] for name in "abc")


def test_a_plain_run_leaves_out_thorough_tests():
    items = [Item("test_one", None), Item("test_long", "thorough")]
    assert tiers.left_out(items) == {items[1]}


def test_tests_are_counted_one_by_one():
    items = [Item(f"test_{name}[{k}]", 4) for name in ("one", "two") for k in range(4)]
    left_out = tiers.left_out(items)
    assert [sum(item not in left_out for item in items[part]) for part in (slice(4), slice(4, 8))] == [1, 1]


@pytest.mark.parametrize("n", [1, 2, 3])
def test_each_part_has_every_test_and_all_parts_have_every_instance(n, monkeypatch):
    items = [Item(f"test_{count}[{k}]", 4) for count in (1, 2, 7, 12) for k in range(count)] + [Item("test_long", "thorough")]
    taken = []
    for k in range(1, n + 1):
        monkeypatch.setenv("FASTBPTT_TESTS", f"{k}/{n}")
        left_out = tiers.left_out(items)
        assert tiers.left_out(items[::-1]) == left_out
        part = [item for item in items if item not in left_out]
        assert {item.nodeid.partition("[")[0] for item in part} == {item.nodeid.partition("[")[0] for item in items}
        assert len(part) == sum(-(-count // n) for count in (1, 2, 7, 12)) + 1
        taken += part
    assert set(taken) == set(items)


@pytest.mark.parametrize("asked", ["0/3", "4/3", "1/", "/3", "a/3", "-1/3"])
def test_a_part_that_does_not_exist_ends_the_run(asked, monkeypatch):
    monkeypatch.setenv("FASTBPTT_TESTS", asked)
    with pytest.raises(pytest.exit.Exception, match="K/N needs"):
        tiers.left_out([])


def test_all_and_a_named_test_take_every_instance(monkeypatch):
    monkeypatch.delenv("FASTBPTT_TESTS", raising=False)
    assert not tiers.takes_all(SimpleNamespace(args=["tests"]))
    assert tiers.takes_all(SimpleNamespace(args=["tests/engine", "tests/engine/test_it.py::test_one"]))
    for value, expected in (("all", True), ("instances", True), ("", False), ("1/2", False)):
        monkeypatch.setenv("FASTBPTT_TESTS", value)
        assert tiers.takes_all(SimpleNamespace(args=["tests"])) == expected


def test_a_module_is_seen_when_one_of_its_functions_is_called(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(tmp_path)
    for name, text in (("called", "def f(): return 1\n"), ("imported", "def f(): return 1\n"), ("constants", "N = 1\n"),
                       ("types", "if TYPE_CHECKING:\n    def f(): return 1\n"),
                       ("protocol", "class P:\n    def f(self):\n        '''Do it.'''\n        ...\n")):
        (tmp_path / f"quick_{name}.py").write_text(text)
    before, before_of_threads = sys.getprofile(), threading.getprofile()
    calls = tiers.Calls(tmp_path)
    assert {path.rpartition("quick_")[2] for path in calls.unseen} == {"called.py", "imported.py"}
    calls.watch()
    try:
        import quick_called
        import quick_imported  # noqa: F401

        quick_called.f()
    finally:
        sys.setprofile(before)
        threading.setprofile(before_of_threads)
    assert {path.rpartition("quick_")[2] for path in calls.unseen} == {"imported.py"}
