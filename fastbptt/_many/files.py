"""The checkpoint of fit_many: `write` writes it completely or not at all, and `_read` reads it with checks.

A new result of each network needs an entry in both.
"""

from __future__ import annotations

import json
import os

import numpy as np

from .. import _files
from .._training import batches as _batches, checkpoint as _checkpoint
from ..options import declaration as _options
from .begun import Begun
from .results import CURVES, KEPT, Fits
from .work import Found


def write(path, fits, jobs):
    """Write the checkpoint of fit_many: the results in `fits` of the networks that have ended, with their parameters.

    `jobs` has a job for each network by index.
    """
    ended = [k for k, stopped in enumerate(fits.stopped) if stopped in KEPT]
    begun, runs = [fits._begun[k] for k in ended], {}
    each = [runs.setdefault(_checkpoint.to_json(one.run), len(runs)) for one in begun]
    header = {"kind": "Fits", "of": len(fits), "ended": ended, "stopped": [fits.stopped[k] for k in ended],
              "runs": list(runs), "run": each, "seeds": [one.seed for one in begun],
              "begins": [None if one.begin is None else one.begin._asdict() for one in begun],
              "best_epoch": fits.best_epoch[ended].tolist(), "lanes": fits.lanes[ended].tolist(),
              "sizes": [jobs[k].network._theta.size for k in ended],
              "positions": [jobs[k].network._positions._asdict() for k in ended]}
    thetas = [jobs[k].network._theta.astype(np.float64) for k in ended]
    starts = [one.start.astype(np.float64) for one in begun]
    arrays = {"theta": np.concatenate(thetas) if thetas else np.zeros(0), "seconds": fits.seconds[ended],
              "start": np.concatenate(starts) if starts else np.zeros(0)}
    arrays |= {name: getattr(fits, name)[ended] for name in CURVES}
    _files.write(path, header, {name: np.ascontiguousarray(array) for name, array in arrays.items()})


def _read(path, n):
    """Read the checkpoint of a call with n networks.

    Return Fits, parameters and stream positions, the latter two as lists of n.

    Entries are None for networks that had not ended. Raise ValueError if the file is damaged or of other networks.
    """
    header, arrays = _files.read(path)
    try:
        if header["kind"] != "Fits":
            raise ValueError(f"it holds a {header['kind']}")
        if header["of"] != n:
            raise ValueError(f"it holds {header['of']} networks, not {n}")
        ended, sizes = ([int(number) for number in header[name]] for name in ("ended", "sizes"))
        parts = np.split(arrays["theta"], np.cumsum(sizes)[:-1]) if sizes else []
        fits, thetas, positions = Fits._empty([None] * n), [None] * n, [None] * n
        fits._begun = [None] * n if "runs" in header else None
        given = header.get("positions") or [None] * len(ended)
        lengths = [len(parts), len(header["stopped"]), len(arrays["seconds"]), len(given)]
        if lengths != [len(ended)] * 4 or sum(sizes) != arrays["theta"].size:
            raise ValueError("its parts do not belong together")
        begun = _read_begun(header, arrays, ended, sizes)
        for i, k in enumerate(ended):
            thetas[k], positions[k] = parts[i], _batches.Positions.read(given[i])
            if begun is not None:
                fits._begun[k] = begun[i]
            fits._write(k, Found(parts[i], str(header["stopped"][i]), int(header["best_epoch"][i]),
                                  float(arrays["seconds"][i]), bool(header["lanes"][i]),
                                  {name: arrays[name][i] for name in CURVES}, positions[k]))
    except _checkpoint.DAMAGES as error:
        raise ValueError(f"checkpoint {os.fspath(path)!r} is no checkpoint of these networks: {error}") from None
    return fits, thetas, positions


def _read_begun(header, arrays, ended, sizes):
    """Return a list of Begun for the finished runs of a checkpoint, or None for files of earlier versions.

    `header` and `arrays` are those of the file. `ended` has the indices of the finished networks and `sizes` their numbers of
    parameters.
    """
    if "runs" not in header:
        return None
    runs = [_options.completed(json.loads(run)) for run in header["runs"]]  # earlier versions did not have all options
    which, seeds = header["run"], header["seeds"]
    if (len(which), len(seeds), arrays["start"].shape, arrays["start"].dtype) != (
            len(ended), len(ended), arrays["theta"].shape, np.float64) or any(
            type(seed) is not int or seed < 0 for seed in seeds):
        raise ValueError("its parts do not belong together")
    starts = np.split(arrays["start"], np.cumsum(sizes)[:-1]) if sizes else []
    begins = [None if begin is None else _batches.Positions.read(begin)
              for begin in header.get("begins", [None] * len(ended))]  # absent from files of earlier versions
    if len(begins) != len(ended):
        raise ValueError("its parts do not belong together")
    return [Begun(runs[run], start, seed, begin) for run, start, seed, begin in zip(which, starts, seeds, begins)]
