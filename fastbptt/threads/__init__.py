"""Share the work of a call among helper threads, and choose the number of threads.

`pool.h` has the design of the pool of helper threads, `pool.c` its code, which does not depend on Python. `workers.pyx` is the
only extension that owns the pool; the other extensions cimport it. `policy.py` reads the environment, and runs long LAPACK
calls such that Ctrl-C ends the wait for them. All that concerns threads belongs here.
"""
