"""Many updates in compiled code, for runs in which none of the user's functions runs between updates.

`loop.Run` decides how long a stretch may be.
"""

from __future__ import annotations

import numpy as np

from ..backends.arguments import Batch, CallOptions, UpdateMemory, Updates
from .batches import take


class Stretch:
    """Consecutive updates in compiled code, and their memory."""

    def __init__(self, network, source, settings, gradient):
        """Allocate the memory of the updates: a batch, and copies of parameters and slots from before the current update.

        `gradient` (P,) is overwritten by each update.
        """
        self.settings, self.numbers = settings, vars(settings.optimizer)
        before = [np.empty_like(gradient) for _ in range(1 + len(settings.optimizer.slots(network._theta)))]
        B = min(source.batch_size, source.data.X.shape[1])
        first = take(source.data, np.arange(B), source.output)
        batch = Batch(*(None if array is None else np.empty_like(array) for array in first))
        self.memory = UpdateMemory(gradient, before, batch)

    def run(self, network, source, state, rows, rates, seconds, draws):
        """Make as many updates as possible in the arrays of `state`, at the learning rates of their epochs.

        Parameters
        ----------
        network : RNN
        source : Arrays
        state : State
            Its theta and slots are updated in place. Its other numbers are only read.
        rows : array of int
            Indices of the sequences to train on, in order, from the current batch on.
        rates : list of float
            The learning rate of each epoch, beginning with the current one.
        seconds : float
            Time after which no further update begins.
        draws : Draws or None
            The keys of the noise of the first batch.

        Returns
        -------
        done : int
            The number of updates.
        error : exception or None
            What Ctrl-C raised.
        sums : list of five numbers per epoch
            The sums of loss, weight, penalty and norm, and the seconds until the epoch's last update.
        """
        settings, sums = self.settings, np.zeros((len(rates), 5))
        sums[0, :4] = state.loss, state.weight, state.penalty, state.norm
        updates = Updates(settings.optimizer.rule, self.numbers, state.slots, np.array(rates, np.float64),
                          settings.max_grad_norm, rows, source.batch_size, state.updates, seconds)
        options = CallOptions(settings.threads, settings.memory_limit, draws)
        done, error = network._engines["core"].train(state.theta, source.data, options, updates, self.memory, sums)
        return done, error, sums.tolist()
