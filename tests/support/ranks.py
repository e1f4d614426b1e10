"""A communicator between Python threads, with those of mpi4py's methods that `fit` uses, and nothing forgiven.

MPI would hang, or mix up messages, where ranks call different operations or sizes; here that is an AssertionError.
"""

import threading

import numpy as np


class World:
    """What the ranks of one communicator share: a barrier, a slot for each rank's message, and a record of the calls."""

    def __init__(self, size):
        self.size, self.barrier, self.slots = size, threading.Barrier(size, timeout=30), [None] * size
        self.calls = []  # of rank 0, with the bytes that each moved
        self.aborted, self.freed = [], []  # ranks


class Communicator:
    """The communicator as rank `rank` of the World `world` has it. `is_copy` is whether Dup made it."""

    def __init__(self, world, rank, is_copy=False):
        self.world, self.rank, self.is_copy = world, rank, is_copy

    def Get_rank(self):
        return self.rank

    def Get_size(self):
        return self.world.size

    def _meet(self, name, array, root, act):
        """Return act(arrays of all ranks), which every rank computes between two barriers.

        Assert that all ranks call the same operation `name` with arrays of one shape and dtype and the same `root`.
        """
        assert self.is_copy, "a message on the user's own communicator"
        assert isinstance(array, np.ndarray) and array.flags.c_contiguous and array.dtype.kind in "iuf"
        world = self.world
        world.slots[self.rank] = (name, array.shape, array.dtype, root), array
        world.barrier.wait()
        assert len({repr(kind) for kind, _ in world.slots}) == 1, world.slots
        result = act([each for _, each in world.slots])
        if self.rank == 0:
            world.calls.append((name, array.nbytes))
        world.barrier.wait()
        return result

    def Reduce(self, sent, received, root=0):
        """Write the sum of the ranks' arrays to `received` on rank `root`."""
        total = self._meet("Reduce", sent, root, _sum)
        if self.rank == root:
            assert received.shape == sent.shape and received.dtype == sent.dtype and not np.shares_memory(sent, received)
            received[...] = total

    def Bcast(self, array, root=0):
        """Write the array of rank `root` to the array of every rank."""
        content = self._meet("Bcast", array, root, lambda arrays: arrays[root].copy())
        array[...] = content

    def Allgather(self, sent, received):
        """Write the arrays of all ranks to `received`."""
        assert received.shape == (self.world.size, *sent.shape) and received.dtype == sent.dtype
        received[...] = self._meet("Allgather", sent, None, np.array)

    def Dup(self):
        """Return a copy, the only kind on which messages are allowed."""
        return Communicator(self.world, self.rank, is_copy=True)

    def Free(self):
        """Note that this rank freed its copy."""
        self.world.freed.append(self.rank)

    def Abort(self, code=0):
        """Note the abortion, and break the barrier so that no rank waits."""
        self.world.aborted.append(self.rank)
        self.world.barrier.abort()


def _sum(arrays):
    """Return the sum of the arrays in the order of the ranks."""
    with np.errstate(over="ignore"):
        return sum(arrays[1:], arrays[0].copy())


def run(size, f):
    """Return what became of f(communicator) on each rank, a result or an exception; and the World. Each rank is a thread."""
    world, outcomes = World(size), [None] * size

    def call(rank):
        """Keep the result or the exception of one rank."""
        try:
            outcomes[rank] = f(Communicator(world, rank))
        except BaseException as error:
            outcomes[rank] = error

    threads = [threading.Thread(target=call, args=(rank,)) for rank in range(size)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return outcomes, world


def share(size, rank, B):
    """Return the slice of B sequences that belongs to a rank: uneven, and the first rank of three or more has none."""
    ends = np.linspace(0, 1, size + 1) ** 1.4 * B
    ends = np.round(ends).astype(int)
    if size > 2:
        ends[1] = 0
    return slice(ends[rank], ends[rank + 1])
