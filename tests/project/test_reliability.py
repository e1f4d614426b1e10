"""The reliability command finds the package, and its exit code and last line report failures."""

import subprocess
import sys

import pytest
from processes import ROOT

SMALL = ["read-only-folder", "sizes-that-overflow", "floating-point-mode"]


def run(*arguments):
    return subprocess.run([sys.executable, "-m", "tests.reliability", *arguments], capture_output=True, text=True, cwd=ROOT,
                          timeout=300)


@pytest.mark.thorough
def test_the_command_runs_small_checks():
    result = run("--quick", "--only", *SMALL)
    assert result.returncode == 0, result.stdout + result.stderr
    assert [line.split()[1] for line in result.stdout.splitlines()[:-1]] == SMALL
    assert result.stdout.splitlines()[-1] == "3 of 3 passed"


@pytest.mark.parametrize("what", ["a bar that is not met", "an error"])
def test_a_failed_check_is_named_and_exits_with_1(what, monkeypatch, capsys):
    monkeypatch.syspath_prepend(ROOT / "tests")
    from reliability import __main__, table

    def fails(pick):
        if what == "an error":
            raise AssertionError("no file")
        return f"{pick(3, 5, 7)} torn", False

    monkeypatch.setattr(table, "CHECKS", {})
    monkeypatch.setattr(__main__, "CHECKS", table.CHECKS)
    monkeypatch.setattr(__main__, "run", table.run)
    for name in ("calls", "faults", "files", "leaks", "promises", "sizes", "threads"):
        monkeypatch.setitem(sys.modules, f"reliability.{name}", sys.modules[__name__])
    table.check("none torn")(fails)
    assert __main__.main(["--quick"]) == 1
    output = capsys.readouterr().out
    assert "FAILED" in output and ("3 torn" if what != "an error" else "AssertionError: no file") in output
    assert output.splitlines()[-1] == "0 of 1 passed; failed: fails"


def test_an_unknown_check_is_refused_with_the_valid_names():
    result = run("--only", "kill-8")
    assert result.returncode == 2 and "kill-9" in result.stderr
