"""The contents of files, pickles and copies of a network: its options, its parameters and its random streams.

Options are written in the form of `options/declaration.py`. A new option needs code here only if JSON cannot hold it.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

from .. import _checks, _files
from .._training import batches as _batches
from ..options import parametrizations as _maps
from ..options.checks import hidden_size as _check_hidden_size, rank as _check_rank
from ..options.shapes import shapes_of as _shapes_of, views_of as _views_of

if TYPE_CHECKING:
    from .._types import FilePath


class Stored:
    """Methods of `RNN` for files, pickles and copies."""

    def save(self, path: FilePath) -> None:
        """Write the network to one .npz file, completely or not at all.

        `fastbptt.load` reads the file, which contains no pickle.

        Raises
        ------
        ValueError
            If a parameter is NaN or infinite.

        Examples
        --------
        >>> net = RNN(2, 8, 1, random_state=0)
        >>> net.save("network.npz")
        >>> bool((load("network.npz").theta == net.theta).all())
        True
        """
        for name, value in self.parameters.items():
            _checks.finite(name, value, "ij")  # `load` refuses NaN and infinity
        _files.write(path, self._header() | {"kind": "RNN"}, self._arrays(self._theta))

    def _header(self):
        """Return the network's part of a file header, in JSON's types."""
        return {"config": _maps.split(self._config)[0], "entropy": self._entropy, "dt": self.dt,
                "positions": self._positions._asdict()}

    def _arrays(self, theta):
        """Return the arrays of a file: the parameters, and the options that are arrays."""
        return self._named(theta) | _maps.split(self._config)[1]

    def _hold(self, theta):
        """Restore the frozen and absent entries of an updated theta (P,). Weight decay, for example, has changed them."""
        if self._held is not None:
            theta[self._held] = self._theta[self._held]

    def _named(self, theta):
        """Return views of a flat vector (P,) by the names of the parameters."""
        return _views_of(theta, {name: value.shape for name, value in self.parameters.items()})

    @classmethod
    def _from_file(cls, header, arrays):
        network = cls._from_header(header, arrays)
        network.load_state_dict({name: array for name, array in arrays.items() if "." not in name})  # others: of a run
        return network

    @classmethod
    def _from_header(cls, header, arrays):
        """Return a network of zeros with the header's options.

        The sizes are first compared with the arrays, so that a damaged header cannot create a huge network.
        """
        config, entropy = _maps.join(header["config"], arrays), header["entropy"]
        loss = config["loss"]
        if isinstance(loss, list):  # JSON has no tuples
            config["loss"] = (loss[0], tuple(loss[1]) if isinstance(loss[1], list) else loss[1])
        config["rank"] = _check_rank("rank", config.get("rank"))
        sizes = [_checks.size(name, config[name]) for name in ("input_size", "output_size")]
        if isinstance(config["hidden_size"], list):
            config["hidden_size"] = tuple(config["hidden_size"])
        config["hidden_size"] = _check_hidden_size("hidden_size", config["hidden_size"])
        if isinstance(config["hidden_size"], tuple) and len(config["hidden_size"]) > sum(
                array.size for array in arrays.values()):
            raise ValueError(f"it holds fewer parameters than its {len(config['hidden_size'])} layers need")
        matrices = _shapes_of(config | {"bias": False, "learn_initial_state": False}).values()  # of version 1: without a cell
        if sum(array.size for name, array in arrays.items() if "." not in name) < sum(map(math.prod, matrices)):
            raise ValueError(f"it holds fewer parameters than its sizes {[sizes[0], config['hidden_size'], sizes[1]]} need")
        network = cls(**config, initializer=lambda shape, rng: np.zeros(shape), random_state=entropy)
        network.dt = None if header.get("dt") is None else _checks.number("dt", header["dt"], 0)
        network._positions = _batches.Positions.read(header.get("positions"))
        return network

    def __getstate__(self) -> dict[str, Any]:
        return {"config": self._config, "entropy": self._entropy, "theta": self._theta.copy(), "dt": self.dt,
                "positions": self._positions._asdict()}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self._configure(state["config"], state["entropy"])
        self._positions = _batches.Positions.read(state.get("positions"))
        self.theta = state["theta"]
        self.dt = state.get("dt")
