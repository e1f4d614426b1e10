"""The memory of a network's parameters: one aligned flat vector, and a dict of writable views of it.

Add code here if it concerns how parameters lie in memory or how users assign them.
"""

from __future__ import annotations

import numpy as np

from .. import _checks
from .arguments import _check_shape


class _Parameters(dict):
    """A dict of writable views of the parameters. Assignment copies into the view. Names cannot be added or removed."""

    def __setitem__(self, name, value):
        if name not in self:
            raise KeyError(f"no parameter {name!r} in this network, which has {', '.join(self)}")
        view = self[name]
        view[...] = _check_shape(name, _checks.array(name, value, view.dtype), view.shape, "")

    def update(self, *args, **kwargs):
        for name, value in dict(*args, **kwargs).items():
            self[name] = value

    def __ior__(self, other):  # type: ignore[misc]  # this | other is a plain dict
        self.update(other)
        return self

    def _refuse(self, *args):
        raise TypeError("the parameters of a network cannot be removed or added")

    __delitem__ = pop = popitem = clear = setdefault = _refuse

    def __reduce__(self):  # an unpickled or deep copy belongs to no network, so it is a plain dict of copies
        return dict, ({name: value.copy() for name, value in self.items()},)


def _aligned(size, dtype):
    """Return zeros (size,) whose memory starts at a multiple of 64 bytes."""
    dtype = np.dtype(dtype)
    memory = np.zeros(size * dtype.itemsize + 64, np.uint8)
    offset = -memory.ctypes.data % 64
    return memory[offset:offset + size * dtype.itemsize].view(dtype)
