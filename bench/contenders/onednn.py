"""oneDNN's vanilla_rnn, called from C++ (onednn.cpp, built by build_onednn.py); the layer above it is its sgemm."""

import ctypes
import math
import os
from pathlib import Path

LIBRARY = Path(__file__).resolve().parents[2] / "build" / "bench" / "libonednn_driver.so"
SOURCE = Path(__file__).resolve().with_name("onednn.cpp")


def missing():
    """Return why the contender cannot be timed on this machine, as text; an empty string if it can."""
    if LIBRARY.exists() and LIBRARY.stat().st_mtime >= SOURCE.stat().st_mtime:
        return ""
    return "its driver is not built, or older than its source (python bench/build_onednn.py)"


def load():
    """Return the driver's library, with the types of its functions."""
    library = ctypes.CDLL(str(LIBRARY))
    library.driver_version.restype = ctypes.c_char_p
    library.driver_make.restype = ctypes.c_void_p
    library.driver_make.argtypes = [ctypes.c_void_p] * 6
    for function in (library.driver_free, library.driver_gradients, library.driver_forward):
        function.argtypes = [ctypes.c_void_p]
    library.driver_gradients.restype = library.driver_adam.restype = ctypes.c_double
    library.driver_adam.argtypes = [ctypes.c_void_p, ctypes.c_double, ctypes.c_double]
    return library


class OneDNN:
    """Variants: where more than one thread is allowed, all of them, and one."""

    @staticmethod
    def variants(problem):
        """Return the names of the variants for this problem."""
        return ("",) if problem.threads == 1 else ("", "one thread")

    def __init__(self, problem, variant=""):
        """Prepare what may be done once for the shapes of the problem, in this variant."""
        import numpy as np
        from contenders import LEARNING_RATE

        self.onednn, self.rate, self.count = load(), LEARNING_RATE, 0
        self.theta = np.concatenate([value.ravel() for value in problem.parameters.values()])
        self.g, self.Y = np.empty_like(self.theta), np.empty((problem.T, problem.B, problem.O), np.float32)
        self.named, self.named_g = {}, {}
        begin = 0
        for name, value in problem.parameters.items():
            for flat, named in ((self.theta, self.named), (self.g, self.named_g)):
                named[name] = flat[begin:begin + value.size].reshape(value.shape)
            begin += value.size
        sizes = np.array([*problem[:5], 1 if variant else problem.threads], np.int64)
        self.arrays = sizes, problem.X, problem.D, self.theta, self.g, self.Y
        self.driver = self.onednn.driver_make(*(array.ctypes.data for array in self.arrays))
        if not self.driver:
            raise RuntimeError("oneDNN made no primitive for this shape")

    def __del__(self):
        """Free the memory of the driver."""
        if getattr(self, "driver", None):
            self.onednn.driver_free(self.driver)

    def gradients(self):
        """Return the loss and a dict of the gradients by parameter."""
        loss = self.onednn.driver_gradients(self.driver)
        if math.isnan(loss):
            raise RuntimeError("oneDNN failed")
        return loss, self.named_g

    def forward(self):
        """Return the outputs Y (T, B, O)."""
        if self.onednn.driver_forward(self.driver):
            raise RuntimeError("oneDNN failed")
        return self.Y

    def adam(self):
        """Make one whole training step with Adam, and return the loss before it."""
        self.count += 1
        rate, root = self.rate / (1 - 0.9**self.count), math.sqrt(1 - 0.999**self.count)
        return self.onednn.driver_adam(self.driver, rate, root)

    def parameters(self):
        """Return the current parameters, a dict by name."""
        return self.named

    @staticmethod
    def threads():
        """Return as text how many threads it may use."""
        return f"{os.environ.get('OMP_NUM_THREADS')} in {load().driver_version().decode()}, by OMP_NUM_THREADS"
