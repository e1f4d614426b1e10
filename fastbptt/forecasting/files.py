"""Model files of `Forecaster`, in the format of `_files`: a header and arrays, without pickle."""

from __future__ import annotations

import numpy as np

from .. import _checks, _files
from . import frames as _frames
from .choice import LinearPath, Scale
from .frames import Axis, Series
from .model import Model, Settings, _Domain
from .paths import Filter, Smoothing
from .remainder import Ensemble, Remainder

KIND = "TableForecaster"  # "Forecaster" is the kind of the command's files


def save(forecaster, path):
    """Write a fitted Forecaster to one file."""
    model, arrays, parts = forecaster._model, {}, []
    for n, by_target in enumerate(model.paths):
        for k, each in enumerate(by_target):
            for j, (weight, scale, part) in enumerate(each.parts):
                smooth = isinstance(part, Smoothing)
                arrays[f"path.{n}.{k}.{j}"] = np.ascontiguousarray(part.constants if smooth else part.matrix, np.float64)
                parts.append([n, k, weight, scale.log, scale.mean, scale.deviation, part.season if smooth else 0])
    for n, series in enumerate(forecaster._series):
        arrays[f"values.{n}"] = np.ascontiguousarray(series.values, np.float64)
        arrays[f"errors.{n}"] = np.ascontiguousarray(model.errors[n].reshape(len(model.errors[n]), -1))
        if series.known is not None:
            arrays[f"known.{n}"] = np.ascontiguousarray(series.known, np.float64)
            arrays[f"effect.{n}"] = np.ascontiguousarray(model.effects[n], np.float64)
    s, remainder = model.settings, None
    if model.remainder is not None:
        r = model.remainder
        arrays |= {"scale": np.asarray(r.scale, np.float64), "sizes": np.asarray(r.sizes, np.float64)}
        arrays |= {f"theta.{k}": p.theta for k, p in enumerate(r.ensemble.populations)}
        remainder = {"factor": r.factor, "updates": r.updates, "gain": r.gain}
    id, time, known = forecaster._columns
    header = {"kind": KIND, "parts": parts, "remainder": remainder,
              "targets": [_plain("target", name) for name in forecaster.targets_],
              "columns": [_plain("id", id), _plain("time", time), [_plain("known", name) for name in known]],
              "ids": [_plain("ids", x.id) for x in forecaster._series],
              "axes": [_axis_header(x.axis) for x in forecaster._series], "shifts": [x.shift for x in forecaster._series],
              "settings": [s.horizon, list(s.seasons), list(s.cycles), s.members, s.hidden_size, s.cell, s.seed],
              "domains": [[[bool(d.log), d.least] for d in row] for row in model.domains],
              "arguments": {"horizon": forecaster.horizon, "season": forecaster.season, "members": forecaster.members,
                            "hidden_size": forecaster.hidden_size, "cell": forecaster.cell, "interval": forecaster.interval,
                            "fill": forecaster.fill, "random_state": forecaster.random_state}}
    _files.write(path, header, arrays)


def _plain(what, name):
    if name is None or isinstance(name, str):
        return name
    if isinstance(name, (int, np.integer)) and not isinstance(name, bool):
        return int(name)
    if isinstance(name, tuple):  # of a MultiIndex
        return [_plain(what, part) for part in name]
    raise TypeError(f"save requires {what} to be strings or whole numbers, got {type(name).__name__} {name!r}")


def _name(plain):
    """Return the name from which `_plain` made this one."""
    return tuple(map(_name, plain)) if isinstance(plain, list) else plain


def _axis_header(axis):
    if isinstance(axis.freq, int):
        return [axis.freq, int(axis.start), False]
    if axis.period:
        return [axis.start.freqstr, str(axis.start), True]
    zone = axis.start.tz and str(axis.start.tz)  # the start alone would only keep the offset of that day
    return [axis.freq.freqstr, str(axis.start), False, zone]


def _axis(header):
    freq, start, period, *zone = header
    if isinstance(freq, int):
        return Axis(freq, int(start))
    pd = _frames.pandas()
    if period:
        return Axis(pd.Period(start, freq=freq).freq, pd.Period(start, freq=freq), True)
    start = pd.Timestamp(start)
    if zone and zone[0] is not None:
        try:
            start = start.tz_convert(zone[0])
        except Exception as error:  # pandas, zoneinfo, pytz and dateutil each raise other ones
            raise ValueError(f"this system has no time zone {zone[0]!r}, which its times have") from error
    return Axis(pd.tseries.frequencies.to_offset(freq), start)


def load(kind, header, arrays):
    """Return the Forecaster of a file. Raise KeyError, TypeError or ValueError if its parts do not fit together."""
    options = dict(header["arguments"])
    forecaster = kind(options.pop("horizon"), **options)
    horizon, seasons, cycles, members, hidden_size, cell, seed = header["settings"]
    settings = Settings(_checks.size("horizon", horizon), tuple(_checks.size("season", m) for m in seasons),
                        tuple(_checks.number("cycle", c, 0) for c in cycles), _checks.size("members", members, smallest=0),
                        _checks.size("hidden_size", hidden_size), str(cell), int(seed))
    model, N, K = Model(settings), len(header["ids"]), len(header["targets"])
    if not N or not K or settings.horizon != forecaster.horizon:
        raise ValueError("it has no series or no target, or two horizons")
    found, counts = [[[] for _ in range(K)] for _ in range(N)], {}
    for n, k, weight, log, mean, deviation, season in header["parts"]:
        j = counts[n, k] = counts.get((n, k), -1) + 1
        values = _finite(arrays[f"path.{n}.{k}.{j}"])
        if season:
            if values.ndim != 2 or values.shape[0] != 4:
                raise ValueError(f"its smoothing has shape {values.shape}")
            part = Smoothing(_checks.size("season", season), values, settings.horizon)
        else:
            if values.ndim != 2 or len(values) < 2 or values.shape[1] != settings.horizon:
                raise ValueError(f"its filter has shape {values.shape}")
            part = Filter(values)
        found[n][k].append((float(weight), Scale(bool(log), float(mean), float(deviation)), part))
    if not all(parts for row in found for parts in row):
        raise ValueError("a series has no path")
    model.paths = [[LinearPath(tuple(parts)) for parts in row] for row in found]
    model.domains = [[_Domain(bool(log), float(least)) for log, least in row] for row in header["domains"]]
    model.errors = [arrays[f"errors.{n}"].astype(np.float64).reshape(-1, settings.horizon, K) for n in range(N)]
    id, time, known = map(_name, header["columns"])
    shifts = [int(shift) for shift in header.get("shifts", [0] * N)]
    series = []
    for n in range(N):
        values = _finite(arrays[f"values.{n}"]).astype(np.float64)
        more = _finite(arrays[f"known.{n}"]).astype(np.float64) if known else None
        if values.ndim != 2 or values.shape[1] != K or len(values) < model._first(n):
            raise ValueError(f"its series have shape {values.shape}")
        if known and (more.ndim != 2 or more.shape[1] != len(known) or len(more) < len(values)):
            raise ValueError(f"its known inputs have shape {more.shape}")
        series.append(Series(_name(header["ids"][n]), _axis(header["axes"][n]), values, more, shift=shifts[n]))
    if known:
        model.effects = [_finite(arrays[f"effect.{n}"]).astype(np.float64) for n in range(N)]
        if any(b.shape != (len(known), K) for b in model.effects):
            raise ValueError("the effects of its known inputs have another shape")
    own = header["remainder"]
    updates, share, gain = 0, 0.0, 0.0
    if own is not None:
        scale, sizes = _finite(arrays["scale"]), _finite(arrays["sizes"])
        if scale.ndim != 2 or len(scale) != N or sizes.shape != (N, settings.horizon * K):
            raise ValueError("its networks do not fit its series")
        ensemble = Ensemble.new(scale.shape[1], sizes.shape[1], settings)
        for k, population in enumerate(ensemble.populations):
            population.theta = _finite(arrays[f"theta.{k}"])
        updates, share, gain = int(own["updates"]), float(own["factor"]), float(own["gain"])
        model.remainder = Remainder(ensemble, share, scale, sizes, updates, gain)
    forecaster._model, forecaster._series, forecaster._columns = model, series, (id, time, list(known))
    forecaster.targets_, forecaster.ids_ = list(_name(header["targets"])), [x.id for x in series]
    forecaster.seasons_, forecaster.notes_ = settings.seasons, []
    forecaster.updates_, forecaster.share_, forecaster.gain_ = updates, share, gain
    return forecaster


def _finite(values):
    if not np.isfinite(values).all():
        raise ValueError("a number in it is not finite")
    return values
