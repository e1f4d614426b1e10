"""Types of the compiled core. _core.pyx documents it."""

from collections.abc import Callable
from typing import Any, TypeAlias, TypeVar, final

import numpy as np
from numpy.typing import NDArray

_Array: TypeAlias = NDArray[np.floating]
_Given: TypeAlias = Any  # a user's argument: the result is NotImplemented if its dtype, shape or layout is wrong
_Method = TypeVar("_Method", bound=Callable[..., Any])

ACTIVATIONS: dict[str, int]
OUTPUT_ACTIVATIONS: dict[str, int]
LOSSES: dict[str, int]
RULES: dict[str, int]
KERNEL_SETS: tuple[str, ...]

def set_default_threads(n: int) -> None: ...
def threads() -> int: ...

@final
class Engine:
    shard_work: int
    def __init__(
        self, dtype: str, I: int, H: int, O: int, K: int, activation: str, output_activation: str, loss: str,
        loss_parameter: Any, mean: bool, bias: bool, learn_initial_state: bool, l1: dict[str, Any], l2: dict[str, Any],
        last: bool, one_hot: bool, maps: _Given = None, rate_penalty: float = 0, omega: float = 0, *, recurs: bool = True,
        reads: bool = True, reverse: bool = False, pool_of: Engine | None = None, leak: float = 1, leak_form: str = "rate",
        cell: str = "plain", reset_after: bool = True,
        noise: float = 0, input_noise: float = 0, dropout: float = 0, stream: Any = 0,
        drops_noise: bool = False,
    ) -> None: ...
    def forward(
        self, theta: _Given, X: _Given, D: _Given, weights: _Given, initial_state: _Given, lengths: _Given, resets: _Given,
        return_states: bool, n_threads: int, draws: _Given = None,
    ) -> Any: ...
    def step(self, theta: _Given, x: _Given, state: _Given, out: tuple[_Array, _Array] | None, n_threads: int) -> Any: ...
    def losses(
        self, theta: _Given, X: _Given, D: _Given, weights: _Given, initial_state: _Given, lengths: _Given, resets: _Given,
        n_threads: int, draws: _Given = None,
    ) -> Any: ...
    def evaluate(
        self, theta: _Given, X: _Given, D: _Given, weights: _Given, initial_state: _Given, lengths: _Given, resets: _Given,
        n_threads: int, draws: _Given = None,
    ) -> Any: ...
    def loss_and_gradients(
        self, theta: _Given, X: _Given, D: _Given, weights: _Given, initial_state: _Given, lengths: _Given, resets: _Given,
        tbptt: tuple[int, int] | None, memory_limit: int, input_gradient: bool, initial_state_gradient: bool,
        n_threads: int, draws: _Given = None,
    ) -> Any: ...
    def loss_into(
        self, theta: _Given, X: _Given, D: _Given, weights: _Given, initial_state: _Given, lengths: _Given, resets: _Given,
        gradient: _Array, memory_limit: int, n_threads: int, draws: _Given = None,
    ) -> Any: ...
    def states(
        self, theta: _Given, X: _Given, initial_state: _Given, lengths: _Given, resets: _Given, S: _Array, n_threads: int,
        R: _Given = None, draws: _Given = None, only_rates: bool = False,
    ) -> Any: ...
    def states_back(
        self, theta: _Given, X: _Given, S: _Array, dS: _Array, lengths: _Given, resets: _Given, own_start: bool,
        gradient: _Array, memory_limit: int, dX: _Given, initial_state_gradient: bool, with_omega: bool, n_threads: int,
        R: _Given = None, draws: _Given = None, past_S_0: _Given = None,
    ) -> Any: ...
    def outputs(self, theta: _Given, S: _Array, lengths: _Given, n_threads: int) -> Any: ...
    def outputs_back(
        self, theta: _Given, S: _Array, D: _Given, dY: _Given, weights: _Given, lengths: _Given, gradient: _Array, dS: _Array,
        n_threads: int,
    ) -> Any: ...
    def penalize(self, theta: _Given, gradient: _Array) -> float: ...
    def window_into(
        self, theta: _Given, X: _Given, D: _Given, weights: _Given, initial_state: _Given, lengths: _Given, resets: _Given,
        past: _Given, own_start: bool, k2: int, gradient: _Array, S: _Array, n_threads: int, past_rates: _Given = None,
        R: _Given = None, draws: _Given = None, past_S_0: _Given = None,
    ) -> Any: ...
    def backward(
        self, theta: _Given, X: _Given, dY: _Given, weights: _Given, initial_state: _Given, lengths: _Given, resets: _Given,
        tbptt: tuple[int, int] | None, memory_limit: int, input_gradient: bool, initial_state_gradient: bool,
        n_threads: int, draws: _Given = None,
    ) -> Any: ...
    def gradient_terms(
        self, theta: _Given, X: _Given, D: _Given, weights: _Given, initial_state: _Given, lengths: _Given, resets: _Given, t:
        int, n_threads: int,
    ) -> Any: ...
    def gradient_flow(
        self, theta: _Given, X: _Given, D: _Given, weights: _Given, initial_state: _Given, begin: int, end: int,
    ) -> Any: ...
    def kernel_set(self) -> str: ...
    def train(
        self, theta: _Given, X: _Given, D: _Given, weights: _Given, initial_state: _Given, lengths: _Given, resets: _Given,
        rows: _Array, batch_size: int, rule: str, numbers: dict[str, Any], rates: _Array, slots: list[_Array],
        earlier: int, max_grad_norm: float, gradient: _Array, before: list[_Array], batch: list[_Array], sums: _Array,
        seconds: float, memory_limit: int, n_threads: int, draws: _Given = None,
    ) -> Any: ...
    def total_weight(
        self, theta: _Given, X: _Given, D: _Given, weights: _Given, initial_state: _Given, lengths: _Given, resets: _Given,
    ) -> float: ...
    def workspace(
        self, theta: _Given, T: int, B: int, lengths: _Given, resets: bool, labels: bool, weight_width: int, sparse: bool,
        tbptt: tuple[int, int] | None, memory_limit: int, n_threads: int, dropout: bool = False,
    ) -> int: ...

def update(rule: str, theta: _Given, gradient: _Array, slots: list[_Array], count: int, **numbers: Any) -> None: ...
def clip_norm(gradient: _Array, max_norm: float) -> tuple[_Array, float]: ...
def at_once(method: _Method) -> _Method: ...
def lane_kernels() -> Any: ...
def kernel_set() -> str: ...
def compiler() -> str: ...
