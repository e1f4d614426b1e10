"""Which networks fit side by side into the lanes of a vector, and what the networks of one population share.

The limits that decide this are here, with their measurements.
"""

from __future__ import annotations

import numpy as np

from .. import _checks, _core, reference
from ..options import cells as _cells, declaration as _options, parametrizations as _maps

# Up to this many hidden units, and up to this H² B (plain units) or H³ B (cells of several gates), networks run side by side in
# a vector's lanes. Wider networks and larger batches fill vectors themselves, and run one at a time. The numbers are the time
# of 64 networks in lanes, relative to one at a time, on one core. T = 100, B = 1, float32, plain (AMD Zen 4, 2026-11): H = 4:
# 0.08, 8: 0.15, 16: 0.5, 32: 1.1. With T = 30, I = 4, O = 2 (Intel, AVX-512; gated cells 2026-12), for B = 1, 4, 16, 64:
#
#     float32, plain    H = 4: 0.10, 0.20, 0.42, 0.63   8: 0.18, 0.32, 0.73, 1.10   16: 0.28, 0.78, 1.14, 2.06
#              GRU             0.12, 0.17, 0.31, 0.37      0.23, 0.29, 0.58, 0.94       0.58, 1.03, 1.44, 2.48
#              LSTM            0.13, 0.19, 0.27, 0.34      0.26, 0.80, 0.80, 1.11       0.69, 1.07, 1.23, 3.06
#     float64, plain           0.17, 0.31, 0.87, 1.10      0.18, 0.56, 0.99, 1.61       0.39, 0.98, 1.22, 2.38
#              GRU             0.17, 0.55, 0.67, 0.91      0.39, 0.77, 0.94, 1.28       0.89, 1.67, 1.36, 2.89
#              LSTM            0.39, 0.47, 0.65, 0.70      0.49, 0.88, 0.71, 1.05       1.34, 1.40, 1.13, 2.73
#
# GRUs with reset_after=False are between the two.
MOST_HIDDEN = 16
MOST_WORK = {"float32": 3072, "float64": 1024}
MOST_GATED_WORK = {"float32": 12288, "float64": 4095}
MOST_BYTES = 2**28  # of a group's workspace
# Lanes multiply one-hot vectors by W_x, where a network alone looks up a column. Time of 64 networks in lanes relative to one
# at a time for 4, 16, 64 and 256 ids, T = 50, B = 1, O = 2, float32 (Intel, AVX-512, 2026-12):
#     plain  H = 2: 0.28, 0.28, 0.35, 0.29   4: 0.29, 0.29, 0.33, 0.46   8: 0.35, 0.40, 0.59, 1.40
#     GRU    H = 2: 0.23, 0.15, 0.27, 0.39   4: 0.26, 0.26, 0.43, 0.76   8: 0.40, 0.44, 0.70, 1.02
# With output="last" and 4 inputs: 0.25, 0.29, 0.34 (plain), 0.27, 0.23, 0.27 (GRU).
MOST_IDS = 64


OWN = _options.names(lambda option: option.each)  # options that each network of a population may have of its own


SERVED = _options.names(lambda option: option.lanes)


def _fits_lanes(net):
    """Return whether networks like the RNN `net` fit into lanes: few hidden units, and only options that lanes serve."""
    return (not isinstance(net.hidden_size, tuple) and net.hidden_size <= most_hidden(net) and not _options_without_lanes(net)
            and not (net.one_hot and net.input_size > MOST_IDS))


def most_hidden(net):
    """Return the largest number of hidden units with which lanes are faster for one sequence, for the RNN's cell and dtype."""
    return max(H for H in range(1, MOST_HIDDEN + 1) if _most_sequences(net, H) > 0)


def most_sequences(net):
    """Return the largest batch of a network like `net` for which lanes are faster than one network at a time, in sequences."""
    return _most_sequences(net, net.hidden_size)


def _most_sequences(net, H):
    """Return `most_sequences` for a network with the RNN's cell and dtype, but H hidden units."""
    return MOST_GATED_WORK[net.dtype] // H**3 if _is_gated(net) else MOST_WORK[net.dtype] // H**2


def row_name(net):
    """Return the name of the RNN's row in the table of cells."""
    return _cells.row_name(net._config)


def _is_gated(net):
    """Return whether the RNN's cell has gates, as a GRU and an LSTM have."""
    return len(reference.CELLS[row_name(net)].gates) > 1


def numbers_per_unit(net):
    """Return how many numbers a group keeps of each unit, sequence and step: carries, what the cell saves, and delta."""
    row = reference.CELLS[row_name(net)]
    return len(row.states) + len(row.saves) + len(row.gates) + (1 if _is_gated(net) else 0)


def _options_without_lanes(net):
    """Return the names of the options of the RNN `net` that differ from the default and that lanes do not serve."""
    return [name for name, value in net._config.items() if name not in SERVED and not _options.is_default(name, value)]


def _shape_key(net):
    """Return a hashable key that is equal for RNNs that one population can hold: dt, and all options except penalties.

    Arrays enter with their bytes.
    """
    shared = {name: value for name, value in net._config.items() if name not in OWN}
    options = net.dt, *(value for value in shared.values() if type(value) is not dict)
    if not any(type(value) is dict and value for value in shared.values()) and _hashable(options):
        return options
    config, arrays = _maps.split(shared)
    values = tuple((name, array.shape, array.tobytes()) for name, array in sorted(arrays.items()))
    return net.dt, repr(sorted(config.items())), values


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
