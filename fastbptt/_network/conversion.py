"""Networks of other packages: `RNN.to_torch`, `from_torch`, `from_keras` and `from_psychrnn`.

`fastbptt.convert` reads and writes the other package's arrays. A converter for another package has one method here.
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
    """Methods of `RNN`: networks of other packages."""

    def to_torch(self) -> dict[str, np.ndarray]:
        """A state dict for a PyTorch module that has ``torch.nn.RNN`` as `rnn` and ``torch.nn.Linear`` as `linear`.

        Keys are rnn.weight_ih_l0 (H, I), rnn.weight_hh_l0 (H, H), rnn.bias_ih_l0, rnn.bias_hh_l0 (H,), and so on for each
        layer and direction, linear.weight (O, H), linear.bias (O,); values are copies, in the network's dtype. PyTorch adds
        its two biases up: the first is b_s, the second zero. Learnt initial states are `h_0` (layers · directions, 1, H),
        which nn.RNN takes as an argument. The output activation is the module's business, and so are one-hot vectors for ids.

        Raises
        ------
        ValueError : nn.RNN cannot compute what this network does; it knows tanh and relu alone, and one hidden size.

        Examples
        --------
        ``module.load_state_dict({name: torch.from_numpy(value) for name, value in net.to_torch().items()})``
        """
        return convert.to_torch(self.effective_parameters(), self._config)  # with absent entries and signs as they act

    @classmethod
    def from_torch(cls, rnn: Any, linear: Any = None, **options: Any) -> RNN:
        """The network that computes what nn.RNN and nn.Linear of PyTorch do, time-major.

        Parameters
        ----------
        rnn : module or state dict
            torch.nn.RNN of any depth, in one direction or two, or a module that holds it and the nn.Linear. PyTorch is not
            imported: a state dict may as well hold NumPy arrays.
        linear : module or state dict, optional
            torch.nn.Linear. Without one, and without one in rnn, the outputs are the states: W_y is 1, b_y is 0.
        **options
            Of RNN: the loss, the output activation ... Sizes, depth, directions and biases are those of the arrays, and a
            module also says its activation; a state dict does not: give activation="relu" where it is not tanh. dtype is by
            default that of the arrays. A key `h_0` is taken as learnt initial states.

        Raises
        ------
        TypeError, ValueError : what was given is no such network, or an option contradicts it.
        """
        return cls._converted(convert.from_torch(rnn, linear), options)

    @classmethod
    def from_keras(cls, layers: Any, **options: Any) -> RNN:
        """The network that computes what SimpleRNN and Dense of Keras do, time-major.

        Parameters
        ----------
        layers : keras.Sequential, layer, list of layers, or list of arrays
            SimpleRNN, several with return_sequences=True between them, all or none in Bidirectional (concatenated), and a
            Dense. Without Dense the outputs are the states. Or `get_weights()` of them, where a Dense tells two directions
            from one. Keras is not imported.
        **options
            Of RNN, as for `from_torch`. Layers say their activations, and return_sequences=False is output="last".

        Raises
        ------
        TypeError, ValueError : what was given is no such network, or an option contradicts it. leaky_relu has another
            slope in Keras 3.
        """
        return cls._converted(convert.from_keras(layers), options)

    @classmethod
    def from_psychrnn(cls, file: FilePath | Mapping[str, Any], *, activation: Activation = "relu",
                      **options: Any) -> RNN:
        """The network that computes what a `Basic` of PsychRNN does, without its noise, time-major.

        S_t = (1 − leak) S_{t-1} + leak (W_s g1(S_{t-1}) + W_x X_t + b_s), Y_t = W_y g1(S_t) + b_y; S_0 is learnt.

        Parameters
        ----------
        file : path or dict
            What `save` of PsychRNN 1.0 wrote, or the dict of its `get_weights`. No pickle is read.
        activation : str
            PsychRNN's transfer_function: the file does not say. relu is its default.
        **options
            Of RNN. dt and tau, or leak = dt / tau, are needed, for the file does not have them; noise_std is PsychRNN's
            rec_noise. connectivity, dale_signs and nonnegative are the file's: with a dale_ratio also W_in cannot become
            negative, nor W_out, of which the inhibitory units' columns are absent or negative, as Dale_out says.

        Raises
        ------
        FileNotFoundError
        TypeError, ValueError : the file is not of a Basic network, or an option contradicts it.

        References
        ----------
        Ehrlich, Stone, Brandfonbrener, Atanasov and Murray 2021, eNeuro 8:ENEURO.0427-20.2020. Weights stand in the file as
        they act: zero where nothing is connected, with the signs of Dale's law.
        """
        if not {"leak", "tau"} & options.keys():
            raise TypeError("from_psychrnn needs dt and tau, or leak = dt / tau: the file does not have them")
        return cls._converted(convert.from_psychrnn(file), {"activation": activation, "leak_form": "current"} | options)

    @classmethod
    def _converted(cls, found, options):
        """Return a network with the options and parameters found; refuse an option of the user's that contradicts them."""
        for name in options.keys() & found.options.keys():
            if isinstance(found.options[name], (dict, np.ndarray)) or options[name] != found.options[name]:
                raise ValueError(f"{name} is {found.options[name]!r} in what was given, got {name}={options[name]!r}")
        if "initializer" in options:
            raise TypeError("a converted network takes no initializer: its parameters are given")
        network = cls(**{"dtype": found.dtype} | found.options | options, initializer=lambda shape, rng: np.zeros(shape))
        network.load_state_dict(network.state_dict() | found.parameters)
        return network
