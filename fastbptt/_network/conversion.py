"""Networks of other packages: `RNN.to_torch`, `from_torch`, `from_keras` and `from_psychrnn`.

`fastbptt.convert` reads and writes the other package's arrays. Add one method here for each further package.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from .. import convert

if TYPE_CHECKING:
    from .._types import Activation, FilePath
    from ..network import RNN


class Conversion:
    """Methods of `RNN` that convert networks of other packages."""

    def to_torch(self) -> dict[str, np.ndarray]:
        """Return a state dict for a PyTorch module with ``torch.nn.RNN`` as `rnn` and ``torch.nn.Linear`` as `linear`.

        A network with cell="gru" or "lstm" goes to nn.GRU or nn.LSTM, whose arrays have G·H rows in the same order. b_n of a
        GRU is in the last H numbers of bias_hh. The initial states of an LSTM are `h_0` and `c_0`.

        The keys are rnn.weight_ih_l0 (H, I), rnn.weight_hh_l0 (H, H), rnn.bias_ih_l0 and rnn.bias_hh_l0 (H,), likewise for
        each further layer and direction, and linear.weight (O, H) and linear.bias (O,). Values are copies in the network's
        dtype. PyTorch adds its two biases: the first is b_s, the second zero. Learned initial states are `h_0` (layers ·
        directions, 1, H), which nn.RNN takes as an argument. With rank=R, weight_hh is M Nᵀ. The module itself must apply the
        output activation, and must turn token ids into one-hot vectors.

        Returns
        -------
        dict of arrays

        Raises
        ------
        ValueError
            If nn.RNN cannot compute what this network does. nn.RNN has only tanh and relu, and only one hidden size.

        Examples
        --------
        >>> net = RNN(2, 8, 1, random_state=0)
        >>> list(net.to_torch())[:2]
        ['rnn.weight_ih_l0', 'rnn.weight_hh_l0']
        >>> import torch  # doctest: +SKIP
        >>> module = torch.nn.ModuleDict({"rnn": torch.nn.RNN(2, 8), "linear": torch.nn.Linear(8, 1)})  # doctest: +SKIP
        >>> module.load_state_dict({name: torch.from_numpy(value) for name, value in net.to_torch().items()})  # doctest: +SKIP
        """
        return convert.to_torch(self.effective_parameters(), self._config)  # nn.RNN has no absent entries or fixed signs

    @classmethod
    def from_torch(cls, rnn: Any, linear: Any = None, **options: Any) -> RNN:
        """Return the network that computes what PyTorch's nn.RNN, nn.GRU or nn.LSTM and nn.Linear do, time-major.

        Parameters
        ----------
        rnn : module or state dict
            torch.nn.RNN, GRU or LSTM of any depth, in one direction or two, or a module that holds it and the nn.Linear. A
            state dict may hold NumPy arrays: fastbptt does not import PyTorch.
        linear : module or state dict, optional
            torch.nn.Linear. If neither `linear` nor `rnn` has one, the outputs are the states: W_y is 1 and b_y is 0.
        **options
            Options of RNN, such as the loss and the output activation. Sizes, depth, directions and biases come from the
            arrays, and so does the default dtype. A module also gives its activation. A state dict does not: give
            activation="relu" unless it is tanh. A key `h_0` holds learned initial states.

        Raises
        ------
        TypeError, ValueError
            If the argument is no such network, or an option contradicts it.

        Examples
        --------
        >>> import torch  # doctest: +SKIP
        >>> net = RNN.from_torch(torch.nn.GRU(2, 8), torch.nn.Linear(8, 1))  # doctest: +SKIP
        """
        return cls._converted(convert.from_torch(rnn, linear), options)

    @classmethod
    def from_keras(cls, layers: Any, **options: Any) -> RNN:
        """Return the network that computes what Keras's SimpleRNN, GRU or LSTM and Dense do, time-major.

        Parameters
        ----------
        layers : keras.Sequential, layer, list of layers, or list of arrays
            SimpleRNN, GRU or LSTM layers, all of one kind, and a Dense. All of them except the last need
            return_sequences=True. All or none may be in Bidirectional (concatenated). Without Dense the outputs are the
            states. A list of arrays is their `get_weights()`; it needs a Dense to tell two directions from one.
            fastbptt does not import Keras.
        **options
            Options of RNN, as in `from_torch`. Layers give their activations. return_sequences=False becomes output="last".

        Raises
        ------
        TypeError, ValueError
            If the argument is no such network, or an option contradicts it. Also for leaky_relu, which has another slope in
            Keras 3.

        Examples
        --------
        >>> import keras  # doctest: +SKIP
        >>> units = keras.layers.SimpleRNN(8, return_sequences=True)  # doctest: +SKIP
        >>> layers = [keras.Input((None, 2)), units, keras.layers.Dense(1)]  # doctest: +SKIP
        >>> net = RNN.from_keras(keras.Sequential(layers))  # doctest: +SKIP
        """
        return cls._converted(convert.from_keras(layers), options)

    @classmethod
    def from_psychrnn(cls, file: FilePath | Mapping[str, Any], *, activation: Activation = "relu",
                      **options: Any) -> RNN:
        """Return the network that computes what PsychRNN's `Basic` does, without its noise, time-major.

        S_t = (1 − leak) S_{t-1} + leak (W_s g1(S_{t-1}) + W_x X_t + b_s), Y_t = W_y g1(S_t) + b_y. S_0 is learned.

        Parameters
        ----------
        file : path or dict
            The file that `save` of PsychRNN 1.0 wrote, or the dict of its `get_weights`. No pickle is read.
        activation : str
            PsychRNN's transfer_function, which the file does not hold. PsychRNN's default is relu.
        **options
            Options of RNN. dt and tau, or leak = dt / tau, are required, because the file does not hold them. noise_std is
            PsychRNN's rec_noise. connectivity, dale_signs and nonnegative come from the file. With a dale_ratio, W_in and
            W_out cannot become negative either. Dale_out says whether the inhibitory units' columns of W_out are absent or
            negative.

        Raises
        ------
        FileNotFoundError
            If there is no such file.
        TypeError, ValueError
            If the file does not hold a Basic network, or an option contradicts it.

        Notes
        -----
        The file holds effective weights: zero where nothing is connected, with the signs of Dale's law.

        References
        ----------
        Ehrlich, Stone, Brandfonbrener, Atanasov and Murray 2021, eNeuro 8:ENEURO.0427-20.2020.

        Examples
        --------
        >>> H, weights = 8, {"W_in": np.ones((8, 2)), "W_rec": np.eye(8), "W_out": np.ones((1, 8)), "b_rec": np.zeros(8),
        ...                  "b_out": np.zeros(1), "init_state": np.zeros((1, 8))}
        >>> RNN.from_psychrnn(weights, dt=10, tau=100).hidden_size
        8
        """
        if not {"leak", "tau"} & options.keys():
            raise TypeError("dt and tau, or leak = dt / tau, are required: the file does not hold them")
        return cls._converted(convert.from_psychrnn(file), {"activation": activation, "leak_form": "current"} | options)

    @classmethod
    def _converted(cls, found, options):
        """Return a network with the options and parameters found. Refuse a user's option that contradicts them."""
        stated = {"cell": "plain"} | found.options
        for name in options.keys() & stated.keys():
            if isinstance(stated[name], (dict, np.ndarray)) or options[name] != stated[name]:
                raise ValueError(f"{name} must be {stated[name]!r} as in the converted network, got {options[name]!r}")
        if options.get("rank") is not None:
            raise ValueError(f"rank must be None: a converted network has its own W_s, of full rank; got {options['rank']!r}")
        if "initializer" in options:
            raise TypeError("initializer must not be given: a converted network has its own parameters")
        network = cls(**{"dtype": found.dtype} | found.options | options, initializer=lambda shape, rng: np.zeros(shape))
        network.load_state_dict(network.state_dict() | found.parameters)
        return network
