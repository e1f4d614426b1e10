"""One call of fit_many. It computes chunks here or through an executor, takes results, and writes and reads checkpoints.

Add here what happens between the first chunk and the last.
"""

from __future__ import annotations

import concurrent.futures
import os
import time
import warnings

import numpy as np

from .. import _checks
from .._training import batches as _batches, checkpoint as _checkpoint
from .._training.progress import Progress
from .._estimators.base import Estimator
from .begun import Begun
from .chunks import Chunk, _divide_into_chunks, _number_of_workers
from .files import _read, write
from .results import CURVES, KEPT, Fits, WorkersFailed
from .work import Found, _train_chunk


class Call:
    """One call of fit_many, after its jobs are checked."""

    def __init__(self, fits, *, executor=None, chunk_size=None, progress=None, n_threads=None, checkpoint=None,
                 checkpoint_every=60, overwrite=False, depth=0):
        """Check the arguments of fit_many that concern the whole call.

        `fits` is an empty Fits, which receives the results. `depth` is the number of functions between the public one and the
        one that calls this object; warnings name the line of the user's call.
        """
        if executor is not None and not callable(getattr(executor, "submit", None)):
            raise TypeError(f"executor must be a concurrent.futures.Executor, got {type(executor).__name__}")
        self.fits, self.executor, self.depth = fits, executor, depth
        self.chunk_size = None if chunk_size is None else _checks.size("chunk_size", chunk_size)
        self.progress_wanted = None if progress is None else _checks.flag("progress", progress)
        self.threads = None if n_threads is None else _checks.size("n_threads", n_threads)
        if executor is not None and n_threads is None:
            self.threads = 1
        self.checkpoint = None if checkpoint is None else _checkpoint.path(checkpoint)
        self.checkpoint_every = _checks.number("checkpoint_every", checkpoint_every, 0, low_allowed=True)
        self.overwrite = _checks.flag("overwrite", overwrite)
        if self.overwrite and checkpoint is None:
            raise ValueError("overwrite=True requires checkpoint=, the file to replace")
        self.saved, self.ended_now = time.monotonic(), set()  # networks that have ended, with a result

    def read(self, resume):
        """Read the results that the argument `resume` names, from memory or the checkpoint, into `kept`.

        Return a list with the seed of each network's run if that has ended, else None. The caller needs it to split the data.
        """
        n = len(self.fits)
        self.kept, self.in_memory = None, isinstance(resume, Fits)
        if self.in_memory:
            if len(resume) != n:
                raise ValueError(f"resume must hold {n} networks, as this call has, got {len(resume)}")
            nets = [getattr(each, "network_", None) if isinstance(each, Estimator) else each for each in resume.networks]
            self.kept = (resume, [None if net is None else net.theta for net in nets],
                         [None if net is None else net._positions for net in nets])
        elif _checks.flag("resume", resume):
            if self.checkpoint is None:
                raise ValueError("resume=True requires checkpoint=, the file to continue from")
            if os.path.exists(self.checkpoint):
                self.kept = _read(self.checkpoint, n)
        self.replaces = resume is False or self.in_memory
        if self.kept is None or self.kept[0]._begun is None:
            return [None] * n
        return [one.seed if stopped in KEPT else None for one, stopped in zip(self.kept[0]._begun, self.kept[0].stopped)]

    def train_networks(self, jobs, fittings=None):
        """Train the networks that have not finished, and return the Fits.

        For estimators, `fittings` holds their `Estimator._prepare_fit`.

        Raise WorkersFailed if a chunk failed, after all others have ended.
        """
        fits, self.jobs, self.fittings, known = self.fits, {job.k: job for job in jobs}, fittings, {}
        fits._begun = [Begun.of(job, known) for job in jobs]
        done = self.done = self._take_over_finished(jobs)
        left = [job for job in jobs if job.k not in done]
        workers = None if self.executor is None else _number_of_workers(self.executor)
        chunks = _divide_into_chunks(left, workers, self.chunk_size, self.threads)
        self.progress = Progress(None, len(jobs), self.progress_wanted, "network")
        self.progress.update(len(done))
        try:
            self._compute_here(chunks) if self.executor is None else self._compute_in_executor(chunks)
        except BaseException:
            self._finish()
            raise
        errors = self._finish()
        bad = [k for k, error in enumerate(fits.errors) if error is not None]
        if bad:
            words = [f"network {k}: {type(fits.errors[k]).__name__}: {fits.errors[k]}" for k in bad[:3]]
            words = "; ".join(words + ["..."] * (len(bad) > 3))
            raise WorkersFailed(f"{len(bad)} of {len(fits)} networks were not trained ({words}); the others are. Give resume= "
                                "this error's `fits` to continue", fits) from fits.errors[bad[0]]
        if errors:
            raise errors[0]
        return fits

    def _finish(self):
        """Keep all results and give the estimators theirs.

        Return the errors that this raises, such as a warning turned into an error.
        """
        self.progress.close()
        self.fits._drop_empty_epochs()
        try:
            self._save()
        finally:
            errors = []
            for k in sorted(self.ended_now if self.fittings is not None else ()):
                fitting, estimator = self.fittings[k], self.fits.networks[k]
                fitting.network.history = self.fits.history(k)
                fitting.settings["resume"] = k in self.done
                try:
                    estimator._finish_fit(fitting, stacklevel=6 + self.depth)
                except Exception as error:
                    errors.append(error)
                if getattr(estimator, "history_", None) is fitting.network.history:
                    self.fits.stopped[k] = estimator.history_.stopped
        return errors

    def _compute_here(self, chunks):
        """Train the chunks one after another in this process. An exception marks the chunk's networks as failed."""
        for chunk in chunks:
            results, before = [], self.progress.done
            try:
                _train_chunk(chunk.work(), self.progress, results)
            except Exception as error:
                self._record_failure(chunk, error)
                continue
            finally:
                self._store_results(chunk, results)
            self.progress.reach(before + len(chunk.jobs))
            self._save_if_due()

    def _compute_in_executor(self, chunks):
        """Send all chunks to the executor and store their results as they arrive. On an interrupt, cancel those not begun."""
        futures = {}
        try:
            for chunk in chunks:
                try:
                    futures[self.executor.submit(_train_chunk, chunk.work())] = chunk
                except Exception as error:  # the pool is broken or shut down
                    self._record_failure(chunk, error)
            for future in concurrent.futures.as_completed(futures):
                chunk = futures.pop(future)
                try:
                    results = future.result()
                except (Exception, concurrent.futures.CancelledError) as error:
                    self._record_failure(chunk, error)
                    continue
                self._store_results(chunk, results)
                self.progress.update(len(chunk.jobs))
                self._save_if_due()
        finally:
            for future in futures:
                future.cancel()

    def _store_results(self, chunk, results):
        """Write the results of a chunk (a list of Found, in the order of its jobs) to the networks and to the Fits.

        A network's stream positions move on only if the run drew from its own streams.
        """
        for job, found in zip(chunk.jobs, results):
            job.network.theta = found.theta
            job.network.history = None  # the history of an earlier run
            if job.seed == job.network._entropy:
                job.network._positions = job.network._positions.later(found.positions)
            self.fits._write(job.k, found)
            if found.error is None:
                self.ended_now.add(job.k)

    def _record_failure(self, chunk, error):
        """Record `error` in the Fits for all networks of a chunk."""
        for job in chunk.jobs:
            self.fits.stopped[job.k], self.fits.errors[job.k] = "error", error

    # ---- Resumed results

    def _take_over_finished(self, jobs):
        """Take over the results of finished runs from `kept`, after a comparison, and return the indices of their networks."""
        if self.kept is None:
            if self.replaces:
                self._check_replaceable(jobs)
            return set()
        kept, thetas, positions = self.kept
        done = [job for job in jobs if kept.stopped[job.k] in KEPT]
        self._compare_runs(jobs, done, kept, thetas, positions)
        for job in done:
            if thetas[job.k].shape != job.network._theta.shape:
                raise ValueError(f"resume must hold a network {job.k} of {job.network._theta.size} parameters, got "
                                 f"{thetas[job.k].size}")
        for job in done:
            k, begun = job.k, self.fits._begun[job.k]
            if (kept._begun is not None and job.continues_streams and isinstance(job.seed, _checks.DrawnSeed)
                    and begun.seed != job.seed):
                job.seed = job.network._entropy = _checks.DrawnSeed(begun.seed)  # now the one that began the run
                job.network._positions = _batches.Positions()
            self._store_results(Chunk([job], False, None), [Found(
                thetas[k].astype(job.network.dtype), kept.stopped[k], int(kept.best_epoch[k]), float(kept.seconds[k]),
                bool(kept.lanes[k]), {name: np.array(getattr(kept.history(k), name)) for name in CURVES}, positions[k])])
        return {job.k for job in done}

    def _compare_runs(self, jobs, done, kept, thetas, positions):
        """Raise ValueError unless the finished runs `done` are those of these jobs.

        Keep how they began, for the next checkpoint.

        `kept`, `thetas` and `positions` are the results that are resumed: Fits, final parameters and final Positions.
        """
        ours, theirs = self.fits._begun, kept._begun
        whose = "resume" if self.in_memory else f"checkpoint {self.checkpoint!r}"
        if theirs is None and done:
            warnings.warn(f"{whose} was written by an earlier version, which kept no record of data and arguments: make sure "
                          "that networks, data and arguments are the same", stacklevel=5 + self.depth)
        if theirs is not None:
            for job in done:
                ours[job.k].compare(job, theirs[job.k], thetas[job.k], positions[job.k], whose,
                                    not self.in_memory and len(done) == len(jobs))
            for job in done:
                ours[job.k] = theirs[job.k]
        if self.in_memory:
            self._check_replaceable(jobs)

    def _check_replaceable(self, jobs):
        """Raise FileExistsError if the checkpoint would replace anything but an earlier one of these runs."""
        path = self.checkpoint
        if path is None or self.overwrite or not os.path.isfile(path) or os.path.getsize(path) == 0:
            return
        try:
            kept = _read(path, len(jobs))[0]
            ended = [k for k, stopped in enumerate(kept.stopped) if stopped]
            if any(kept._begun is None or not self.fits._begun[k].is_same(kept._begun[k]) for k in ended):
                raise ValueError(f"checkpoint {path!r} is of other runs")
        except ValueError as error:
            raise _checkpoint.not_replaced(error) from error

    def _save_if_due(self):
        """Write the checkpoint if `checkpoint_every` seconds have passed since the last."""
        if time.monotonic() - self.saved >= self.checkpoint_every:
            self._save()

    def _save(self):
        """Write the checkpoint, if the call has one: the parameters and histories of the networks whose fit has ended."""
        if self.checkpoint is not None:
            write(self.checkpoint, self.fits, self.jobs)
            self.saved = time.monotonic()
