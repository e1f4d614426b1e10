"""Options of `RNN`: what each accepts, and what it becomes for the backends.

`units.py` has the leak and the random draws, `parametrizations.py` the options that constrain parameters (connectivity,
trainable, Dale's law, self-connections). A new option of `RNN` starts here.
"""
