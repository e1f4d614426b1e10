"""The training loop and its parts. `fastbptt.training` has the names that users import.

Modules, in reading order:

- batches: where batches come from, in which order, and the positions of the random streams
- settings, types: the options of a run, checked
- state, history: where a run stands, and what it leaves
- step: single updates, clipping; nonfinite: where NaN comes from, for error messages
- windows: truncated BPTT
- loop: the loop behind RNN.fit; stream: the loop behind RNN.stream
- stretch: updates in compiled code
- ranks, rank_run: training over MPI
- checkpoint, progress: files, and what is shown during a run
"""
