"""The training loop and its parts. `fastbptt.training` has the names that users import.

Modules, in reading order:

- batches: the source and the order of batches, and the positions of the random streams
- settings, types: the checked options of a run
- state, history: where a run stands, and its record
- step: single updates and clipping; nonfinite: where NaN first appears, for error messages
- windows: truncated BPTT
- loop: the loop behind RNN.fit; stream: the loop behind RNN.stream
- stretch: many updates in compiled code
- ranks, rank_run: training over MPI
- checkpoint, progress: files, and what a run shows

Add a module for a new part of training, and its line to this list.
"""
