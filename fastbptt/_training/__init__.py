"""Training: batches and their random order, checkpoints, ranks of MPI, the progress line.

`fastbptt.training` has the loop itself and the public `History`.
"""
