"""Who is timed: fastbptt, what a user writes, and what an expert writes for the occasion.

All do the same work on the same numbers: tanh, biases, initial state zero, squared error summed over outputs and
divided by T · B, gradients of all parameters and none of X. Gated units are a GRU (reset after the product) and an LSTM
without peepholes. A GRU has one more parameter, b_n. Where there are lengths, the error is that of the steps that there
are, divided by their number; the lengths come with the call, like X and D, so masks and packing are part of it. Each is a
class in one of the modules here:

    contender = Class(problem, variant)   what may be done once for a shape: buffers, compilation
    contender.gradients()                 the loss and a dict of the gradients, in its own kind of arrays, finished
    contender.forward()                   the outputs Y (T, B, O)
    contender.timed()                     only if the checked method is not the timed one; the time is divided by
                                          contender.updates
    contender.adam()                      one whole training step: gradients, then Adam in place, rate LEARNING_RATE
    contender.parameters()                the parameters as they stand
    contender.threads()                   how many threads it has been given, in words
    Class.variants(problem)               ways of writing it; the fastest is timed, the first is the one to begin with

What depends on the parameters' values (a transposed or packed weight matrix) is done within the call, for parameters
change from call to call. Nothing heavy is imported here, not even NumPy: a module is imported by the
process that times it, and that may have to time the import.
"""

import importlib
import importlib.metadata
import importlib.util
from typing import NamedTuple

LEARNING_RATE = 1e-3
ALL = ("float32", "float64")


class Problem(NamedTuple):
    B: int
    T: int
    I: int
    H: int
    O: int
    dtype: str
    threads: int
    parameters: dict
    X: object  # (T, B, I)
    D: object  # (T, B, O)
    lengths: object = None  # (B,)
    units: str = "plain"  # or "gru" or "lstm"


class Contender(NamedTuple):
    title: str
    group: str  # "fastbptt", "user" or "expert"
    module: str
    type: str
    needs: tuple  # modules that have to be installed; the first is the one whose import is timed
    dtypes: tuple = ALL
    environment: tuple = ()  # (name, value) pairs for its process
    adam_tolerance: float = 0  # at least that, whatever the dtype, where epsilon or constants are not quite the others'
    lengths: tuple = (False,)  # whether it is timed on cells with lengths
    full_batches: bool = False  # whether it gets as many steps in sequences of one length instead
    units: tuple = ("plain",)  # kinds of units that it computes
    whats: tuple = ("gradients", "forward", "adam", "first", "import", "memory")

    def takes(self, cell, dtype, what="gradients"):
        """Return whether the contender is timed on a cell in this dtype, for the kind of work `what`.

        The cell None is for imports.
        """
        return (dtype in self.dtypes and bool(cell and cell.lengths) in self.lengths and what in self.whats
                and (cell is None or cell.units in self.units))

    def missing(self):
        """Return why the contender cannot be timed on this machine, as text; an empty string if it can."""
        absent = [name for name in self.needs if importlib.util.find_spec(name) is None]
        if absent:
            return f"{', '.join(absent)} not installed"
        if self.module in ("onednn", "gated_c"):
            return importlib.import_module(f"contenders.{self.module}").missing()
        return ""

    def versions(self):
        """Return "name version" of each package that the contender needs, without fastbptt."""
        return [f"{name} {importlib.metadata.version(name)}" for name in self.needs if name != "fastbptt"]

    def load(self):
        """Import the contender's module and return its class."""
        return getattr(importlib.import_module(f"contenders.{self.module}"), self.type)


ONE_BLAS_THREAD = (("OPENBLAS_NUM_THREADS", "1"),)  # its own threads call BLAS
TENSORFLOW = (("KERAS_BACKEND", "tensorflow"), ("CUDA_VISIBLE_DEVICES", "-1"), ("TF_CPP_MIN_LOG_LEVEL", "3"))

EITHER = (False, True)
GATED = ("gru", "lstm")
GRADIENTS = ("gradients",)

REGISTRY = {
    "fastbptt": Contender("fastbptt", "fastbptt", "ours", "Core", ("fastbptt",), lengths=EITHER,
                          units=("plain", *GATED)),
    "full_batches": Contender("fastbptt, full batches", "fastbptt", "ours", "Core", ("fastbptt",), lengths=(True,),
                              full_batches=True, units=("plain", *GATED)),
    "reference": Contender("NumPy reference", "user", "ours", "Reference", ("fastbptt",), lengths=EITHER,
                           units=("plain", *GATED)),
    "numpy": Contender("NumPy", "user", "plain_numpy", "Plain", ("numpy",)),
    "torch": Contender("PyTorch nn.RNN", "user", "pytorch", "Module", ("torch",), lengths=EITHER),
    "torch_packed": Contender("PyTorch nn.RNN, packed", "user", "pytorch", "Packed", ("torch",), lengths=(True,)),
    "jax": Contender("JAX scan, autodiff", "user", "jax_scan", "Autodiff", ("jax",), lengths=EITHER),
    "keras": Contender("Keras SimpleRNN", "user", "keras_rnn", "Layers", ("keras", "tensorflow"),
                       environment=TENSORFLOW, adam_tolerance=1e-3, lengths=EITHER),
    "torch_hand": Contender("torch by hand", "expert", "pytorch", "ByHand", ("torch",)),
    "jax_hand": Contender("JAX by hand", "expert", "jax_scan", "ByHand", ("jax",), lengths=EITHER),
    "numba": Contender("Numba", "expert", "numba_loops", "Numba", ("numba", "scipy"), environment=ONE_BLAS_THREAD),
    "onednn": Contender("oneDNN vanilla_rnn", "expert", "onednn", "OneDNN", ("numpy",), ("float32",)),
    "fit": Contender("fastbptt, a step of fit", "fastbptt", "ours", "FitStep", ("fastbptt",), units=GATED,
                     whats=GRADIENTS),
    "gated_numpy": Contender("NumPy, gated", "user", "gated_numpy", "Plain", ("numpy",), units=GATED, whats=GRADIENTS),
    "gated_torch": Contender("PyTorch nn.GRU, nn.LSTM", "user", "gated_torch", "Module", ("torch",), units=GATED,
                             whats=GRADIENTS),
    "gated_jax": Contender("JAX scan, autodiff, gated", "user", "gated_jax", "Autodiff", ("jax",), units=GATED,
                           whats=GRADIENTS),
    "gated_keras": Contender("Keras GRU, LSTM", "user", "gated_keras", "Layers", ("keras", "tensorflow"), units=GATED,
                             environment=TENSORFLOW, whats=GRADIENTS),
    "gated_jax_hand": Contender("JAX by hand, gated", "expert", "gated_jax", "ByHand", ("jax",), units=GATED,
                                whats=GRADIENTS),
    "gated_numba": Contender("Numba, gated", "expert", "gated_numba", "Numba", ("numba", "scipy"), units=GATED,
                             environment=ONE_BLAS_THREAD, whats=GRADIENTS),
    "c_gru": Contender("C GRU", "expert", "gated_c", "GRU", ("numpy", "scipy", "threadpoolctl"), units=("gru",),
                       environment=ONE_BLAS_THREAD, whats=GRADIENTS),
}

