"""fastbptt, and the NumPy specification inside it."""

import fastbptt
import numpy as np
from contenders import LEARNING_RATE

# Limits of a timed `fit`: mini-batches, epochs, and multiplications by parameters, beyond which it has three updates
BATCHES, EPOCHS, FIT_PRODUCTS = 50, 20, 5e8


class Core:
    options = {}  # as a user writes it; threads are FASTBPTT_NUM_THREADS

    @staticmethod
    def variants(problem):
        """Return the names of the variants for this problem."""
        return ("",)

    def __init__(self, problem, variant=""):
        """Prepare what may be done once for the shapes of the problem, in this variant."""
        cell = {} if problem.units == "plain" else {"cell": problem.units}  # compare.py also times builds that have no cells
        self.net = fastbptt.RNN(problem.I, problem.H, problem.O, dtype=problem.dtype, **cell)
        self.net.load_state_dict(problem.parameters)
        self.X, self.D = problem.X, problem.D
        if problem.lengths is not None:
            self.options = self.options | {"lengths": problem.lengths}
        self.optimizer = fastbptt.optimizers.Adam(LEARNING_RATE)

    def gradients(self):
        """Return the loss and a dict of the gradients by parameter."""
        return self.net.loss_and_gradients(self.X, self.D, **self.options)

    def forward(self):
        """Return the outputs Y (T, B, O)."""
        return self.net.forward(self.X, **self.options)[0]

    def adam(self):
        """Make one whole training step with Adam, and return the loss before it."""
        return self.net.train_step(self.X, self.D, self.optimizer, **self.options)

    def parameters(self):
        """Return the current parameters, a dict by name."""
        return dict(self.net.parameters)

    @staticmethod
    def threads():
        """Return as text how many threads it may use."""
        return f"{fastbptt._core.threads()} in fastbptt"


class FitStep(Core):
    """An Adam update inside `fit`, whose start and end are part of it, as is drawing the mini-batches of an epoch.

    The gradients are checked, and `timed` is timed.
    """

    def __init__(self, problem, variant=""):
        """Prepare what may be done once for the shapes of the problem, in this variant."""
        super().__init__(problem, variant)
        products = problem.T * problem.B * sum(value.size for value in problem.parameters.values())
        batches = max(3, min(BATCHES, round(FIT_PRODUCTS / products)))
        self.epochs = max(1, min(EPOCHS, round(FIT_PRODUCTS / products / batches)))
        self.updates = batches * self.epochs
        self.many = [np.tile(array, (1, batches, 1)) for array in (problem.X, problem.D)]

    def timed(self):
        """Make `updates` updates by `fit`."""
        return self.net.fit(*self.many, optimizer=self.optimizer, epochs=self.epochs, batch_size=self.X.shape[1],
                            progress=False)


class Reference(Core):
    options = {"backend": "reference"}

    @staticmethod
    def threads():
        """Return as text how many threads it may use."""
        return "as NumPy's BLAS"
