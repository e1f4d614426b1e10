"""Public docstrings: each has an example, and every example gives what it shows."""

import doctest
import inspect
import warnings

import numpy as np
import pytest

from public import public_names

import fastbptt
from fastbptt import optimizers, schedules

# Methods of scikit-learn's interface, which its documentation describes
OF_SCIKIT_LEARN = ("get_metadata_routing", "get_params", "set_params", "set_fit_request", "set_partial_fit_request",
                   "set_score_request")


def public():
    """Return the public functions, classes and methods by name."""
    found = public_names()
    methods = {}
    for name, value in found.items():
        if not inspect.isclass(value) or issubclass(value, (optimizers.Optimizer, schedules.Schedule)):
            continue
        for key in dir(value):
            member = inspect.getattr_static(value, key)
            member = member.__func__ if isinstance(member, (classmethod, staticmethod)) else member
            if not key.startswith("_") and inspect.isfunction(member) and key not in OF_SCIKIT_LEARN:
                methods[f"{name}.{key}"] = member
    return found | methods


PUBLIC = public()


@pytest.mark.quick
def test_every_public_docstring_has_an_example():
    assert len(PUBLIC) > 120
    assert [name for name, value in PUBLIC.items() if "\n--------\n>>>" not in (inspect.getdoc(value) or "")] == []


@pytest.mark.quick
@pytest.mark.share(12)
@pytest.mark.parametrize("name", PUBLIC)
def test_the_example_gives_what_it_shows(name, tmp_path, monkeypatch):
    text = inspect.getdoc(PUBLIC[name])
    if ".plot" in text or "plot_" in text.partition("Examples\n")[2]:
        pytest.importorskip("matplotlib").use("Agg")
    if "import pandas" in text or name.startswith("Forecaster"):
        pytest.importorskip("pandas")
    monkeypatch.chdir(tmp_path)
    names = {"np": np} | {each: getattr(fastbptt, each) for each in fastbptt.__all__}
    example = doctest.DocTestParser().get_doctest(text, names, name, None, None)
    assert example.examples
    report = []
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "fit ended no better than a constant")
        runner = doctest.DocTestRunner(optionflags=doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE, verbose=False)
        runner.run(example, out=report.append)
    assert runner.failures == 0, "".join(report)
