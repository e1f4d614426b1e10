"""Who is timed: fastbptt, what a user writes, and what an expert writes for the occasion.

All do the same work on the same numbers: tanh, biases, initial state zero, squared error summed over outputs and
divided by T · B, gradients of all five parameters and none of X. Where there are lengths, the error is that of the
steps that there are, divided by their number; the lengths come with the call, like X and D, so masks and packing are
part of it. Each is a class in one of the modules here:

    contender = Class(problem, variant)   what may be done once for a shape: buffers, compilation
    contender.gradients()                 the loss and a dict of the gradients, in its own kind of arrays, finished
    contender.forward()                   the outputs Y (T, B, O)
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

    def takes(self, cell, dtype):
        return dtype in self.dtypes and bool(cell and cell.lengths) in self.lengths

    def missing(self):
        """Why it cannot be timed here, or an empty string."""
        absent = [name for name in self.needs if importlib.util.find_spec(name) is None]
        if absent:
            return f"{', '.join(absent)} not installed"
        if self.module == "onednn":
            return importlib.import_module("contenders.onednn").missing()
        return ""

    def versions(self):
        return [f"{name} {importlib.metadata.version(name)}" for name in self.needs if name != "fastbptt"]

    def load(self):
        return getattr(importlib.import_module(f"contenders.{self.module}"), self.type)


ONE_BLAS_THREAD = (("OPENBLAS_NUM_THREADS", "1"),)  # its own threads call BLAS
TENSORFLOW = (("KERAS_BACKEND", "tensorflow"), ("CUDA_VISIBLE_DEVICES", "-1"), ("TF_CPP_MIN_LOG_LEVEL", "3"))

EITHER = (False, True)

REGISTRY = {
    "fastbptt": Contender("fastbptt", "fastbptt", "ours", "Core", ("fastbptt",), lengths=EITHER),
    "full_batches": Contender("fastbptt, full batches", "fastbptt", "ours", "Core", ("fastbptt",), lengths=(True,),
                              full_batches=True),
    "reference": Contender("NumPy reference", "user", "ours", "Reference", ("fastbptt",), lengths=EITHER),
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
}

