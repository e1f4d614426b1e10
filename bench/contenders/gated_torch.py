"""PyTorch: nn.GRU and nn.LSTM with a Linear layer, and autograd."""

import torch
from contenders import pytorch


class Module:
    """Of the second bias a GRU's b_n is part; all of it is trained. An LSTM's second bias is zero and not trained."""

    @staticmethod
    def variants(problem):
        return ("",)

    def __init__(self, problem, variant=""):
        B, T, I, H, O = problem[:5]
        dtype = getattr(torch, problem.dtype)
        parameters, self.X, self.D = pytorch.tensors(problem)
        self.gru = problem.units == "gru"
        self.rnn = (torch.nn.GRU if self.gru else torch.nn.LSTM)(I, H, dtype=dtype)
        self.linear = torch.nn.Linear(H, O, dtype=dtype)
        self.named = {"W_x": self.rnn.weight_ih_l0, "W_s": self.rnn.weight_hh_l0, "b_s": self.rnn.bias_ih_l0,
                      "W_y": self.linear.weight, "b_y": self.linear.bias}
        with torch.no_grad():
            for name, parameter in self.named.items():
                parameter.copy_(parameters[name])
            self.rnn.bias_hh_l0.zero_()
            if self.gru:
                self.rnn.bias_hh_l0[2 * H:] = parameters["b_n"]
        if self.gru:
            self.named["b_n"] = self.rnn.bias_hh_l0
        else:
            self.rnn.bias_hh_l0.requires_grad_(False)
        self.everything, self.steps, self.H = list(self.named.values()), T * B, H

    def gradients(self):
        difference = self.linear(self.rnn(self.X)[0]) - self.D
        loss = (difference * difference).sum() / self.steps
        gradients = dict(zip(self.named, torch.autograd.grad(loss, self.everything)))
        if self.gru:
            gradients["b_n"] = gradients["b_n"][2 * self.H:]
        return loss.item(), gradients

    threads = pytorch.Module.threads
