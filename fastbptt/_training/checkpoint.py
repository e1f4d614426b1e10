"""Checkpoints: the state of a training run in a model file. `fastbptt.load` reads the file as the network of that moment.

A new number of `State` is kept if `State.NUMBERS` names it. A new array needs a line in `write` and in `_contents`.
"""

from __future__ import annotations

import functools
import hashlib
import json
import os
from dataclasses import dataclass
from typing import Any

import numpy as np

from .. import _files, _checks
from .batches import Positions

PREFIX = "run."  # prefix of all arrays except the network's parameters
# Errors that a damaged or forged header can cause in the code that reads it
DAMAGES = (KeyError, TypeError, ValueError, AttributeError, IndexError, OverflowError, RecursionError)
WHOLE = ("epoch", "batch", "updates", "skipped", "averaged")  # numbers that are counts
FINISHED = ("epochs", "updates", "patience", "callback")  # reasons of a run that finished; other runs were cut off
RANKS_DIGITS = 36  # of fingerprints of data divided among ranks; one process computes fingerprints in another way


_word = functools.cache(str)  # str of a NumPy dtype takes longer than the digest of a small array


@dataclass(frozen=True)
class Call:
    """What a call of fit asks for. The run in a checkpoint must agree with it.

    Attributes
    ----------
    identity : dict
        Options, and fingerprints of data, that a run shares with its checkpoint.
    seed : int or None
        The seed with which the call would begin; None if seeds are not compared.
    begin : Positions
        The positions of the random streams at which the call would begin.
    used : Positions
        1 for each random stream on which the run depends, and 0 for the others.
    most_updates : int
        The number of updates after which the call ends.
    updates_per_epoch : int
    """

    identity: dict[str, Any]
    seed: int | None
    begin: Positions
    used: Positions
    most_updates: int
    updates_per_epoch: int


def path(value):
    """Return `value` as an absolute path. Raise FileNotFoundError if its folder does not exist."""
    value = os.path.abspath(_files.path_of(value, "checkpoint"))
    if not os.path.isdir(os.path.dirname(value)):
        raise FileNotFoundError(f"checkpoint must be in an existing folder: there is no folder {os.path.dirname(value)!r}")
    return value


def digest(arrays):
    """Return a fingerprint of some arrays, 32 hexadecimal digits. It depends on shapes and dtypes too. None is skipped."""
    total = hashlib.blake2b(digest_size=16)
    for array in arrays:
        if array is not None:
            total.update(f"{_word(array.dtype)}{array.shape}".encode())
            total.update(np.ascontiguousarray(array).data)
    return total.hexdigest()


def seed(path, otherwise):
    """Return the seed of the run in the checkpoint `path`, or `otherwise` if there is no such file.

    A resumed run splits off its validation set and orders its sequences with this seed.
    """
    return streams(path, otherwise, None)[0]


def streams(path, entropy, begin):
    """Return the seed of the run in the checkpoint `path`, and the Positions of its random streams when the run began.

    A resumed run then draws the same orders, batches and noise. Without such a file, and for a file that keeps no seed, return
    the arguments `entropy` (a seed) and `begin` (Positions). Raise ValueError for a damaged file.
    """
    if not os.path.exists(path):
        return entropy, begin
    run = _files.read(path)[0].get("run")
    if not isinstance(run, dict) or type(run.get("entropy")) is not int:
        return entropy, begin
    try:
        return run["entropy"], Positions.read(run.get("begin"))
    except DAMAGES as error:
        raise ValueError(f"{path!r} is a damaged checkpoint: {error}") from error


def write(path, network, state, history, *, entropy, identity, seconds, start, begin):
    """Write the checkpoint of a run.

    Parameters
    ----------
    path : str
    network : RNN
    state : State
    history : History
    entropy : int
        The seed of the run.
    identity : dict
        Options and fingerprints that a run must share to resume this one.
    seconds : float
        Time that the run has taken so far.
    start : array (P,)
        The parameters with which the run began.
    begin : Positions
        The positions of the random streams at the start of the run.
    """
    numbers = {name: getattr(state, name) for name in state.NUMBERS} | {"seconds": seconds}
    header = network._header() | {"kind": "Checkpoint", "run": {
        "identity": identity, "entropy": entropy, "stopped": history.stopped, "slots": len(state.slots), "numbers": numbers,
        "begin": begin._asdict()}}
    arrays = {f"{PREFIX}slot_{n}": slot for n, slot in enumerate(state.slots)} | {f"{PREFIX}start": start}
    if state.best_theta is not None:
        arrays[f"{PREFIX}best_theta"] = state.best_theta
    if state.states is not None:
        arrays[f"{PREFIX}states"] = state.states.reshape(-1, network._kept_width)
    for name in history.CURVES:
        arrays[PREFIX + name] = np.array(getattr(history, name)[:state.epoch], np.float64)
    _files.write(path, header, network._arrays(state.theta) | arrays)


def read(path, network, state, history, call, *, windows=None, content=None):
    """Read a checkpoint into state and history. Return the run's start parameters, or None if there is no file.

    Parameters
    ----------
    path : str
    network : RNN
    state : State
        It holds the network's current parameters.
    history : History
    call : Call
    windows : Windows, optional
        The source of batches, if it carries states from one batch to the next.
    content : bytes, optional
        The content of the file, if it has already been read.

    Raises
    ------
    ValueError
        If the file is no checkpoint, is damaged, or belongs to another network or another run. Nothing is changed then.
    """
    if content is None and not os.path.exists(path):
        return None
    header, arrays, theirs = _open(path, network, call.identity, content)
    run = header["run"]
    try:
        numbers, slots, best, curves = _contents(run, arrays, state, history)
        shape = None if windows is None else windows.carried_shape(numbers["batch"])
        states = None
        if shape is not None:  # (n, B)
            width = network._kept_width
            states = np.empty((*shape, width), network.dtype)
            kept = _with_starts(arrays[f"{PREFIX}states"], network, arrays)
            states[...] = _checked_array(kept, states.reshape(-1, width)).reshape(states.shape)
        start, begun = _start_parameters(arrays, state), _begun_at(run, call.used)
    except DAMAGES as error:
        raise ValueError(f"{path!r} is a damaged checkpoint: {error}") from error
    if call.seed is not None:
        if _compare_begin(path, run, start, [theirs._theta, best], network, state.theta, call.seed):
            _compare_positions(path, run, begun, theirs._positions.where(call.used), call.begin.where(call.used))
    _refuse_longer_run(path, numbers, call)
    for name, value in numbers.items():
        setattr(state, name, value)
    state.theta[...] = theirs._theta
    state.best_theta, state.states = best, states
    for copy, slot in zip(state.slots, slots):
        copy[...] = slot
    for name, curve in curves.items():
        setattr(history, name, curve)
    if isinstance(network._entropy, _checks.DrawnSeed):  # the network is now the one that began the run
        network._entropy = _checks.DrawnSeed(header["entropy"])
    network._positions = (theirs._positions if theirs._entropy == network._entropy
                          else network._positions.later(theirs._positions))
    return start


def check_replaceable(path, network, state, call):
    """Raise FileExistsError unless the run of these arguments may write its checkpoints to `path`.

    It may if there is no file or an empty file, or if the file is the run's own earlier checkpoint. `call` is the Call that
    describes the run, and `state` its first State.
    """
    if not os.path.isfile(path) or os.path.getsize(path) == 0:  # a device keeps nothing, so writing loses nothing
        return
    try:
        header, arrays, _ = _open(path, network, call.identity, None)
        run = header["run"]
        try:
            numbers, start, begun = dict(run["numbers"]), _start_parameters(arrays, state), _begun_at(run, call.used)
            position = {name: int(numbers[name]) for name in ("epoch", "batch")}
        except DAMAGES as error:
            raise ValueError(f"{path!r} is a damaged checkpoint: {error}") from error
        if run.get("entropy") != call.seed:
            which = ("its random seed is not this network's, which was drawn: give random_state=, so that a repeated script "
                     "has the same seed" if isinstance(call.seed, _checks.DrawnSeed)
                     else f"random_state is {run.get('entropy')} there and {call.seed} here")
            raise ValueError(f"checkpoint {path!r} is of another run: {which}")
        if start is not None and not is_close(start, state.theta):
            raise ValueError(f"checkpoint {path!r} is of a run that began with other parameters; resume=True continues it if "
                             "it is this network's own")
        if begun is not None and begun != call.begin.where(call.used):
            raise ValueError(f"checkpoint {path!r} {_began_elsewhere(begun, call.begin.where(call.used))}")
        _refuse_longer_run(path, position, call)
    except ValueError as error:
        raise not_replaced(error) from error


def not_replaced(error):
    """Return the FileExistsError that says why a checkpoint is not replaced, and what the user can do.

    `error` is the exception that found the file to be no checkpoint of this run.
    """
    words = f"{error}" if f"{error}".startswith("checkpoint ") else f"checkpoint {error}"
    return FileExistsError(f"{words}. It is not replaced: give checkpoint= another path, or overwrite=True")


def _open(path, network, identity, content):
    """Return header, arrays and network of a checkpoint, which must be of this network and this run.

    `identity` is that of the current call. `content` holds the bytes of the file if it has already been read. Raise
    ValueError for another kind of file, a damaged one, or one of another network or run.
    """
    header, arrays = _files.read(path, content)
    if header.get("kind") != "Checkpoint":
        raise ValueError(f"checkpoint {path!r} holds a model, not the checkpoint of a run: fastbptt.load reads it")
    try:
        theirs, identities = network._from_header(header, arrays), dict(header["run"]["identity"])
    except DAMAGES as error:
        raise ValueError(f"{path!r} is a damaged checkpoint, or one of another version: {error}") from error
    _compare(path, "network", theirs._config, network._config)
    _compare(path, "run", identities, identity)
    try:
        theirs.load_state_dict({name: array for name, array in arrays.items() if "." not in name})
    except DAMAGES as error:
        raise ValueError(f"{path!r} is a damaged checkpoint: {error}") from error
    return header, arrays, theirs


def _start_parameters(arrays, state):
    """Return the parameters with which the run began, from the arrays of its file, or None for files of earlier versions."""
    start = arrays.get(f"{PREFIX}start")
    return None if start is None else _checked_array(start, state.theta).copy()


def _begun_at(run, used):
    """Return the Positions at which the run began, 0 for streams it does not use, or None for files of earlier versions.

    `run` is the header's entry of that name. `used` comes from `used_streams`.
    """
    return None if run.get("begin") is None else Positions.read(run["begin"]).where(used)


def _compare_begin(path, run, start, later, network, theta, seed):
    """Return whether the network has only the start parameters of a run. The positions of its streams then count.

    Raise ValueError unless a network with these parameters and this seed may continue the run. It may with the run's seed and
    start parameters, and with parameters that the run has reached (`later`).

    A network without a given seed starts with other parameters each time its script runs. It may continue a run that was
    cut off, because nothing shows that this is another run. It may not continue a run that finished. Otherwise, in a loop
    over such networks, every network would become the first one.
    """
    if not isinstance(seed, _checks.DrawnSeed) and run["entropy"] != seed:
        raise ValueError(f"checkpoint {path!r} is of another run: random_state is {run['entropy']} there and {seed} here. "
                         "Give each run a checkpoint of its own")
    if start is None or any(each is not None and is_close(each, theta) for each in later):
        return False
    if is_close(start, theta):
        return True
    if not isinstance(network._entropy, _checks.DrawnSeed):
        raise ValueError(f"checkpoint {path!r} is of another run, which began with other parameters than this network has. "
                         "Give each run a checkpoint of its own, or continue from fastbptt.load of this one")
    if run.get("stopped") in FINISHED:
        raise ValueError(f"checkpoint {path!r} is of a finished run (it stopped by {run['stopped']!r}), which began with "
                         "other parameters than this network has. Give each run a checkpoint of its own; give the network a "
                         "random_state, so that a repeated script begins with the same parameters; or continue from "
                         "fastbptt.load of this checkpoint")
    return False


def _compare_positions(path, run, begun, ended, begin):
    """Raise ValueError unless a network with the start parameters of a run is at a position from which it may continue.

    `begun` holds the positions where the run began, or None if the file does not say. `ended` holds those where it stands, and
    `begin` those of this call.
    """
    if begun is not None and not may_go_on(begun, ended, begin, run.get("stopped") in FINISHED):
        raise ValueError(f"checkpoint {path!r} {_began_elsewhere(begun, begin)}. Give each run a checkpoint of its own")


def may_go_on(begun, ended, begin, finished):
    """Return whether a network with the start parameters of a run may continue that run. The arguments are Positions.

    The network's streams are at `begin`. It may continue at the position where the run began (`begun`), and at 0, as a
    network in another process. It may at the position where the run ended (`ended`) only if the run was cut off (not
    `finished`). Otherwise, in a loop that sets the start parameters again, every run would be the first.
    """
    return begin in (begun, Positions()) or begin == ended and not finished


def _began_elsewhere(begun, begin):
    """Return the part of an error message that names where the file's run began, `begun`, and where this call begins, `begin`.

    Both are Positions.
    """
    return ("is of another run, which began with the same parameters at other stream_positions: "
            f"{begun._asdict()} there and {begin._asdict()} here")


def is_close(a, b):
    """Return whether the parameters a and b, two arrays, are equal except for rounding.

    Initialisers use LAPACK, which rounds differently on other machines.
    """
    eps = max(np.finfo(a.dtype).eps, np.finfo(b.dtype).eps)
    return a.shape == b.shape and bool((np.abs(a - b) <= np.sqrt(eps) * np.abs(a).max(initial=0)).all())


def _refuse_longer_run(path, numbers, call):
    """Raise ValueError if the run in a checkpoint has made more updates than the call would make.

    `numbers` has the file's "epoch" and "batch". `call` is the checkpoint's Call.
    """
    there = numbers["epoch"] * call.updates_per_epoch + numbers["batch"]
    if there > call.most_updates:
        raise ValueError(f"checkpoint {path!r} is of a longer run: it has made {there} updates, and epochs= and updates= "
                         f"end this run after {call.most_updates}")


def _with_starts(kept, network, arrays):
    """Return the kept states of a checkpoint in the current width, with an S_0 for each sequence.

    `kept` is the array "states" of the file, one row per sequence and step. Files of version 0.1 do not hold the S_0 of that
    time. The S_0 among the parameters in `arrays` stands in for it.
    """
    if "S_0" not in network._kept_parts or kept.ndim != 2 or kept.shape[1] != network._kept_width - sum(network._widths):
        return kept
    S_0 = np.concatenate([arrays[name] for name in network.parameters if name.startswith("S_0")])
    return np.concatenate([kept, np.tile(S_0, (len(kept), 1))], axis=1)


def _contents(run, arrays, state, history):
    """Return the checked numbers, slots, best parameters (or None) and curves of a checkpoint.

    `run` is the header's entry of that name, and `arrays` are those of the file. `state` and `history` are those of the
    current run, whose slots and curves give the expected shapes. Any error in the file raises one of DAMAGES, which `read`
    turns into a message.
    """
    numbers = {"owed": (), "refused": False} | dict(run["numbers"])  # absent from files of earlier versions
    if set(numbers) != set(state.NUMBERS):
        raise ValueError("it does not hold the numbers of a run")
    for name in WHOLE:
        if type(numbers[name]) is not int or numbers[name] < 0:
            raise ValueError(f"{name} is {numbers[name]!r}")
    for name in set(numbers) - {*WHOLE, "carried", "best_epoch", "target_epoch", "owed", "refused"}:
        if type(numbers[name]) not in (int, float):
            raise ValueError(f"{name} is {numbers[name]!r}")
    numbers["carried"], numbers["owed"] = tuple(numbers["carried"]), tuple(numbers["owed"])
    if numbers["owed"] and (len(numbers["owed"]) != 6 or numbers["owed"][0] not in ("callbacks", "update_callbacks")):
        raise ValueError(f"owed must be a call of callbacks, got {numbers['owed']}")
    if type(numbers["refused"]) is not bool or numbers["refused"] > bool(numbers["owed"]):
        raise ValueError(f"refused must be a bool, and True only with owed callbacks, got {numbers['refused']!r}")
    if type(run["entropy"]) is not int or not isinstance(run.get("stopped", ""), str):
        raise ValueError(f"seed and end must be an int and a string, got {run['entropy']!r} and {run.get('stopped')!r}")
    if run["slots"] != len(state.slots):
        raise ValueError(f"slots must be {len(state.slots)}, as the optimiser has, got {run['slots']}")
    slots = [_checked_array(arrays[f"{PREFIX}slot_{n}"], slot) for n, slot in enumerate(state.slots)]
    best = arrays.get(f"{PREFIX}best_theta")
    curves = {name: arrays[PREFIX + name].tolist() for name in history.CURVES}
    for name, curve in curves.items():
        if arrays[PREFIX + name].ndim != 1 or len(curve) != numbers["epoch"] and name != "validation_loss":
            raise ValueError("its history must be as long as its run")
    return numbers, slots, None if best is None else _checked_array(best, state.theta).copy(), curves


def _checked_array(array, expected):
    """Return `array`. Raise ValueError unless it has the shape and dtype of the array `expected`."""
    if array.shape != expected.shape or array.dtype != expected.dtype:
        raise ValueError(f"an array must have shape {expected.shape} and dtype {expected.dtype}, got {array.shape} and "
                         f"{array.dtype}")
    return array


def _compare(path, what, theirs, ours):
    """Raise ValueError if the dicts `theirs` (of the file) and `ours` (of the call) differ. `what` is "network" or "run".

    Runs with a communicator and without one fingerprint their data in different ways. If only this differs, the message says
    so.
    """
    differ = differences(theirs, ours)
    by_ranks = [any(len(str(each.get(name))) == RANKS_DIGITS for name in ("data", "validation")) or "ranks" in each
                for each in (theirs, ours)]
    if what == "run" and by_ranks[0] != by_ranks[1]:  # the fingerprints are of two kinds
        for name in ("data", "validation"):
            if name in theirs and name in ours:
                differ.pop(name, None)
        differ.pop("ranks", None)
        if not differ:
            how = ("with a communicator, and only such a run can resume it: in one process give "
                   "communicator=mpi4py.MPI.COMM_SELF, which has one rank") if by_ranks[0] else (
                   "without a communicator, and only such a run can resume it: give none")
            if theirs.get("ranks", 1) != 1:
                how += f"; {theirs['ranks']} ranks draw its batches, and it requires as many"
            raise ValueError(f"checkpoint {path!r} was written by a run {how}")
    if differ:
        raise ValueError(f"checkpoint {path!r} is of another {what}: " + "; ".join(differ.values()))


def differences(theirs, ours):
    """Return a message "NAME is ... there and ... here" for each entry in which the dicts `theirs` and `ours` differ.

    The messages are in a dict by NAME. Arrays are compared by fingerprints.
    """
    ours, theirs = (json.loads(to_json(each)) for each in (ours, theirs))  # JSON has no tuples, only lists
    return {name: f"{name} is {theirs.get(name)!r} there and {ours.get(name)!r} here"
            for name in sorted(set(ours) | set(theirs)) if ours.get(name) != theirs.get(name)}


def to_json(run):
    """Return the dict `run` of options as JSON, with a fingerprint in place of each array."""
    return json.dumps(run, default=_json_value)


def _json_value(value):
    """Return what stands for `value` in JSON: a number for a NumPy number, a fingerprint for an array, else its repr."""
    if isinstance(value, np.generic):
        return value.item()
    return f"array {value.shape} {digest([value])}" if isinstance(value, np.ndarray) else repr(value)
