"""What identifies a run of fit_many. A resumed run must have begun with the same.

Add here what two runs must share to be the same run.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from .. import _checks
from .._training import batches as _batches, checkpoint as _checkpoint, settings as _settings


@dataclass(eq=False)
class Begun:
    """What identifies a run. A run that resumes it must have begun with the same."""

    run: dict           # options of the network and arguments of the run, by name; arrays stay arrays
    start: np.ndarray   # the parameters
    seed: int
    begin: _batches.Positions | None = None  # positions of the used streams; None in old files

    @classmethod
    def of(cls, job, known):
        """Return what identifies a job's run.

        `known`, a dict that the caller shares between jobs, caches descriptions and fingerprints of what several jobs have.
        """
        run = {**job.network._config, **job.settings, "max_grad_norm": job.max_grad_norm, "batches": "batches" in job.settings}
        run.pop("memory_limit", None)
        if "callbacks" in run:  # an estimator's reasons to stop
            run["callbacks"] = [repr(each) for each in run["callbacks"]]
        if run["epochs"] is None and run.get("updates") is None:
            run["epochs"] = 100
        for name, rule in (("optimizer", job.optimizer), ("schedule", run["schedule"])):
            if id(rule) not in known:
                known[id(rule)] = _settings.described(rule)
            run[name] = known[id(rule)]
        for name, arrays in (("data", job.data), ("validation", job.validation)):
            for array in arrays or ():
                if array is not None and id(array) not in known:
                    known[id(array)] = _checkpoint.digest([array])
            run[name] = " ".join(known.get(id(array), "None") for array in arrays) if arrays else None
        return cls(run, job.network.theta, job.seed, job.begin.where(job.used_streams()))

    def compare(self, job, theirs, theta, ended, whose, finished):
        """Raise ValueError unless the Begun `theirs` is of the run of this job.

        That run ended with `theta` at the Positions `ended`.

        `whose` names the checkpoint or the result in messages. `finished` says whether nothing is left to do for any network,
        or is None if that is unknown. A network without a given seed begins with other parameters each time. If all runs are
        finished, it is thus another network, whose run must not be resumed.
        """
        differ = _checkpoint.differences(theirs.run, self.run)
        if not isinstance(self.seed, _checks.DrawnSeed) and self.seed != theirs.seed:
            differ["random_state"] = f"random_state is {theirs.seed} there and {self.seed} here"
        if differ:
            raise ValueError(f"{whose} is of another run of network {job.k}: {'; '.join(differ.values())}")
        if _checkpoint.is_close(theta, self.start):
            return
        if _checkpoint.is_close(theirs.start, self.start):
            if theirs.begin is not None and not _checkpoint.may_go_on(theirs.begin, ended.where(job.used_streams()), self.begin,
                                                                      finished):
                raise ValueError(f"{whose} is of another run of network {job.k}, which began with the same parameters at other "
                                 f"stream_positions: {theirs.begin._asdict()} there and {self.begin._asdict()} here")
            return
        if not isinstance(job.network._entropy, _checks.DrawnSeed):
            raise ValueError(f"{whose} is of another run of network {job.k}, which began with other parameters than this "
                             "network has")
        if finished:
            raise ValueError(f"{whose} is of finished runs, and network {job.k} began with other parameters than this "
                             "network has. Give each call a checkpoint of its own, or the networks a random_state, so that a "
                             "repeated script begins with the same parameters")

    def is_same(self, theirs):
        """Return whether the run `theirs` began with the same seed and parameters, and everything else is the same."""
        return (self.seed == theirs.seed and theirs.begin in (None, self.begin)
                and _checkpoint.is_close(theirs.start, self.start) and not _checkpoint.differences(theirs.run, self.run))
