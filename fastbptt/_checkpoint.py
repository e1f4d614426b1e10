"""Checkpoints: the state of a training run in a model file, which `fastbptt.load` reads as the network of that moment."""

from __future__ import annotations

import hashlib
import json
import os

import numpy as np

from . import _files
from ._batches import Positions

PREFIX = "run."  # of all arrays that are not the network's parameters
# What a header of somebody's making leads to, in the code that believes it
DAMAGES = (KeyError, TypeError, ValueError, AttributeError, IndexError, OverflowError, RecursionError)
WHOLE = ("epoch", "batch", "updates", "skipped", "averaged")  # numbers that count


def path(value):
    """`value` as a path, in a folder that is there."""
    value = os.path.abspath(_files.path_of(value, "checkpoint"))
    if not os.path.isdir(os.path.dirname(value)):
        raise FileNotFoundError(f"there is no folder {os.path.dirname(value)!r} for the checkpoint")
    return value


def digest(arrays):
    """A fingerprint of arrays, their shapes and dtypes."""
    total = hashlib.blake2b(digest_size=16)
    for array in arrays:
        if array is not None:
            total.update(f"{array.dtype}{array.shape}".encode())
            total.update(np.ascontiguousarray(array).data)
    return total.hexdigest()


def seed(path, otherwise):
    """The seed of the run that `path` holds, whose split and order a resumed one has; `otherwise` where it holds none."""
    return streams(path, otherwise, None)[0]


def streams(path, entropy, begin):
    """Return the seed of the run that `path` holds and the positions where it began; those given where it holds none."""
    if not os.path.exists(path):
        return entropy, begin
    run = _files.read(path)[0].get("run")
    if not isinstance(run, dict) or type(run.get("entropy")) is not int:
        return entropy, begin
    try:
        return run["entropy"], Positions.read(run.get("begin"))
    except DAMAGES as error:
        raise ValueError(f"{path!r} is a damaged checkpoint: {error}") from error


def write(path, network, state, history, entropy, identity, seconds, begin):
    """Write where a run stands: its training.State and History, its seed, and what a run that goes on must share.

    `begin` holds the positions of the random streams at the start of the run.
    """
    numbers = {name: getattr(state, name) for name in state.NUMBERS} | {"seconds": seconds}
    header = network._header() | {"kind": "Checkpoint", "run": {"identity": identity, "entropy": entropy,
                                                                "slots": len(state.slots), "numbers": numbers,
                                                                "begin": begin._asdict()}}
    arrays = {f"{PREFIX}slot_{n}": slot for n, slot in enumerate(state.slots)}
    if state.best_theta is not None:
        arrays[f"{PREFIX}best_theta"] = state.best_theta
    if state.states is not None:
        arrays[f"{PREFIX}states"] = state.states.reshape(-1, network._kept_width)
    for name in history.CURVES:
        arrays[PREFIX + name] = np.array(getattr(history, name)[:state.epoch], np.float64)
    _files.write(path, header, network._arrays(state.theta) | arrays)


def read(path, network, state, history, identity, windows=None, content=None):
    """Put what `write` wrote into state and history; nothing where there is no file.

    `windows` is the source of batches whose states are carried from one to the next, where it is one; `content` the bytes of
    the file, where they are at hand.

    Raises
    ------
    ValueError : no checkpoint, a damaged one, or one of another network or another run; nothing is changed then.
    """
    if content is None and not os.path.exists(path):
        return
    header, arrays = _files.read(path, content)
    if header.get("kind") != "Checkpoint":
        raise ValueError(f"{path!r} holds a model, not the checkpoint of a run: fastbptt.load reads it")
    try:
        theirs, identities = network._from_header(header, arrays), dict(header["run"]["identity"])
    except DAMAGES as error:
        raise ValueError(f"{path!r} is a damaged checkpoint, or one of another version: {error}") from error
    _compare(path, "network", theirs._config, network._config)
    _compare(path, "run", identities, identity)
    try:
        numbers, slots, best, curves = _contents(header["run"], arrays, state, history)
        shape = None if windows is None else windows.shape(numbers["batch"])
        states = None
        if shape is not None:  # (n, B)
            width = network._kept_width
            states = np.empty((*shape, width), network.dtype)
            states[...] = _like(arrays[f"{PREFIX}states"], states.reshape(-1, width)).reshape(states.shape)
        theirs.load_state_dict({name: array for name, array in arrays.items() if "." not in name})
    except DAMAGES as error:
        raise ValueError(f"{path!r} is a damaged checkpoint: {error}") from error
    for name, value in numbers.items():
        setattr(state, name, value)
    network._positions = (theirs._positions if theirs._entropy == network._entropy
                          else network._positions.later(theirs._positions))
    state.theta[...] = theirs._theta
    state.best_theta, state.states = best, states
    for mine, its in zip(state.slots, slots):
        mine[...] = its
    for name, curve in curves.items():
        setattr(history, name, curve)


def _contents(run, arrays, state, history):
    """Numbers, slots, best parameters and curves of a checkpoint, each held against what it must be."""
    numbers = {"owed": ()} | dict(run["numbers"])  # which files of earlier versions do not have
    if set(numbers) != set(state.NUMBERS):
        raise ValueError("its numbers are not those of a run")
    for name in WHOLE:
        if type(numbers[name]) is not int or numbers[name] < 0:
            raise ValueError(f"{name} is {numbers[name]!r}")
    for name in set(numbers) - {*WHOLE, "carried", "best_epoch", "target_epoch", "owed"}:
        if type(numbers[name]) not in (int, float):
            raise ValueError(f"{name} is {numbers[name]!r}")
    numbers["carried"], numbers["owed"] = tuple(numbers["carried"]), tuple(numbers["owed"])
    if numbers["owed"] and (len(numbers["owed"]) != 6 or numbers["owed"][0] not in ("callbacks", "update_callbacks")):
        raise ValueError(f"it owes {numbers['owed']}")
    if run["slots"] != len(state.slots):
        raise ValueError(f"{run['slots']} slots, where the optimiser has {len(state.slots)}")
    slots = [_like(arrays[f"{PREFIX}slot_{n}"], slot) for n, slot in enumerate(state.slots)]
    best = arrays.get(f"{PREFIX}best_theta")
    curves = {name: arrays[PREFIX + name].tolist() for name in history.CURVES}
    for name, curve in curves.items():
        if arrays[PREFIX + name].ndim != 1 or len(curve) != numbers["epoch"] and name != "validation_loss":
            raise ValueError("its history is not as long as its run")
    return numbers, slots, None if best is None else _like(best, state.theta).copy(), curves


def _like(array, expected):
    if array.shape != expected.shape or array.dtype != expected.dtype:
        raise ValueError(f"an array of shape {array.shape} and dtype {array.dtype} stands for {expected.shape}, "
                         f"{expected.dtype}")
    return array


def _compare(path, what, theirs, ours):
    ours, theirs = (json.loads(json.dumps(each, default=_in_words)) for each in (ours, theirs))  # no tuples but lists
    differ = [name for name in sorted(set(ours) | set(theirs)) if ours.get(name) != theirs.get(name)]
    if differ:
        raise ValueError(f"checkpoint {path!r} is of another {what}: " + "; ".join(
            f"{name} is {theirs.get(name)!r} there and {ours.get(name)!r} here" for name in differ))


def _in_words(array):
    return f"array {array.shape} {digest([array])}"
