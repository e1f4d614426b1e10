"""Threads: the pool of helper threads that shares the work of a call, and how many threads a process may use.

`pool.h` has the design of the pool and `pool.c` the code, which knows nothing of Python. `workers.pyx` is the one extension
that owns the pool; the other extensions cimport it. `policy.py` reads the environment and runs long LAPACK calls so that
Ctrl-C can end them.
"""
