"""What users call: the names of `fastbptt`, and those of its modules that do not only serve the package."""

import fastbptt
from fastbptt import datasets, diagnostics, optimizers, schedules, sequences

MODULES = {
    datasets: datasets.__all__, diagnostics: diagnostics.__all__, sequences: ("to_time_major", "to_samples", "forecast_pairs"),
    optimizers: ("SGD", "Adam", "AdamW", "RMSprop", "Adagrad"),
    schedules: ("Constant", "Cosine", "Exponential", "InverseScaling", "Plateau", "Step"),
}


def public_names():
    """Return the public functions and classes by name; a name of a module begins with the module's."""
    found = {name: getattr(fastbptt, name) for name in fastbptt.__all__}
    found = {name: value for name, value in found.items() if callable(value)}
    for module, names in MODULES.items():
        found |= {f"{module.__name__.removeprefix('fastbptt.')}.{name}": getattr(module, name) for name in names}
    return found
