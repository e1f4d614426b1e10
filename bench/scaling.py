"""Training one network on several ranks beside one process, and what to expect of more: Markdown tables.

    pip install ".[mpi]" mpich                      # or any other MPI
    mpiexec -n 2 python bench/scaling.py            # ms an update: one process, its threads, and the ranks
    python bench/scaling.py --model                 # the same for more ranks: arithmetic over the times of one core
    python bench/scaling.py --model --latency 30e-6 --bandwidth 1e9 --cells 256,100,10,64,10

Full-batch Adam updates of B sequences (--cells B,T,I,H,O), float32. One thread a rank. What is compared takes turns, rank
0's runs without the others while these sleep; a figure is the median over the rounds, in brackets the least. The result
of the ranks is held against that of the one process before anything is timed. On a machine that others use, ranks wait for
one another's turn: processor times tell what would be without that, the gain being that of one thread's to the busiest
rank's and the least time of an exchange.

The model: an update on R ranks takes t(⌈B/R⌉) + c(R) + p, with t(b) the processor time of one core for b sequences, measured
here; c(R) the least of MPICH's ways to reduce and to broadcast n bytes (Thakur, Rabenseifner and Gropp 2005, International
Journal of High Performance Computing Applications 19:49), with l the latency and w the bandwidth of the network,

    binomial trees        2 ⌈log2 R⌉ (l + n / w)
    scattered             (3 ⌈log2 R⌉ + R − 1) l + 4 (R − 1) / R · n / w

the additions left out; and p the loop in Python and the copies of one rank, measured here by a communicator of one rank,
where there is one.
"""

import argparse
import math
import os
import statistics
import time

import numpy as np
from run import environment_of, processor

os.environ |= environment_of(1)
CELLS = ["16,100,8,16,2", "32,100,10,64,10", "256,100,10,64,10", "64,100,64,256,64"]
RANKS = (1, 2, 4, 8, 16, 32, 64)


def make(cell):
    """Return a network of the cell's sizes, X and D."""
    import fastbptt

    B, T, I, H, O = cell
    rng = np.random.default_rng(0)
    net = fastbptt.RNN(I, H, O, random_state=0)
    return net, rng.standard_normal((T, B, I)).astype("f4"), rng.standard_normal((T, B, O)).astype("f4")


def seconds_of_update(net, X, D, updates, **more):
    """Return wall and processor time of an update, in a fit from the network's parameters, and the network after it.

    `updates` is the number of updates of the fit, and `more` has further arguments of it. The processor time of exchanges is
    left out, because MPI waits at full speed in them.
    """
    net = net.copy()
    B = more.pop("batch_size", X.shape[1])
    exchanges, marks = more.get("communicator"), []
    for count in (0, updates):  # the first is what a fit takes before its first update
        marks.append(time.process_time() - (exchanges.spent if exchanges else 0))
        history = net.fit(X, D, batch_size=B, updates=count, epochs=updates, shuffle=False, progress=False,
                          **{"n_threads": 1} | more)
    marks.append(time.process_time() - (exchanges.spent if exchanges else 0))
    return history.seconds[-1] / updates, (marks[2] - 2 * marks[1] + marks[0]) / updates, net


class Timed:
    """A communicator that adds up the processor time of its exchanges."""

    def __init__(self, comm):
        """Stand for `comm`, a communicator of mpi4py. `spent` are the processor seconds of its exchanges."""
        self.comm, self.spent = comm, 0.0
        self.Get_rank, self.Get_size, self.Abort = comm.Get_rank, comm.Get_size, comm.Abort
        self.Reduce, self.Bcast, self.Allgather = map(self._timed, (comm.Reduce, comm.Bcast, comm.Allgather))

    def _timed(self, operation):
        """Return the operation with its processor time added to `spent`."""
        def timed(*arguments, **more):
            """Call the operation, and add its processor time."""
            begin = time.process_time()
            operation(*arguments, **more)
            self.spent += time.process_time() - begin
        return timed

    def Dup(self):
        """Return self: the times are for all uses together."""
        return self

    def Free(self):
        """Do nothing."""
        pass


def table(header, rows):
    """Print a table in Markdown from the header and rows of text."""
    print("| " + " | ".join(header) + " |\n|" + "---|" * len(header))
    for row in rows:
        print("| " + " | ".join(row) + " |", flush=True)


def format_ms(samples):
    """Return the median and the least of some seconds as milliseconds."""
    return f"{1e3 * statistics.median(samples):.3g} ({1e3 * min(samples):.3g})"


def message_bytes(net):
    """Return the bytes that are broadcast in each update: the parameters and nine numbers."""
    return net.theta.nbytes + 72


# ---- Measured


def run_while_others_sleep(comm, own):
    """Return own() on rank 0 of the communicator, while the other ranks sleep.

    They would otherwise wait at full speed.
    """
    result = own() if comm.Get_rank() == 0 else None
    request = comm.Ibarrier()
    while not request.Test():
        time.sleep(1e-3)
    return result


def measure(cells, rounds, comm):
    """Print the table of measured times of one process, its threads, and the ranks."""
    rank, size = comm.Get_rank(), comm.Get_size()
    rows = []
    for cell in cells:
        net, X, D = make(cell)
        B = cell[0]
        mine = slice(B * rank // size, B * (rank + 1) // size)
        part = {"batch_size": B, "communicator": Timed(comm)}
        alone = run_while_others_sleep(comm, lambda: seconds_of_update(net, X, D, 5)[2])
        each, _, together = seconds_of_update(net, X[:, mine], D[:, mine], 5, **part)
        if rank == 0:
            np.testing.assert_allclose(together.theta, alone.theta, atol=5e-5)
        updates = min(1000, max(5, math.ceil(0.05 / each)))
        updates = comm.bcast(updates)
        theta = net.theta
        received, found = np.empty_like(theta), {name: [] for name in ("one", "threads", "ranks", "exchange", "work", "share")}
        for _ in range(rounds):
            for name, threads in (("one", 1), ("threads", size)):
                taken = run_while_others_sleep(comm, lambda threads=threads: seconds_of_update(
                    net, X, D, updates, n_threads=threads)[:2]) or (0, 0)
                found[name].append(taken[0])
                if threads == 1:
                    found["work"].append(taken[1])
            wall, worked, _ = seconds_of_update(net, X[:, mine], D[:, mine], updates, **part)
            found["ranks"].append(wall)
            found["share"].append(max(comm.allgather(worked)))
            for _ in range(20):
                comm.Barrier()
                begin = time.perf_counter()
                comm.Reduce(theta, received)
                comm.Bcast(theta)
                found["exchange"].append(time.perf_counter() - begin)
        if rank == 0:
            expected = statistics.median(found["share"]) + min(found["exchange"])
            gain = [statistics.median(a / b for a, b in zip(found["one"], found[name])) for name in ("threads", "ranks")]
            rows.append([", ".join(map(str, cell)), f"{len(theta)}", f"{message_bytes(net) / 1024:.1f}",
                         format_ms(found["one"]), f"{format_ms(found['threads'])}", f"{gain[0]:.2f}",
                         f"{format_ms(found['ranks'])}", f"{gain[1]:.2f}",
                         format_ms(found["exchange"]), format_ms(found["work"]), format_ms(found["share"]),
                         f"{statistics.median(found['work']) / expected:.2f}"])
    if rank == 0:
        print(f"{processor()}, {os.cpu_count()} cores; {rounds} rounds; ms an update, median (least)\n")
        table(["B, T, I, H, O", "P", "KiB", "one thread", f"{size} threads", "gain", f"{size} ranks", "gain",
               "Reduce and Bcast alone", "processor time, one thread", "of the busiest rank, without exchanges",
               "gain where cores are free"], rows)


# ---- Expected


def exchange_seconds(ranks, n, latency, bandwidth):
    """Return the seconds of a Reduce and a Bcast of n bytes on so many ranks, by the model of the module's docstring."""
    if ranks == 1:
        return 0.0
    steps = math.ceil(math.log2(ranks))
    return min(2 * steps * (latency + n / bandwidth),
               (3 * steps + ranks - 1) * latency + 4 * (ranks - 1) / ranks * n / bandwidth)


def model(cells, rounds, latency, bandwidth):
    """Print the table of the model for RANKS and these cells. `rounds` is the number of samples of each time.

    `latency` is in seconds, and `bandwidth` in bytes per second.
    """
    try:
        from mpi4py import MPI
        comm = Timed(MPI.COMM_SELF)
    except ImportError:
        comm = None
    print(f"{processor()}; latency {1e6 * latency:g} µs, bandwidth {bandwidth / 1e9:g} GB/s; ms an update, and gain\n")
    rows = []
    for cell in cells:
        net, X, D = make(cell)
        shares = sorted({-(-cell[0] // ranks) for ranks in RANKS}, reverse=True)
        samples = {share: [] for share in shares}
        python = []
        for _ in range(rounds):
            for share in shares:
                samples[share].append(seconds_of_update(net, X[:, :share], D[:, :share], 20)[1])
            if comm is not None:
                python.append(seconds_of_update(net, X[:, :1], D[:, :1], 100, communicator=comm)[1]
                              - seconds_of_update(net, X[:, :1], D[:, :1], 100)[1])
        own = statistics.median(python) if python else 0.0
        whole = statistics.median(samples[cell[0]])
        row = [", ".join(map(str, cell)), f"{message_bytes(net) / 1024:.1f}", f"{1e3 * own:.2g}"]
        for ranks in RANKS:
            t = statistics.median(samples[-(-cell[0] // ranks)])
            c = exchange_seconds(ranks, message_bytes(net), latency, bandwidth)
            total = t + (c + max(0.0, own) if ranks > 1 else 0)
            row.append(f"{1e3 * t:.3g} + {1e3 * c:.2g}: {whole / total:.3g}" if ranks <= cell[0] else "")
        rows.append(row)
    table(["B, T, I, H, O", "KiB", "p", *(f"R = {ranks}: t + c: gain" for ranks in RANKS)], rows)


def main():
    """Run the command; the module's docstring describes it."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--cells", nargs="+", default=CELLS)
    parser.add_argument("--rounds", type=int, default=25)
    parser.add_argument("--model", action="store_true")
    parser.add_argument("--latency", type=float, default=2e-6, help="seconds")
    parser.add_argument("--bandwidth", type=float, default=1e10, help="bytes a second")
    arguments = parser.parse_args()
    cells = [tuple(map(int, cell.split(","))) for cell in arguments.cells]
    if arguments.model:
        model(cells, arguments.rounds, arguments.latency, arguments.bandwidth)
    else:
        from mpi4py import MPI

        measure(cells, arguments.rounds, MPI.COMM_WORLD)


if __name__ == "__main__":
    main()
