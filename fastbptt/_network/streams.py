"""The random streams of a network: their names, their seed, and the keys of noise and dropout.

Append a new stream to STREAMS: the index of a name is part of its seed.
"""

from __future__ import annotations

import numpy as np

from .. import _checks, reference
from ..options import units as _units

STREAMS = ("initialisation", "shuffling", "noise", "dropout", "validation", "batches", "generation")


class Streams:
    """Methods of `RNN` for its random streams."""

    def _stream(self, name):
        """Return the SeedSequence of one random stream. Drawing from one stream never changes another."""
        return np.random.SeedSequence(self._entropy, spawn_key=(STREAMS.index(name),))

    def _draws(self, noise, dropout):
        """Return the Draws for a call's arguments noise and dropout, or None if the call has neither."""
        if not self._draws_something or noise is dropout is False:
            return None
        return self._keys(*(None if given is False else self._entropy if given is True else _entropy(given)
                            for given in (noise, dropout)))

    def _keys(self, noise, dropout):
        """Return the Draws of two seeds, each of which may be None. Return None if the network has no noise and no dropout."""
        if not self._draws_something:
            return None
        return reference.Draws(*(None if entropy is None else _units.key(entropy, STREAMS.index(stream))
                                 for entropy, stream in ((noise, "noise"), (dropout, "dropout"))))


def _entropy(random_state):
    """Return the number that seeds all streams of a network."""
    if isinstance(random_state, np.random.Generator):
        return _checks.DrawnSeed(random_state.integers(2**63))
    if random_state is None:
        return _checks.DrawnSeed(np.random.SeedSequence().entropy)
    return _checks.seed("random_state", random_state)
