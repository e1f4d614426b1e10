"""PyTorch: nn.RNN with autograd as a user writes it, and back-propagation through time by hand without autograd."""

import os

import torch
from contenders import LEARNING_RATE
from torch.nn.utils.rnn import pack_padded_sequence

torch.set_num_threads(int(os.environ["OMP_NUM_THREADS"]))


def tensors(problem):
    """Return parameters (a dict), X and D of the problem as tensors. The parameters are copies."""
    parameters = {name: torch.from_numpy(value.copy()) for name, value in problem.parameters.items()}
    return parameters, torch.from_numpy(problem.X), torch.from_numpy(problem.D)


class Module:
    """nn.RNN and a Linear layer. nn.RNN has a second bias, here zero and not trained: less work than its default.

    With lengths it runs over the padding, up to the longest sequence of the batch, and a mask takes that out of the loss.
    """

    @staticmethod
    def variants(problem):
        """Return the names of the variants for this problem."""
        return ("",)

    def __init__(self, problem, variant=""):
        """Prepare what may be done once for the shapes of the problem, in this variant."""
        dtype = getattr(torch, problem.dtype)
        parameters, self.X, self.D = tensors(problem)
        self.rnn = self.recurrence(problem)(problem.I, problem.H, dtype=dtype)
        self.linear = torch.nn.Linear(problem.H, problem.O, dtype=dtype)
        self.named = {"W_x": self.rnn.weight_ih_l0, "W_s": self.rnn.weight_hh_l0, "b_s": self.rnn.bias_ih_l0,
                      "W_y": self.linear.weight, "b_y": self.linear.bias}
        with torch.no_grad():
            for name, parameter in self.named.items():
                parameter.copy_(parameters[name])
            self.rnn.bias_hh_l0.zero_()
        self.rnn.bias_hh_l0.requires_grad_(False)
        self.lengths = None if problem.lengths is None else torch.from_numpy(problem.lengths)
        self.everything, self.steps = list(self.named.values()), problem.T * problem.B
        self.optimizer = None  # made when it is needed: torch.optim takes seconds to import what it may compile with

    @staticmethod
    def recurrence(problem):
        """Return the class of the recurrent layer."""
        return torch.nn.RNN

    def loss(self):
        """Return the loss as a tensor."""
        if self.lengths is not None:
            return self.masked_loss()
        states, _ = self.rnn(self.X)
        difference = self.linear(states) - self.D
        return (difference * difference).sum() / self.steps

    def masked_loss(self):
        """Return the loss of sequences with lengths, by a mask over the padding."""
        longest = int(self.lengths.max())
        states, _ = self.rnn(self.X[:longest])
        difference = self.linear(states) - self.D[:longest]
        mask = torch.arange(longest)[:, None] < self.lengths
        return ((difference * difference).sum(2) * mask).sum() / self.lengths.sum()

    def gradients(self):
        """Return the loss and a dict of the gradients by parameter."""
        loss = self.loss()
        gradients = torch.autograd.grad(loss, self.everything)
        return loss.item(), dict(zip(self.named, gradients))

    def forward(self):
        """Return the outputs Y (T, B, O)."""
        with torch.inference_mode():
            return self.linear(self.rnn(self.X)[0])

    def adam(self):
        """Make one whole training step with Adam, and return the loss before it."""
        if self.optimizer is None:
            self.optimizer = torch.optim.Adam(self.everything, lr=LEARNING_RATE)
        self.optimizer.zero_grad()
        loss = self.loss()
        loss.backward()
        self.optimizer.step()
        return loss.item()

    def parameters(self):
        """Return the current parameters, a dict by name."""
        return {name: parameter.detach() for name, parameter in self.named.items()}

    @staticmethod
    def threads():
        """Return as text how many threads it may use."""
        return f"{torch.get_num_threads()} in PyTorch"


class Packed(Module):
    """PackedSequence: the sequences, longest first, without padding; outputs and errors are made of its rows."""

    def masked_loss(self):
        """Return the loss of sequences with lengths, by PackedSequence."""
        X, D = (pack_padded_sequence(array, self.lengths, enforce_sorted=False) for array in (self.X, self.D))
        states, _ = self.rnn(X)
        difference = self.linear(states.data) - D.data
        return (difference * difference).sum() / self.lengths.sum()


class ByHand:
    """Buffers and views of every time step are made once; a step is one product and one tanh, and back the same.

    Variants: "mm" multiplies matrices; "mv", for one sequence, vectors; and with one thread where more are allowed.
    """

    @staticmethod
    def variants(problem):
        """Return the names of the variants for this problem."""
        ways = ("mv", "mm") if problem.B == 1 else ("mm",)
        return ways if problem.threads == 1 else (*ways, *(f"{way}, one thread" for way in ways))

    def __init__(self, problem, variant="mm"):
        """Prepare what may be done once for the shapes of the problem, in this variant."""
        B, T, I, H, O = problem[:5]
        dtype = getattr(torch, problem.dtype)
        self.p, X, D = tensors(problem)
        self.steps, self.vectors = T * B, variant.startswith("mv")
        self.several, self.limit = problem.threads > 1, 1 if "one thread" in variant else problem.threads
        self.X, self.D = X.view(T * B, I), D.view(T * B, O)
        self.S, self.delta = torch.zeros(T + 1, B, H, dtype=dtype), torch.empty(T, B, H, dtype=dtype)
        self.Y, self.squares = torch.empty(T * B, O, dtype=dtype), torch.empty(T * B, O, dtype=dtype)
        self.shape = T, B, O
        self.before, self.after = self.S[:T].view(T * B, H), self.S[1:].view(T * B, H)
        self.flat = self.delta.view(T * B, H)
        states, deltas = self.S, self.delta
        if self.vectors:
            states, deltas = states[:, 0], deltas[:, 0]
        states, deltas = list(states.unbind(0)), list(deltas.unbind(0))
        self.onward = list(zip(states[:-1], states[1:]))
        self.back = list(zip(reversed(deltas[:-1]), reversed(deltas[1:]), reversed(states[1:-1])))
        self.last = deltas[-1], states[-1]
        for parameter in self.p.values():
            parameter.grad = torch.zeros_like(parameter)
        self.optimizer = None

    def _forward(self):
        """Compute the states in S and the outputs in Y."""
        p = self.p
        if self.several:
            torch.set_num_threads(self.limit)
        torch.addmm(p["b_s"], self.X, p["W_x"].t(), out=self.after)
        if self.vectors:
            W = p["W_s"]
            for before, after in self.onward:
                after.addmv_(W, before).tanh_()
        else:
            W = p["W_s"].t()
            for before, after in self.onward:
                after.addmm_(before, W).tanh_()
        torch.addmm(p["b_y"], self.after, p["W_y"].t(), out=self.Y)

    @torch.inference_mode()
    def forward(self):
        """Return the outputs Y (T, B, O)."""
        self._forward()
        return self.Y.view(self.shape)

    @torch.inference_mode()
    def gradients(self):
        """Return the loss and a dict of the gradients by parameter."""
        p = self.p
        self._forward()
        delta_y = self.Y.sub_(self.D)
        torch.mul(delta_y, delta_y, out=self.squares)  # torch.dot over 1.6 million numbers errs by 1.6e-5
        loss = self.squares.sum().item() / self.steps
        delta_y.mul_(2 / self.steps)
        torch.mm(delta_y, p["W_y"], out=self.flat)
        times_slope = torch.ops.aten.tanh_backward.grad_input
        delta, state = self.last
        times_slope(delta, state, grad_input=delta)
        if self.vectors:
            W = p["W_s"].t()
            for delta, later, state in self.back:
                times_slope(delta.addmv_(W, later), state, grad_input=delta)
        else:
            W = p["W_s"]
            for delta, later, state in self.back:
                times_slope(delta.addmm_(later, W), state, grad_input=delta)
        g = {name: parameter.grad for name, parameter in p.items()}
        torch.mm(self.flat.t(), self.X, out=g["W_x"])
        torch.mm(self.flat.t(), self.before, out=g["W_s"])
        torch.sum(self.flat, 0, out=g["b_s"])
        torch.mm(delta_y.t(), self.after, out=g["W_y"])
        torch.sum(delta_y, 0, out=g["b_y"])
        return loss, g

    def adam(self):
        """Make one whole training step with Adam, and return the loss before it."""
        if self.optimizer is None:
            self.optimizer = torch.optim.Adam(list(self.p.values()), lr=LEARNING_RATE, fused=True)
        loss, _ = self.gradients()
        self.optimizer.step()
        return loss

    def parameters(self):
        """Return the current parameters, a dict by name."""
        return self.p

    threads = Module.threads
