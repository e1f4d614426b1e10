"""What README shows runs, and what it lists is what there is."""

import importlib
import inspect
import re
from pathlib import Path

import numpy as np
import pytest

from fastbptt import RNN, _explain, initializers, network, optimizers, reference, schedules

README = Path(__file__).parents[1] / "README.md"
DOCS = README.parent / "docs"
pytestmark = pytest.mark.skipif(not README.exists(), reason="no README beside the tests")


def text():
    return README.read_text(encoding="utf-8")


def blocks_of(page):
    return re.findall(r"```python\n(.*?)```", page.read_text(encoding="utf-8"), re.DOTALL)


def test_python_of_readme_runs(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    blocks = blocks_of(README)
    assert len(blocks) >= 3
    exec(compile("\n".join(blocks), str(README), "exec"), {})
    out = capsys.readouterr().out
    assert "every gradient agrees" in out
    assert re.search(r"^The gradient of .*$", text(), re.MULTILINE)[0] in out
    assert "3 fixed, of which 2 stable" in out


def test_the_gallery_draws_its_pictures(tmp_path, monkeypatch, capsys):
    pytest.importorskip("matplotlib.pyplot").switch_backend("Agg")
    monkeypatch.chdir(tmp_path)
    page = (DOCS / "gallery.md").read_text(encoding="utf-8")
    exec(compile("\n".join(blocks_of(DOCS / "gallery.md")), "gallery.md", "exec"), {})
    shown = re.findall(r"!\[.+\]\((.+\.png)\)", page)
    assert len(shown) == 3 and all((DOCS / name).exists() and (tmp_path / name).exists() for name in shown)
    assert "9 fixed, of which 4 stable" in capsys.readouterr().out  # as the page says


def test_what_is_explained_by_hand_is_what_the_network_computes():
    page = (DOCS / "explained.md").read_text(encoding="utf-8")
    assert f"```text\n{_explain.text()}\n```" in page
    assert (DOCS / "unrolled.svg").read_text(encoding="utf-8") == _explain.svg()


def test_what_is_said_of_back_propagation_is_what_comes_out(monkeypatch):
    bench = README.parent / "bench"
    if not bench.exists():
        pytest.skip("no bench beside the tests")
    monkeypatch.syspath_prepend(str(bench))
    page = (DOCS / "explained.md").read_text(encoding="utf-8")
    number = r"\d[\d,]*(?:\.\d+)?(?:e[+-]?\d+)?"

    def figures(line):
        return [float(figure.replace(",", "")) for figure in re.findall(number, line)]

    lines = [line for line in page.replace("\n  ", " ").splitlines() if line.startswith("- ")]
    said = {re.sub(number, "#", line): figures(line) for line in lines}
    for sentence in importlib.import_module("limits").lasting():
        line = f"- {sentence}"
        assert np.allclose(figures(line), said[re.sub(number, "#", line)], rtol=0.02, atol=1e-12)  # under that is rounding


def test_python_of_the_examples_runs(tmp_path, monkeypatch):
    pytest.importorskip("sklearn")
    monkeypatch.chdir(tmp_path)
    blocks = blocks_of(DOCS / "examples.md")
    assert len(blocks) == 5
    exec(compile("\n".join(blocks), "examples.md", "exec"), {})


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
