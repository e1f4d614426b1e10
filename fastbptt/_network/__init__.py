"""The parts of `RNN` beside its operations. Each module has a base class of `RNN`, with the methods of one subject.

- arguments.py: checks and conversion of the operations' arguments
- conversion.py: networks of other packages
- dispatch.py: the backends of a network and their calls
- files.py: the contents of files, pickles and copies
- fitting.py: `fit`, `train_step` and `stream`
- generation.py: `generate`
- parameters.py: the dict of parameters
- streams.py: the random streams

Add a method to the class of its subject. Add an operation of a network to `network.py`.
"""
