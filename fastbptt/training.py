"""The public names of training: `History`, `StreamHistory`, and `Record`, which callbacks receive.

`RNN.fit` calls the loop, and `_training/` has the code. Add a name here if users meet its objects in callbacks, results or
pickles.
"""

from ._training.history import RECENT, History, Record, StreamHistory
from ._training.loop import fit
from ._training.settings import ON_NONFINITE, Settings, UpdateSettings, settings, with_least_updates
from ._training.state import State
from ._training.step import Stepper
from ._training.stream import stream

__all__ = ["History", "ON_NONFINITE", "RECENT", "Record", "Settings", "State", "Stepper", "StreamHistory", "UpdateSettings",
           "fit", "settings", "stream", "with_least_updates"]

for _public in (History, Record, Settings, State, Stepper, StreamHistory, UpdateSettings):  # for pickles
    _public.__module__ = __name__
