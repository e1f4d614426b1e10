"""PyTorch: nn.GRU and nn.LSTM with a Linear layer, and autograd."""

import torch
from contenders import pytorch


class Module(pytorch.Module):
    """A GRU's second bias contains b_n, and all of it is trained. An LSTM's second bias is zero and not trained."""

    def __init__(self, problem, variant=""):
        """Prepare what may be done once for the shapes of the problem, in this variant."""
        super().__init__(problem, variant)
        self.candidate = slice(2 * problem.H, None)  # of the three gates r, z and n
        if problem.units == "gru":
            second = self.rnn.bias_hh_l0
            with torch.no_grad():
                second[self.candidate] = torch.from_numpy(problem.parameters["b_n"])
            self.named["b_n"] = second.requires_grad_(True)
            self.everything.append(second)

    @staticmethod
    def recurrence(problem):
        """Return the class of the recurrent layer."""
        return {"gru": torch.nn.GRU, "lstm": torch.nn.LSTM}[problem.units]

    def gradients(self):
        """Return the loss and a dict of the gradients by parameter."""
        loss, gradients = super().gradients()
        if "b_n" in gradients:
            gradients["b_n"] = gradients["b_n"][self.candidate]
        return loss, gradients
