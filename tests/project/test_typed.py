"""Types for users: public functions have types of arguments and results, and the names in _types.py match the code.

tests/project/typed_use.py is a user's program that `mypy --strict` accepts; tests/support/packages.py runs mypy on it.
"""

import ast
import dataclasses
import graphlib
import importlib
import inspect
import pkgutil
import runpy
from pathlib import Path
from typing import get_args

import pytest

import fastbptt
from fastbptt import (
    _types, estimators, initializers, many, network, optimizers, reference, schedules, sequences, training,
)
from fastbptt._training import types as _run_types
from fastbptt.options import cells as _cells, declaration, units as _units
from fastbptt.options.signature import PopulationOptions

INTERNAL = ("backends", "cli", "forecasting", "kernels", "options", "threads")  # folders without public functions
MODULES = ["fastbptt", *(f"fastbptt.{module.name}" for module in pkgutil.iter_modules(fastbptt.__path__)
                         if not module.name.startswith("_") and module.name not in INTERNAL)]
SPECIAL = ("__init__", "__getitem__", "__iter__", "__len__")  # other special methods need no types


def without_types(function, name):
    """Return the parameters of a function without annotation, and "return", as text."""
    parameters = list(inspect.signature(function).parameters.values())
    if parameters and parameters[0].name in ("self", "cls"):
        parameters = parameters[1:]
    lacking = [each.name for each in parameters if each.annotation is each.empty]
    if inspect.signature(function).return_annotation is inspect.Signature.empty:
        lacking.append("return")
    return [f"{name}: {each}" for each in lacking]


def functions_of(kind):
    """Yield (name, function) of everything a user can call of a class, including private bases and setters of properties."""
    for name in dir(kind):
        if name.startswith("_") and name not in SPECIAL:
            continue
        found = inspect.getattr_static(kind, name)
        parts = (found.fget, found.fset) if isinstance(found, property) else (getattr(found, "__func__", found),)
        for function in parts:
            if inspect.isfunction(function) and function.__module__.startswith("fastbptt"):
                yield f"{kind.__name__}.{name}", function


def public_functions(module):
    """Yield (name, function) of every public function of a module and of its public classes."""
    for name in getattr(module, "__all__", None) or [name for name in vars(module) if not name.startswith("_")]:
        found = getattr(module, name)
        home = getattr(found, "__module__", "")
        if not home.startswith("fastbptt") or not hasattr(module, "__all__") and home != module.__name__:
            continue
        if inspect.isclass(found):
            yield from functions_of(found)
        elif inspect.isfunction(found):
            yield name, found


@pytest.mark.parametrize("module", MODULES)
def test_every_public_function_says_what_it_takes_and_returns(module):
    found = list(public_functions(importlib.import_module(module)))
    assert found
    assert [words for name, function in found for words in without_types(function, name)] == []


def test_parameters_without_types_are_reported():
    class Kind:
        def method(self, a: int, b, *rest, c=0, **options: int):
            """Lack three types of parameters, and that of the result."""

        @property
        def value(self) -> int:
            """Have a setter without a type."""

        @value.setter
        def value(self, number) -> None:
            """Set the value."""

    Kind.__module__ = Kind.method.__module__ = "fastbptt.kinds"
    for function in (Kind.value.fget, Kind.value.fset):
        function.__module__ = "fastbptt.kinds"
    assert [words for name, function in functions_of(Kind) for words in without_types(function, name)] == [
        "Kind.method: b", "Kind.method: rest", "Kind.method: c", "Kind.method: return", "Kind.value: number"]


def test_the_functions_that_users_call_are_checked():
    names = {name for module in MODULES for name, _ in public_functions(importlib.import_module(module))}
    assert {"RNN.__init__", "RNN.fit", "RNN.theta", "RNN.from_torch", "RNNRegressor.__init__", "RNNClassifier.fit",
            "RNNRegressor.set_params", "Population.__getitem__", "SGD.update", "Fits.history", "FixedPoints.plot",
            "fit_many", "load", "load_sunspots", "parity", "forecast_pairs", "loss_and_gradients"} <= names


@pytest.mark.parametrize("literal, names", [
    ("Activation", reference.ACTIVATIONS), ("OutputActivation", reference.OUTPUT_ACTIVATIONS),
    ("LossName", reference.LOSSES), ("RegressionLossName", estimators.REGRESSION_LOSSES),
    ("InitializerName", initializers.INITIALIZERS), ("OptimizerName", optimizers.OPTIMIZERS),
    ("ScheduleName", schedules.SCHEDULES), ("Reduction", network.REDUCTIONS), ("Output", network.OUTPUTS),
    ("Backend", network.BACKENDS), ("LeakForm", _units.FORMS), ("Cell", _cells.NAMES), ("TwoD", sequences.TWO_D),
    ("OnNonfinite", training.ON_NONFINITE)])
def test_literals_are_the_names_that_the_code_knows(literal, names):
    assert sorted(get_args(getattr(_types, literal))) == sorted(names)


def test_options_of_wrappers_match_rnn_and_its_fit():
    without = {"input_size", "hidden_size", "output_size", "random_state"}
    assert set(PopulationOptions.__annotations__) == set(declaration.BY_NAME) - without
    assert set(_run_types.RunOptions.__annotations__) == set(estimators.RUN_OPTIONS)
    assert set(_run_types.ManyOptions.__annotations__) == set(many.OTHERS)
    fit = inspect.signature(fastbptt.RNN.fit).parameters
    for kind in (_run_types.RunOptions, _run_types.ManyOptions):
        for name, annotation in kind.__annotations__.items():
            assert annotation.__forward_arg__ == fit[name].annotation
    init = inspect.signature(fastbptt.RNN).parameters
    for name, annotation in PopulationOptions.__annotations__.items():
        assert name in ("l1", "l2") or annotation.__forward_arg__ == init[name].annotation


@pytest.mark.parametrize("kind", [fastbptt.RNNRegressor, fastbptt.RNNClassifier])
def test_estimators_have_the_types_of_the_networks_options(kind):
    own, network_s = (inspect.signature(each).parameters for each in (kind, fastbptt.RNN))
    for name in ("hidden_size", *declaration.names(lambda option: option.estimators)):
        assert own[name].annotation == network_s[name].annotation, name


def test_fields_of_optimizers_have_types():
    for kind in (*optimizers.OPTIMIZERS.values(), *schedules.SCHEDULES.values()):
        assert all(field.type for field in dataclasses.fields(kind))


@pytest.mark.thorough
def test_the_program_with_types_runs(capsys):
    runpy.run_path(str(Path(__file__).with_name("typed_use.py")), run_name="__main__")
    assert capsys.readouterr().out


def imported(path, names):
    """Return the modules of fastbptt that a file imports, including imports for type checkers."""
    package, found = path.relative_to(Path(fastbptt.__file__).parents[1]).with_suffix("").parts[:-1], set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.level:
            base = (*package[:len(package) - node.level + 1], *(node.module or "").split(".")) if node.module \
                else package[:len(package) - node.level + 1]
            for alias in node.names:
                found |= {name for name in (".".join((*base, alias.name)), ".".join(base)) if name in names}
    return found - {"fastbptt"}


def test_no_modules_import_each_other_not_even_for_types():
    folder = Path(fastbptt.__file__).parent
    names = {".".join(path.relative_to(folder.parent).with_suffix("").parts).removesuffix(".__init__"): path
             for path in folder.rglob("*.py")}
    graph = {name: imported(path, names) - {name} for name, path in names.items() if name != "fastbptt"}
    for name in graph:
        if name.startswith("fastbptt.diagnostics.") or name == "fastbptt._network.conversion":
            graph[name].discard("fastbptt.network")  # the type of an argument, of a result
    assert {"fastbptt._types", "fastbptt.optimizers"} <= graph["fastbptt._training.types"]
    list(graphlib.TopologicalSorter(graph).static_order())  # raises CycleError with the modules of a cycle


@pytest.mark.parametrize("module, names", [
    ("training", "History Record Settings State Stepper StreamHistory UpdateSettings"),
    ("many", "CrossValidation Fits NestedCrossValidation WorkersFailed"), ("population", "Population PopulationHistory"),
    ("estimators", "RNNClassifier RNNRegressor Scaling")])
def test_public_classes_are_named_by_the_module_that_users_import(module, names):
    """Pickles and error messages use this name, wherever the class is defined."""
    module = importlib.import_module(f"fastbptt.{module}")
    for name in names.split():
        kind = getattr(module, name)
        assert (kind.__module__, kind.__qualname__) == (module.__name__, name)
