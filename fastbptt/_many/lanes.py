"""Which networks fit side by side into the lanes of a vector, and what the networks of one population share.

The limits that decide this are here, with their measurements.
"""

from __future__ import annotations

import numpy as np

from .. import _checks, _core, reference
from ..options import declaration as _options, parametrizations as _maps

# Up to this many hidden units, and up to this H² B, networks run side by side in a vector's lanes. Wider networks and larger
# batches fill vectors themselves, and run one at a time. The numbers are the time of 64 networks in lanes, relative to one
# at a time, on one core. T = 100, B = 1, float32 (AMD Zen 4, 2026-11): H = 4: 0.08, 8: 0.15, 16: 0.5, 32: 1.1. With T = 30, I = 4,
# O = 2 (Intel, AVX-512):
#   float32, B = 1, 4, 16, 64    H = 4: 0.10, 0.20, 0.42, 0.63   8: 0.18, 0.32, 0.73, 1.10   16: 0.28, 0.78, 1.14, 2.06
#   float64                      H = 4: 0.17, 0.31, 0.87, 1.10   8: 0.18, 0.56, 0.99, 1.61   16: 0.39, 0.98, 1.22, 2.38
MOST_HIDDEN = 16
MOST_WORK = {"float32": 3072, "float64": 1024}
MOST_BYTES = 2**28  # of a group's workspace


OWN = _options.names(lambda option: option.each)  # options that each network of a population may have of its own


SERVED = _options.names(lambda option: option.lanes)


def _fits_lanes(net):
    """Return whether networks like the RNN `net` fit into lanes: few hidden units, and only options that lanes serve."""
    return not isinstance(net.hidden_size, tuple) and net.hidden_size <= MOST_HIDDEN and not _options_without_lanes(net)


def most_sequences(net):
    """Return the largest batch of a network like `net` for which lanes are faster than one network at a time, in sequences."""
    return MOST_WORK[net.dtype] // net.hidden_size**2


def _options_without_lanes(net):
    """Return the names of the options of the RNN `net` that differ from the default and that lanes do not serve."""
    return [name for name, value in net._config.items() if name not in SERVED and not _options.is_default(name, value)]


def _shape_key(net):
    """Return a hashable key that is equal for RNNs that one population can hold: dt, and all options except penalties.

    Arrays enter with their bytes.
    """
    options = net.dt, *(value for name, value in net._config.items() if name not in OWN and type(value) is not dict)
    if not any(type(value) is dict and value for name, value in net._config.items() if name not in OWN) and _hashable(options):
        return options
    config, arrays = _maps.split({name: value for name, value in net._config.items() if name not in OWN})
    return net.dt, repr(sorted(config.items())), tuple((name, array.shape, array.tobytes()) for name, array in sorted(arrays.items()))


def _hashable(value):
    """Return whether `value` can be hashed."""
    try:
        hash(value)
    except TypeError:
        return False
    return True


def _number_of_threads(n_threads):
    """Return the argument n_threads as an int, or the default number of threads for None."""
    return _core.threads() if n_threads is None else _checks.size("n_threads", n_threads)


def _penalty_and_gradient(net):
    """Return a network's penalty l1 Σ |w| + l2 Σ w² in float64, and a dict of its gradients by parameter."""
    options = net._engines["reference"].options
    p = {name: value.astype(np.float64) for name, value in net.parameters.items()}
    return float(reference.penalty(p, options["l1"], options["l2"])), reference.d_penalty(p, options["l1"], options["l2"])
