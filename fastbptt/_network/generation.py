"""`RNN.generate`: sequences in which each output is the next input.

Add here what computes in closed loop without training.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np

from .. import _checks, reference
from .._training import batches as _batches
from .arguments import _refuse_nan
from .streams import STREAMS, _entropy

if TYPE_CHECKING:
    from numpy.typing import ArrayLike

    from .._types import Backend, Bool, Float, Int, Seed


class Generation:
    """The method of `RNN` that feeds outputs back as inputs."""

    def generate(self, steps: Int, *, prefix: ArrayLike | None = None, initial_state: ArrayLike | None = None,
                 temperature: Float = 1.0, random_state: Seed = None,
                 feed: Callable[[np.ndarray, np.random.Generator], ArrayLike] | None = None, return_state: Bool = False,
                 n_threads: Int | None = None, backend: Backend = "core") -> Any:
        """Return the sequence Y (steps, B, O) that continues the prefix, with each output as the next input.

        Y[0] is the output after the last step of the prefix. Y[k] is the output after Y[k - 1] was fed back. With
        one_hot=True, softmax and O = I, token ids are sampled and fed back. The result is then a sequence of ids (steps,
        B).

        Parameters
        ----------
        steps : int, at least 1
        prefix : array (T, B, I), or token ids (T, B), T >= 1
            What the network reads first. It is required, because there is no output to feed back before the first input.
        initial_state : array (B, H), optional
            The state before the prefix, as in `forward`.
        temperature : float
            Ids are sampled from p ∝ Y^(1 / temperature), which is softmax(Z / temperature). 0 selects the most probable id.
        random_state : None, int or Generator
            Seed of the samples and of feed's rng. The default is the network's own seed. The same seed gives the same ids;
            so does a repeated call without a seed. A Generator gives each call other ids.
        feed : function, optional
            f(y, rng) -> x returns the next input (B, I), or token ids (B,). y is a copy of the output (B, O), and rng a
            numpy.random.Generator. Y then always holds outputs. Without feed, y itself is the next input, which requires O
            = I.
        return_state : bool
            Return (Y, state). state (B, H) is the state after steps − 1 outputs were fed back; the last output was not.
            ``generate(n, prefix=Y[-1:], initial_state=state)`` continues from there.
        n_threads, backend : as in `forward`

        Returns
        -------
        Y : array (steps, B, O), or sampled token ids (steps, B)
        state : array (B, H), only with return_state=True

        Raises
        ------
        TypeError, ValueError
            If an argument has the wrong type or shape, or if the outputs cannot be inputs and feed is missing.
        FloatingPointError
            If an output is NaN. The message names the step.
        KeyboardInterrupt
            On Ctrl-C.

        Notes
        -----
        A Python loop over `step` takes most of the time: 1.1 of 1.3 µs per step for I = O = 1 and H = 16. Sampling ids adds
        about 12 µs per step. A function feed adds 9 µs and its own time (float32, B = 1, AMD Zen 4, 2026-11).

        Examples
        --------
        >>> net = RNN(1, 8, 1, random_state=0)
        >>> net.generate(4, prefix=np.zeros((5, 2, 1))).shape
        (4, 2, 1)
        """
        self._engine(backend)
        self._refuse_reverse("generate")
        steps, sampled = _checks.size("steps", steps), feed is None and self.one_hot
        temperature = _checks.number("temperature", temperature, 0, low_allowed=True)
        self._check_feedback(feed, temperature)
        if prefix is None:
            raise TypeError("prefix is required: before the first input there is no output to feed back")
        prefix, _, _, _ = self._check_inputs(prefix, initial_state, name="prefix")
        if len(prefix) == 0:
            raise ValueError(f"prefix must have at least one step, got shape {prefix.shape}")
        entropy = self._entropy if random_state is None else _entropy(random_state)
        rng = _batches.generator(entropy, STREAMS.index("generation"))

        read, state = self.forward(prefix, initial_state, n_threads=n_threads, backend=backend)
        B, O = read.shape[-2:]
        Y = np.empty((1 if sampled else steps, B, O), self.dtype)  # sampling needs only the last outputs
        ids = np.empty((steps if sampled else 0, B), np.intp)
        Y[0] = read if self.output == "last" else read[-1]
        for k in range(steps):
            y = Y[0 if sampled else k]
            if k > 0:
                self.step(x, state, out=(y, state), n_threads=n_threads, backend=backend)
            if sampled:
                _refuse_nan(Y, k)
                x = ids[k] = reference.sample(y, temperature, rng.random(B))
            elif feed is None:
                x = y
            elif k + 1 < steps:
                _refuse_nan(Y[k:k + 1], k)
                x = self._check_step("what feed returned", feed(y.copy(), rng), B)
        if not sampled:
            _refuse_nan(Y)
        result = ids if sampled else Y
        return (result, state) if return_state else result
