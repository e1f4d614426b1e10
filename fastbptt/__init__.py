"""Recurrent networks (plain, leaky, GRU, LSTM), trained by exact back-propagation through time, compiled for the CPU."""

try:
    import fastbptt._core as _core  # "from . import" would not name the missing module
except ModuleNotFoundError as error:
    if error.name not in ("fastbptt._core", "fastbptt.kernels.blas", "fastbptt.threads.workers", "fastbptt._population"):
        raise
    raise ImportError(
        f"no compiled fastbptt in {__path__[0]}: run `pip install .` in the source folder and start Python elsewhere, or "
        "build in place with `python setup.py build_ext --inplace`"
    ) from error

from .cli import forecast as _forecast  # noqa: F401  so that `load` reads its models
from . import datasets, diagnostics, optimizers, reference, schedules, sequences
from ._version import __version__
from .estimators import RNNClassifier, RNNRegressor
from .forecasting.forecaster import Forecaster
from .many import cross_validate, fit_many
from .network import RNN, load
from .population import Population, PopulationHistory
from .sequences import SequenceScaler
from .training import History

__all__ = ["RNN", "RNNRegressor", "RNNClassifier", "Population", "PopulationHistory", "fit_many", "cross_validate",
           "Forecaster", "SequenceScaler", "load", "History", "datasets", "diagnostics", "optimizers", "reference", "schedules",
           "sequences", "__version__"]
