"""The parts of `RNN` beside its operations. Each module has a base class of `RNN`, with methods on one subject.

`arguments.py` checks and converts what the operations are given. `streams.py` has the random streams. `fitting.py` has `fit`,
`train_step` and `stream`, `files.py` what files, pickles and copies hold, `conversion.py` networks of other packages, and
`parameters.py` the dict of parameters. `dispatch.py` has the backends of a network and their calls.
A method joins the class of its subject; an operation of a network joins `network.py`.
"""
