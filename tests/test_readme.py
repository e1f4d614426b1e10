"""What README shows runs, and what it lists is what there is."""

import inspect
import re
from pathlib import Path

import pytest

from fastbptt import RNN, initializers, network, optimizers, reference, schedules

README = Path(__file__).parents[1] / "README.md"
EXAMPLES = README.parent / "docs" / "examples.md"
pytestmark = pytest.mark.skipif(not README.exists(), reason="no README beside the tests")


def text():
    return README.read_text(encoding="utf-8")


def test_python_of_readme_runs(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    blocks = re.findall(r"```python\n(.*?)```", text(), re.DOTALL)
    assert len(blocks) >= 3
    exec(compile("\n".join(blocks), str(README), "exec"), {})
    assert "every gradient agrees" in capsys.readouterr().out


def test_python_of_the_examples_runs(tmp_path, monkeypatch):
    pytest.importorskip("sklearn")
    monkeypatch.chdir(tmp_path)
    blocks = re.findall(r"```python\n(.*?)```", EXAMPLES.read_text(encoding="utf-8"), re.DOTALL)
    assert len(blocks) == 5
    exec(compile("\n".join(blocks), str(EXAMPLES), "exec"), {})


def test_table_of_options_lists_every_option_with_its_default():
    rows = dict(re.findall(r"^\| `(\w+)`[^|]*\|.*\| `(.+)` \|$", text(), re.MULTILINE))
    options = {name: parameter.default for name, parameter in inspect.signature(RNN).parameters.items()
               if parameter.kind is parameter.KEYWORD_ONLY}
    assert rows == {name: repr(default).replace("'", '"') for name, default in options.items()}


@pytest.mark.parametrize("names", [reference.ACTIVATIONS, reference.OUTPUT_ACTIVATIONS, reference.LOSSES,
                                   initializers.INITIALIZERS, optimizers.OPTIMIZERS, schedules.SCHEDULES, network.DTYPES])
def test_every_name_is_in_readme(names):
    words = set(re.findall(r"\w+", text()))
    assert set(names) <= words


def test_every_method_is_in_readme():
    words = set(re.findall(r"\w+", text()))
    assert {name for name in vars(RNN) if not name.startswith("_")} <= words
