"""The training loop and its parts. `fastbptt.training` has the names that users import.

Modules, in reading order:

- batches: where batches come from, in which order, and the positions of the random streams
- settings: the options of a run, checked
- state, history: where a run stands, and what it leaves
- loop: the loop behind RNN.fit; nonfinite: where NaN comes from, for its error messages
- step, stream: single updates, and the loop behind RNN.stream
- checkpoint, ranks, progress: files, MPI, what is shown meanwhile
"""
