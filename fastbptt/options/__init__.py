"""Options of `RNN`: the values that each accepts, and the arguments that the backends receive.

`declaration.py` has a row for each option; a new option starts there. `checks.py`, `units.py` (leak, random numbers),
`cells.py` (which options a cell accepts) and `parametrizations.py` (connectivity, trainable, Dale's law, self-connections) have
the checks. `shapes.py` has the shapes of the parameters, `for_backends.py` the keyword arguments of the backends.
"""
