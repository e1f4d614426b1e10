"""The code of README and of the pages in docs runs, and their lists and figures match the package."""

import importlib
import inspect
import re
from pathlib import Path

import numpy as np
import pytest

from fastbptt import RNN, initializers, network, optimizers, reference, schedules
from fastbptt.cli import explain as _explain

README = Path(__file__).parents[2] / "README.md"
DOCS = README.parent / "docs"
pytestmark = pytest.mark.skipif(not (README.exists() and DOCS.exists()), reason="no README or docs beside the tests")


# Pages that are checked by a test of their own
OTHERS = ("survives", "examples")
PAGES = sorted(page.stem for page in DOCS.glob("*.md")
               if "```python" in page.read_text(encoding="utf-8") and page.stem not in OTHERS) or ["no page"]


def text(*names):
    """Return the text of these pages of docs; without names that of README and all pages."""
    pages = [DOCS / f"{name}.md" for name in names] or [README, *sorted(DOCS.glob("*.md"))]
    return "\n".join(page.read_text(encoding="utf-8") for page in pages)


def blocks_of(page):
    return re.findall(r"```python\n(.*?)```", page.read_text(encoding="utf-8"), re.DOTALL)


@pytest.mark.thorough
def test_python_of_readme_runs(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    blocks = blocks_of(README)
    assert len(blocks) == 1
    exec(compile("\n".join(blocks), str(README), "exec"), {})
    assert "every gradient agrees" in capsys.readouterr().out


@pytest.mark.quick
def test_the_front_page_is_short():
    assert README.read_text(encoding="utf-8").count("\n") <= 250


@pytest.mark.thorough
@pytest.mark.parametrize("page", PAGES)
def test_python_of_each_page_runs_by_itself(page, tmp_path, monkeypatch, capsys):
    if page == "forecasting":
        pytest.importorskip("pandas")
    monkeypatch.chdir(tmp_path)
    blocks = blocks_of(DOCS / f"{page}.md")
    assert re.search(r"^(import|from) fastbptt", blocks[0], re.MULTILINE)
    exec(compile("\n".join(blocks), page, "exec"), {})
    out = capsys.readouterr().out
    if page == "diagnostics":
        assert re.search(r"^The gradient of .*$", text(page), re.MULTILINE)[0] in out
        assert "3 fixed, of which 2 stable" in out


def test_links_of_readme_and_pages_lead_to_files():
    for page in (README, *DOCS.glob("*.md")):
        for link in re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", page.read_text(encoding="utf-8").replace("\n", " ")):
            assert (page.parent / link).exists(), f"{page.name}: {link}"


GALLERY = {"plot_gradient_flow": (2, "vanishes"), "plot_flip_flop": (1, "of which 4 stable"), "plot_forecast": (1, "80 % intervals"),
           "plot_many_networks": (1, "600 updates each"), "plot_vowels": (1, "test utterances are classified correctly")}


@pytest.mark.thorough
@pytest.mark.parametrize("name", GALLERY)
def test_a_script_of_the_gallery_draws_its_pictures(name, tmp_path, monkeypatch, capsys):
    plt = pytest.importorskip("matplotlib.pyplot")
    plt.switch_backend("Agg")
    plt.close("all")
    if name == "plot_forecast":
        pytest.importorskip("pandas")
    monkeypatch.chdir(tmp_path)
    exec(compile((DOCS / "gallery" / f"{name}.py").read_text(encoding="utf-8"), name, "exec"), {})
    figures, words = GALLERY[name]
    assert len(plt.get_fignums()) == figures and words in capsys.readouterr().out
    plt.close("all")


def test_every_script_of_the_gallery_is_tested():
    assert {script.stem for script in (DOCS / "gallery").glob("*.py")} == set(GALLERY)


@pytest.mark.thorough
def test_the_page_on_gates_draws_its_picture_and_says_what_it_shows(tmp_path, monkeypatch, capsys):
    pytest.importorskip("matplotlib.pyplot").switch_backend("Agg")
    monkeypatch.chdir(tmp_path)
    exec(compile("\n".join(blocks_of(DOCS / "survives.md")), "survives.md", "exec"), {})
    assert (tmp_path / "gallery-survives.png").exists() and (DOCS / "gallery-survives.png").exists()
    found = {line.split()[0]: [float(number) for number in re.findall(r"\d\.\d+", line)]
             for line in capsys.readouterr().out.splitlines()}
    before = {cell: numbers[0] for cell, numbers in found.items()}
    assert before["gru"] < before["plain"] < before["lstm"]  # the rates after training vary with the processor's rounding
    assert found["gru"][1] > 0.95 and max(found["gru"][2:]) < 0.01 < 0.03 < min(found["plain"][2:])


def test_explained_page_matches_the_network():
    page = (DOCS / "explained.md").read_text(encoding="utf-8")
    assert f"```text\n{_explain.text()}\n```" in page
    assert (DOCS / "unrolled.svg").read_text(encoding="utf-8") == _explain.svg()


def test_strengths_and_weaknesses_match_the_measurement(monkeypatch):
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
    for sentence in importlib.import_module("limits").sentences_without_time():
        line = f"- {sentence}"
        assert np.allclose(figures(line), said[re.sub(number, "#", line)], rtol=0.02, atol=1e-12)  # under that is rounding


@pytest.mark.thorough
def test_python_of_the_examples_runs(tmp_path, monkeypatch):
    pytest.importorskip("sklearn")
    monkeypatch.chdir(tmp_path)
    blocks = blocks_of(DOCS / "examples.md")
    assert len(blocks) == 5
    exec(compile("\n".join(blocks), "examples.md", "exec"), {})


def test_table_of_options_lists_every_option_with_its_default():
    rows = dict(re.findall(r"^\| `(\w+)`[^|]*\|.*\| `(.+)` \|$", text("options"), re.MULTILINE))
    options = {name: parameter.default for name, parameter in inspect.signature(RNN).parameters.items()
               if parameter.kind is parameter.KEYWORD_ONLY}
    assert rows == {name: repr(default).replace("'", '"') for name, default in options.items()}


def test_listed_options_of_the_c_interface_match_its_setters():
    serves = {"learn_initial_state": "learnt_initial_state", "l1": "penalty", "l2": "penalty", "dtype": "f32",
              "reset_after": "cell", "leak_form": "cell"}
    # numbers of a loss, an argument of methods, the other dtype, other ways to give a leak
    of_a_call = {"huber", "quantile", "truncation", "f64", "leaks", "trained_leak"}
    setters = set(re.findall(r"cdef int plan_(?:set|init)_(\w+)\(", (Path(network.__file__).parent / "_core.pxd").read_text()))
    options = {name for name, parameter in inspect.signature(RNN).parameters.items() if parameter.kind is parameter.KEYWORD_ONLY}
    there = {name for name in options if serves.get(name, name) in setters}
    assert {serves.get(name, name) for name in there} | of_a_call == setters
    sentences = re.search(r"The C interface lacks these options of `RNN`: ([^.]*)\. .* so it has no ([^.]*)\.", text(), re.DOTALL)
    assert set(re.findall(r"`(\w+)`", sentences[1] + sentences[2])) == options - there


@pytest.mark.filterwarnings("ignore:invalid value")  # of infinity in the reference
@pytest.mark.parametrize("backend", network.BACKENDS)
def test_numbers_of_activations_and_losses_match_the_code(backend):
    levels = re.search(r"the levels q are \((.*?)\) by default, so O is then a multiple of (\d)", text())
    levels, multiple = [float(level) for level in levels[1].split(",")], int(levels[2])
    threshold = float(re.search(r"the threshold is ([\d.]+) by default", text())[1])
    slope = float(re.search(r"`leaky_relu` \| .* ([\d.]+) A \|", text())[1])
    assert multiple == len(levels)

    def output(Z, D, **options):
        """Return E and ∂E/∂b_y with outputs of Z."""
        net = RNN(1, 1, len(Z), reduction="sum", initializer=lambda shape, rng: np.zeros(shape), random_state=0, **options)
        net.parameters["b_y"] = Z
        E, gradients = net.loss_and_gradients(np.zeros((1, 1, 1)), np.reshape(D, (1, 1, -1)), backend=backend)
        return E, gradients["b_y"]

    for r in (-2.0, 0.75):
        E, _ = output([r] * multiple, [0], loss="quantile", dtype="float64")
        assert E == pytest.approx(sum(-q * r if r <= 0 else (1 - q) * r for q in levels))
    for r in (threshold / 2, 3 * threshold):
        E, _ = output([r], [0], loss="huber", dtype="float64")
        assert E == pytest.approx(r * r / 2 if r <= threshold else threshold * (r - threshold / 2))
    net = RNN(1, 1, 1, activation="leaky_relu", bias=False, initializer=lambda shape, rng: np.ones(shape), dtype="float64")
    assert net.forward(np.full((1, 1, 1), -2.0), backend=backend)[0] == pytest.approx(-2 * slope)

    rate = float(re.search(r"the learning rate is (\S+) for every rule", text())[1])
    assert {kind().learning_rate for kind in optimizers.OPTIMIZERS.values()} == {rate}

    infinite = re.search(r"from Z = ([\d.]+) on in float32, from ([\d.]+) on in float64", text())
    for dtype, Z in zip(("float32", "float64"), map(float, infinite.groups())):
        poisson = {"loss": "poisson", "output_activation": "exp", "dtype": dtype}
        assert output([Z], [2], **poisson)[0] == np.inf and np.isfinite(output([Z - 0.1], [2], **poisson)[0])
        assert output([-1000], [2], **poisson) == (2000, [-2])
        for Z in (-1000, 1000):
            E, gradient = output([Z], [1], loss="binary_cross_entropy", output_activation="sigmoid", dtype=dtype)
            assert (E, *gradient) == ((0, 0) if Z > 0 else (1000, -1))
            E, gradient = output([Z, 0], [1, 0], loss="cross_entropy", output_activation="softmax", dtype=dtype)
            assert (E, *gradient) == ((0, 0, 0) if Z > 0 else (1000, -1, 1))


@pytest.mark.parametrize("names", [reference.ACTIVATIONS, reference.OUTPUT_ACTIVATIONS, reference.LOSSES,
                                   initializers.INITIALIZERS, optimizers.OPTIMIZERS, schedules.SCHEDULES, network.DTYPES])
def test_every_name_is_in_the_pages(names):
    words = set(re.findall(r"\w+", text()))
    assert set(names) <= words


def test_every_method_is_in_the_pages():
    words = set(re.findall(r"\w+", text()))
    assert {name for name in vars(RNN) if not name.startswith("_")} <= words
