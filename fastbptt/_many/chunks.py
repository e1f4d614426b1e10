"""Chunks: which jobs form a population in lanes, and which jobs one worker gets at a time.

The limits that decide this are here, with their measurements.
"""

from __future__ import annotations

import dataclasses
import math
import os
from dataclasses import dataclass

from .. import optimizers, _population
from ..population import Population
from .jobs import OTHERS
from .lanes import _fits_lanes, _shape_key, most_sequences

# The least work of a chunk that is sent to a worker, in seconds of the estimate below. Sending a chunk to a process costs time:
# 1, 4, 4 and 117 ms for 1, 16, 128 and 1024 networks of 41 parameters and 50 targets each. This is the minimum of nine runs;
# the median is several times as much (ProcessPoolExecutor; Intel, with other work on its two cores, 2026-11).
LEAST_SECONDS = 0.05
FLOPS = 2e9           # per second, of one core with small networks
CHUNKS_A_WORKER = 4   # so that workers finish at about the same time
MOST_BYTES = 2**28    # of data that a population copies for its lanes
SHORT = 0.75          # shorter series, relative to the longest, form another population if they fill a vector


@dataclass(eq=False)
class Chunk:
    """The jobs that one worker gets at a time."""

    jobs: list
    in_lanes: bool
    threads: int | None

    def work(self):
        """Return what the worker gets: a _ChunkWork without the arguments that only the caller needs.

        Networks in lanes are one population, because single networks take long to unpickle.
        """
        if not self.in_lanes:
            return _ChunkWork(None, self.jobs, self.threads)
        population = Population._of_one_shape([job.network for job in self.jobs])
        population.seeds = [job.seed for job in self.jobs]
        population._positions = [job.begin for job in self.jobs]
        jobs = [dataclasses.replace(job, network=None, settings=self.jobs[0].settings) for job in self.jobs]
        return _ChunkWork(population, jobs, self.threads)


@dataclass(eq=False)
class _ChunkWork:
    population: Population | None
    jobs: list
    threads: int | None


def _group_key(job):
    """Return what the jobs of one population share, as a hashable key, or None if the job does not fit into lanes."""
    net, settings = job.network, job.settings
    if job.data is None or job.data.resets is not None or job.validation is not None and job.validation[4] is not None:
        return None
    if any(name in settings for name in (*OTHERS, "callbacks")) or type(job.optimizer) not in optimizers.OPTIMIZERS.values():
        return None
    if not _population.lanes(net.dtype) or not _fits_lanes(net) or settings["schedule"].begin() != ():
        return None
    X, D, weights, initial_state, lengths, _ = job.data
    if min(X.shape[1], settings["batch_size"]) > most_sequences(net):
        return None
    if initial_state is not None and settings["batch_size"] < X.shape[1]:
        return None
    parts = [(X.shape[1], D.ndim, D.dtype.kind, None if weights is None else weights.ndim, initial_state is None)]
    if job.validation is not None:
        X, D, weights, lengths, _ = job.validation
        parts.append((X.shape[1], D.ndim, D.dtype.kind, None if weights is None else weights.ndim))
    try:
        optimizer = dataclasses.replace(job.optimizer, learning_rate=1.0)
        hash((optimizer, settings["schedule"]))
    except TypeError:
        return None
    return _shape_key(net), tuple(parts), optimizer, tuple(settings.items())


def _divide_into_chunks(jobs, workers, chunk_size, threads):
    """Return the jobs as a list of Chunks, the longest work first.

    `workers` is the number of chunks that run at once, or None without an executor. `chunk_size` is the argument of fit_many,
    and `threads` the number of threads of each worker.
    """
    groups, alone = {}, []
    for job in jobs:
        key = _group_key(job)
        alone.append(job) if key is None else groups.setdefault(key, []).append(job)
    made = []
    for group in groups.values():
        L = _population.lanes(group[0].network.dtype)
        for part in _split_by_length(group, L):
            size = _networks_per_chunk(part, L, workers, chunk_size)
            made += [Chunk(part[i:i + size], True, threads) for i in range(0, len(part), size)]
    size = _networks_per_chunk(alone, 1, workers, chunk_size) if alone else 1
    alone.sort(key=_estimated_seconds, reverse=True)
    made += [Chunk(alone[i:i + size], False, threads) for i in range(0, len(alone), size)]
    return made if workers is None else sorted(made, key=lambda chunk: -sum(map(_estimated_seconds, chunk.jobs)))


def _split_by_length(group, L):
    """Yield parts of a group of jobs whose series have about one length. L is the number of lanes of a vector.

    Jobs that share data stay together if they fill a vector.
    """
    same = {}
    for job in group:
        same.setdefault((id(job.data.X), id(job.data.D)), []).append(job)
    if len(same) > 1:
        yield from (part for part in same.values() if len(part) >= L)
    rest = sorted((job for part in same.values() if len(same) == 1 or len(part) < L for job in part), key=_number_of_steps,
                  reverse=True)
    begin = 0
    for i in range(1, len(rest) + 1):
        if i == len(rest) or i - begin >= L and _number_of_steps(rest[i]) < SHORT * _number_of_steps(rest[begin]):
            yield rest[begin:i]
            begin = i


def _number_of_steps(job):
    """Return T of a job's data."""
    return len(job.data.X)


def _estimated_seconds(job):
    """Estimate the seconds of a job on one core: loss and gradient take 6 flops per parameter, step and sequence."""
    epochs = 100 if job.settings["epochs"] is None else job.settings["epochs"]
    rows = 1e4 if job.data is None else job.data.X.shape[0] * job.data.X.shape[1]
    return epochs * rows * 6 * job.network._theta.size / FLOPS


def _networks_per_chunk(jobs, L, workers, chunk_size):
    """Return the number of networks per chunk: whole vectors of L networks, with the population's data below MOST_BYTES.

    The jobs form one group. A chunk for one of several `workers` (None without an executor) must also be long enough to be
    worth sending. `chunk_size`, the argument of fit_many, overrides all this.
    """
    if chunk_size is not None:
        return chunk_size
    most, data = len(jobs), jobs[0].data
    if L > 1 and any(job.data.X is not data.X or job.data.D is not data.D for job in jobs):
        arrays = (*data, *(jobs[0].validation or ()))
        most = max(L, MOST_BYTES // max(1, sum(array.nbytes for array in arrays if array is not None)) // L * L)
    if workers is None:
        return most
    each = max(1e-9, sum(map(_estimated_seconds, jobs)) / len(jobs))
    size = max(math.ceil(len(jobs) / (CHUNKS_A_WORKER * workers)), math.ceil(LEAST_SECONDS / each))
    return min(most, -(-size // L) * L)


def _number_of_workers(executor):
    """Return how many chunks an executor computes at once, as far as its attributes tell."""
    for name in ("_max_workers", "num_workers"):  # the standard library and loky; mpi4py
        count = getattr(executor, name, None)
        if isinstance(count, int) and count > 0:
            return count
    client = getattr(executor, "_client", None)  # Dask
    if hasattr(client, "ncores"):
        return max(1, sum(client.ncores().values()))
    return os.cpu_count() or 1
