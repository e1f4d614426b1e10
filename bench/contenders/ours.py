"""fastbptt, and the NumPy specification inside it."""

import fastbptt
from contenders import LEARNING_RATE


class Core:
    options = {}  # as a user writes it; threads are FASTBPTT_NUM_THREADS

    @staticmethod
    def variants(problem):
        return ("",)

    def __init__(self, problem, variant=""):
        self.net = fastbptt.RNN(problem.I, problem.H, problem.O, dtype=problem.dtype)
        self.net.load_state_dict(problem.parameters)
        self.X, self.D = problem.X, problem.D
        if problem.lengths is not None:
            self.options = self.options | {"lengths": problem.lengths}
        self.optimizer = fastbptt.optimizers.Adam(LEARNING_RATE)

    def gradients(self):
        return self.net.loss_and_gradients(self.X, self.D, **self.options)

    def forward(self):
        return self.net.forward(self.X, **self.options)[0]

    def adam(self):
        return self.net.train_step(self.X, self.D, self.optimizer, **self.options)

    def parameters(self):
        return dict(self.net.parameters)

    @staticmethod
    def threads():
        return f"{fastbptt._core.threads()} in fastbptt"


class Reference(Core):
    options = {"backend": "reference"}

    @staticmethod
    def threads():
        return "as NumPy's BLAS"
