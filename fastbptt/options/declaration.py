"""The options of `RNN`, each declared once: its default, its check, and the code that reads it.

To add an option, add a row to OPTIONS and the argument with its type to the signatures that type checkers and scikit-learn
read: `RNN.__init__` and, if `estimators` is True, both estimators. tests/options/test_options.py compares these signatures
with the rows. A build writes options/signature.py, for the type of `Population`, from `RNN.__init__`. Everything else reads the
rows: the constructor's body, repr, files and pickles, copies, the arguments of the backends (options/for_backends.py), the
options that estimators pass on to `RNN`, and the choice of networks that populations compute in lanes. A new option also needs
the code of its effect, in `fastbptt.reference` and in the core.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from .. import _checks, reference
from . import cells, checks, parametrizations, units

REQUIRED: Any = object()  # the option has no default
REDUCTIONS = ("mean", "sum")
OUTPUTS = ("sequence", "last")


class Option(NamedTuple):
    """One argument of the constructor of `RNN`."""

    name: str
    default: Any
    check: Callable[[str, Any], Any] | None  # (name, value) -> the value that is kept; None: the constructor does not keep it
    core: str | None = None         # the keyword of _core.Engine that takes the kept value unchanged
    reference: str | None = None    # the keyword of the functions of fastbptt.reference that takes it unchanged
    estimators: bool = True         # both estimators have the option, and `fit` passes it to the network unchanged
    constrains: bool = False        # a parametrization: `effective_parameters` returns parameters after it
    lanes: bool = False             # populations compute networks with any value of this option in vector lanes
    each: bool = False              # each network of a population may have its own value
    quiet: bool = False             # repr omits the option at its default


# In the order of the constructor's arguments, which is also the order of a file's header.
OPTIONS = (
    Option("input_size", REQUIRED, _checks.size, estimators=False, lanes=True),
    Option("hidden_size", REQUIRED, checks.hidden_size, estimators=False, lanes=True),
    Option("output_size", REQUIRED, _checks.size, estimators=False, lanes=True),
    Option("cell", cells.PLAIN, checks.one_of(cells.NAMES), "cell", "cell", lanes=True, quiet=True),
    Option("reset_after", True, _checks.flag, "reset_after", "reset_after", lanes=True, quiet=True),
    Option("forget_bias", 1.0, checks.finite_number, lanes=True, quiet=True),
    Option("activation", None, checks.activation, "activation", "activation", lanes=True),
    Option("output_activation", "identity", checks.one_of(reference.OUTPUT_ACTIVATIONS), "output_activation",
           "output_activation", estimators=False, lanes=True),
    Option("loss", "squared_error", checks.loss, estimators=False, lanes=True),
    Option("reduction", "mean", checks.one_of(REDUCTIONS), None, "reduction", lanes=True),
    Option("dtype", "float32", checks.dtype, "dtype", estimators=False, lanes=True),
    Option("initializer", None, None),
    Option("rank", None, checks.rank, constrains=True, quiet=True),
    Option("bias", True, _checks.flag, "bias", lanes=True),
    Option("learn_initial_state", False, _checks.flag, "learn_initial_state", lanes=True),
    Option("output", "sequence", checks.one_of(OUTPUTS), None, "output", lanes=True),
    Option("one_hot", False, _checks.flag, "one_hot", estimators=False, lanes=True),
    Option("bidirectional", False, _checks.flag),
    Option("l1", 0.0, checks.penalty, lanes=True, each=True),
    Option("l2", 0.0, checks.penalty, lanes=True, each=True),
    Option("rate_penalty", 0.0, checks.at_least_0, "rate_penalty", "rate_penalty"),
    Option("omega", 0.0, checks.at_least_0, "omega", "omega"),
    Option("connectivity", None, parametrizations.connectivity, constrains=True),
    Option("trainable", None, parametrizations.trainable, constrains=True),
    Option("dale_ratio", None, parametrizations.dale_ratio, constrains=True),
    Option("dale_signs", None, parametrizations.dale_signs, constrains=True),
    Option("nonnegative", (), parametrizations.nonnegative, constrains=True),
    Option("autapses", True, _checks.flag, constrains=True),
    Option("leak", None, units.leak, "leak", "leak", quiet=True),
    Option("dt", None, None),
    Option("tau", None, None),
    Option("leak_form", "rate", checks.one_of(units.FORMS), "leak_form", "leak_form", quiet=True),
    Option("noise_std", 0.0, checks.at_least_0, None, "noise_std", quiet=True),
    Option("input_noise_std", 0.0, checks.at_least_0, None, "input_noise_std", quiet=True),
    Option("recurrent_dropout", 0.0, checks.probability_below_1, "dropout", "recurrent_dropout", quiet=True),
    Option("random_state", None, None, estimators=False),
)
BY_NAME = {option.name: option for option in OPTIONS}


def names(condition: Callable[[Option], bool]) -> tuple[str, ...]:
    """Return the names of the options whose row satisfies a condition, in the order of the rows."""
    return tuple(option.name for option in OPTIONS if condition(option))


def configuration(given: Mapping[str, Any]) -> dict[str, Any]:
    """Return the checked options that a network keeps, from the constructor's arguments by name."""
    parametrizations.refuse_two_sources_of_signs(given["dale_ratio"], given["dale_signs"])
    given = {**given, "leak": units.leak_of(given["leak"], given["dt"], given["tau"])}
    config = {option.name: option.check(option.name, given[option.name]) for option in OPTIONS if option.check is not None}
    config["leak"] = units.fit_to_layers(config["leak"], config["hidden_size"])
    cells.refuse_options_of_others(config, given["dt"], given["tau"])
    parametrizations.refuse_with_low_rank(config)
    units.check_trained_leak(config)
    return config


@functools.cache
def kept_defaults() -> Mapping[str, Any]:
    """Return the kept value of the default of every option that has one."""
    return {option.name: option.check(option.name, option.default) for option in OPTIONS
            if option.check is not None and option.default is not REQUIRED}


def completed(config: Mapping[str, Any]) -> dict[str, Any]:
    """Return a configuration with defaults for missing options. An earlier version may have written it."""
    return {**config, **{name: value for name, value in kept_defaults().items() if name not in config}}


def is_default(name: str, value: Any) -> bool:
    """Return whether a kept value is the default. An option that no row declares has the default None."""
    default = kept_defaults().get(name)
    return type(value) is type(default) and bool(value == default)


def shown(config: Mapping[str, Any]) -> dict[str, Any]:
    """Return the options that a network's repr shows."""
    return {name: value for name, value in config.items()
            if name not in BY_NAME or not BY_NAME[name].quiet or not is_default(name, value)}
