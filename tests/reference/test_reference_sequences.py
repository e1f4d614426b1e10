"""The specification of lengths, resets, last steps, ids and truncation, against complex steps and plainer calls.

Random calls: each option is there or not, with every other. What an option means is written down a second time where
that is possible: sequences run alone, pieces cut at their resets, windows run from states that are held fixed.
"""

import dataclasses
import itertools
import warnings
import zlib

import cases
import numpy as np
import pytest
from cases import ACTIVATIONS, HEADS, STEP, Choice, Shape, assert_close, complex_step

from fastbptt import reference

LIMIT = 1e-12  # relative, of gradients against the complex step
KINDS = Shape(6, 4, 3, 4, 2, "some steps, some sequences, every option; still small enough for each entry's derivative")

every_activation = pytest.mark.parametrize("activation", ACTIVATIONS)
every_head = pytest.mark.parametrize("head", HEADS, ids=[head.name for head in HEADS])
every_seed = pytest.mark.parametrize("seed", range(12))


# ---------------------------------------------------------------------------------------------------------------------
# Random calls
# ---------------------------------------------------------------------------------------------------------------------


@dataclasses.dataclass
class Call:
    """The arguments of an operation: data, and options by keyword."""

    head: cases.Head
    parameters: dict
    X: np.ndarray
    D: np.ndarray
    dY: np.ndarray
    weights: np.ndarray | None
    initial_state: np.ndarray | None
    lengths: np.ndarray | None
    resets: np.ndarray | None
    output: str
    options: dict  # activation, output_activation, loss, loss_parameter, reduction
    tbptt: tuple | None = None

    def __str__(self):
        given = [name for name in ("weights", "initial_state", "lengths", "resets") if getattr(self, name) is not None]
        return (f"{self.options}, {self.output}, X {self.X.shape}, parameters {list(self.parameters)}, given {given}, "
                f"tbptt {self.tbptt}")

    def but(self, **changes):
        return dataclasses.replace(self, **changes)

    @property
    def kind(self):
        return {"lengths": self.lengths, "resets": self.resets, "output": self.output, **self.options}

    @property
    def steps(self):
        """lengths, as an array in any case."""
        return np.full(self.X.shape[1], len(self.X)) if self.lengths is None else np.asarray(self.lengths)

    @property
    def alive(self):
        """(T, B): the steps that there are."""
        return np.arange(len(self.X))[:, None] < self.steps

    @property
    def there(self):
        """(T, B) or (B,): the outputs that there are."""
        return self.alive if self.output == "sequence" else self.steps > 0

    def forward(self):
        return reference.forward(self.parameters, self.X, self.initial_state, **self.kind)

    def losses(self):
        return reference.losses(self.parameters, self.X, self.D, self.initial_state, **self.kind)

    def loss(self):
        return reference.loss(self.parameters, self.X, self.D, weights=self.weights, initial_state=self.initial_state,
                              **self.kind)

    def gradients(self):
        """E and all gradients."""
        return reference.loss_and_gradients(
            self.parameters, self.X, self.D, weights=self.weights, initial_state=self.initial_state, tbptt=self.tbptt,
            input_gradient=self.X.ndim == 3, initial_state_gradient=True, **self.kind)

    def backward(self):
        return reference.backward(
            self.parameters, self.X, self.dY, initial_state=self.initial_state, tbptt=self.tbptt,
            input_gradient=self.X.ndim == 3, initial_state_gradient=True, **self.kind)

    def weighted_output(self):
        """Σ dY ∘ Y, whose gradient `backward` gives."""
        return (self.dY * self.forward()[0]).sum()


def draw(name, *, shape=KINDS, activation=None, head=None, **fixed):
    """A random Call, the same for the same name; `fixed` are lengths, resets, ids, given, learnt: bool; output: str."""
    rng = np.random.default_rng(zlib.crc32(str(name).encode()))
    activation = activation or ACTIVATIONS[rng.integers(len(ACTIVATIONS))]
    head = head or HEADS[rng.integers(len(HEADS))]

    def some(option):
        return fixed.get(option, bool(rng.integers(2)))

    weights = fixed.get("weights") or ("none", "step", "output")[rng.integers(3 if head.loss != "cross_entropy" else 2)]
    choice = Choice(some("bias"), some("learnt"), some("given"), weights, ("mean", "sum")[rng.integers(2)])
    case = cases.draw(shape, activation, head, choice, seed=name)
    T, B, I, *_ = shape  # noqa: E741
    lengths, resets = rng.integers(0, T + 1, B), rng.random((T, B)) < 0.25
    resets[0, :1] = True
    output = fixed.get("output") or ("sequence", "last")[rng.integers(2)]
    D, dY, weights = case.D, case.dY, case.weights
    if output == "last":
        D, dY, weights = D[0], dY[0], None if weights is None else weights[0]
    return Call(head, case.parameters, rng.integers(I, size=(T, B)) if some("ids") else case.X, D, dY, weights,
                case.initial_state, lengths if some("lengths") else None, resets if some("resets") else None, output,
                case.options)


def broad(there, array):
    """`there` with the axes that `array` has behind."""
    return there.reshape(*there.shape, *[1] * (array.ndim - there.ndim))


# ---------------------------------------------------------------------------------------------------------------------
# Complex steps in everything at once
# ---------------------------------------------------------------------------------------------------------------------


def names(call):
    """What the error depends on."""
    return [*call.parameters, *(["X"] if call.X.ndim == 3 else []),
            *(["initial_state"] if call.initial_state is not None else [])]


def moved(call, direction):
    """The call at a complex step in `direction`."""
    data = {name: getattr(call, name) + 1j * STEP * v for name, v in direction.items() if name not in call.parameters}
    return call.but(parameters={name: value + 1j * STEP * direction[name] for name, value in call.parameters.items()},
                    **data)


def assert_gradients_match(call, gradients, function):
    """Along one random direction of everything: a wrong entry anywhere shows in the one number."""
    rng = np.random.default_rng(4)
    direction = {name: rng.normal(size=gradients[name].shape) for name in names(call)}
    products = [gradients[name] * v for name, v in direction.items()]
    E = function(moved(call, direction))
    error = abs(sum(product.sum() for product in products) - E.imag / STEP)
    size = max(sum(np.abs(product).sum() for product in products), 1e-3 * abs(E))  # softmax can leave 0 of equal errors
    assert error <= LIMIT * size, f"the gradient is off by {error:.1e} of {size:.1e}; {call}"


def assert_every_entry_matches(call, gradients, function):
    """The gradient by the initial state of a call that gives none is taken at the state that it starts from."""
    for name, gradient in gradients.items():
        value = call.parameters[name] if name in call.parameters else getattr(call, name)
        if value is None:
            value = np.broadcast_to(call.parameters.get("S_0", 0.0), gradient.shape)

        def at(value):
            if name in call.parameters:
                return function(call.but(parameters={**call.parameters, name: value}))
            return function(call.but(**{name: value}))

        assert_close(gradient, complex_step(at, value), LIMIT, f"∂E/∂{name}", call)


@pytest.mark.share(3)
@every_activation
@every_head
def test_gradients_of_random_calls(activation, head):
    for seed in range(4):
        call = draw(f"{activation} {head.name} {seed}", activation=activation, head=head)
        E, gradients = call.gradients()
        assert E == call.loss(), call
        assert_gradients_match(call, gradients, Call.loss)


@pytest.mark.share(3)
@every_seed
def test_gradients_of_random_calls_by_backward(seed):
    for turn in range(8):
        call = draw(f"backward {seed} {turn}")
        assert_gradients_match(call, call.backward(), Call.weighted_output)


OPTIONS = ("lengths", "resets", "ids", "given", "learnt")
every_choice = pytest.mark.parametrize("chosen", [*itertools.product((False, True), repeat=len(OPTIONS))],
                                       ids=lambda chosen: "+".join(itertools.compress(OPTIONS, chosen)) or "plain")


@pytest.mark.share(3)
@pytest.mark.parametrize("output", ["sequence", "last"])
@every_choice
def test_every_entry_of_every_gradient(output, chosen):
    call = draw(f"{output} {chosen}", shape=KINDS._replace(T=4, B=3), output=output, **dict(zip(OPTIONS, chosen)))
    E, gradients = call.gradients()
    extra = ["initial_state"] if call.X.ndim == 2 else ["X", "initial_state"]
    assert list(gradients) == [*call.parameters, *extra]
    assert_every_entry_matches(call, gradients, Call.loss)


# ---------------------------------------------------------------------------------------------------------------------
# The forward pass, step by step
# ---------------------------------------------------------------------------------------------------------------------


@pytest.mark.share(3)
@every_activation
@every_choice
def test_states_outputs_and_losses_of_each_sequence_step_by_step(activation, chosen):
    call = draw(f"{activation} {chosen}", activation=activation, output="sequence", weights="none",
                **dict(zip(OPTIONS, chosen)))
    p, g1 = call.parameters, reference.ACTIVATIONS[activation][0]
    g2, e = reference.OUTPUT_ACTIVATIONS[call.head.output_activation][0], reference.LOSSES[call.head.loss][0]
    S_0 = p.get("S_0", np.zeros(KINDS.H))
    Y, final, S = call.forward()
    losses, expected = call.losses(), np.zeros(S.shape)
    for b in range(KINDS.B):
        expected[0, b] = state = S_0 if call.initial_state is None else call.initial_state[b]
        for t in range(call.steps[b]):
            if call.resets is not None and call.resets[t, b]:
                state = S_0
            from_X = p["W_x"][:, call.X[t, b]] if call.X.ndim == 2 else p["W_x"] @ call.X[t, b]
            expected[t + 1, b] = state = g1(from_X + p["W_s"] @ state + p.get("b_s", 0))
            Z = p["W_y"] @ state + p.get("b_y", 0)
            D = np.eye(KINDS.O)[call.D[t, b]] if call.head.labels else np.tile(call.D[t, b], call.head.levels)
            assert_close(Y[t, b], g2(Z), 1e-14, f"Y[{t}, {b}]", call)
            assert_close(losses[t, b], e(g2(Z), Z, D, call.head.loss_parameter).sum(), 1e-12, f"loss {t}, {b}", call)
        assert np.array_equal(final[b], S[call.steps[b], b]), f"the final state of sequence {b}; {call}"
    assert_close(S, expected, 1e-14, "S", call)
    assert not Y[~call.alive].any() and not losses[~call.alive].any()
    last = call.but(output="last", D=call.D[0])
    Y_last, final_last, S_last = last.forward()
    assert np.array_equal(S_last, S) and np.array_equal(final_last, final)
    for b, n in enumerate(call.steps):
        assert_close(Y_last[b], Y[n - 1, b] if n else np.zeros(Y.shape[2]), 1e-14, f"Y of sequence {b}", call)


# ---------------------------------------------------------------------------------------------------------------------
# Each option by what it stands for
# ---------------------------------------------------------------------------------------------------------------------


def sequence(call, b):
    """Sequence b alone, cut to its length, its errors summed."""
    n = call.steps[b]
    row = slice(b, b + 1)

    def cut(array):
        return array[row] if call.output == "last" else array[:n, row]

    return call.but(X=call.X[:n, row], D=cut(call.D), dY=cut(call.dY), lengths=None,
                    weights=None if call.weights is None else cut(call.weights),
                    initial_state=None if call.initial_state is None else call.initial_state[row],
                    resets=None if call.resets is None else call.resets[:n, row],
                    options=call.options | {"reduction": "sum"})


def divisor(call):
    """Σ m of the outputs that there are."""
    if call.weights is None:
        return call.there.sum()
    return call.weights[call.there].sum() / (call.weights.shape[-1] if call.weights.ndim > call.there.ndim else 1)


@pytest.mark.share(4)
@pytest.mark.parametrize("seed", range(40))
def test_lengths_are_each_sequence_alone(seed):
    call = draw(f"alone {seed}", lengths=True)
    call.lengths[0] = seed % (KINDS.T + 1)
    E, gradients = call.gradients()
    Y, final, S = call.forward()
    losses, of_dY = call.losses(), call.backward()
    m = (divisor(call) or 1) if call.options["reduction"] == "mean" else 1
    alone = [sequence(call, b) for b in range(KINDS.B)]
    results = [one.gradients() for one in alone]
    assert_close(E, sum(e for e, _ in results) / m, 1e-13, "E", call)
    for name in call.parameters:
        assert_close(gradients[name], sum(g[name] for _, g in results) / m, LIMIT, f"∂E/∂{name}", call)
        assert_close(of_dY[name], sum(one.backward()[name] for one in alone), LIMIT, f"∂E/∂{name} of dY", call)
    for b, (one, (_, g)) in enumerate(zip(alone, results)):
        n, (Y_b, final_b, S_b) = call.steps[b], one.forward()
        assert_close(S[:n + 1, b], S_b[:, 0], 1e-14, "S", call)
        assert_close(final[b], final_b[0], 1e-14, "the final state", call)
        assert not S[n + 1:, b].any()
        assert_close(gradients["initial_state"][b], g["initial_state"][0] / m, LIMIT, "∂E/∂S_0", call)
        if call.X.ndim == 3:
            assert_close(gradients["X"][:n, b], g["X"][:, 0] / m, LIMIT, "∂E/∂X", call)
            assert not gradients["X"][n:, b].any()
        rows = np.s_[b] if call.output == "last" else np.s_[:n, b]
        row = np.s_[0] if call.output == "last" else np.s_[:, 0]
        assert_close(Y[rows], Y_b[row], 1e-14, "Y", call)
        assert_close(losses[rows], one.losses()[row], 1e-13, "losses", call)


def hidden(call, real, label, truth):
    """The call with these in every place that is not there."""
    dead, absent = ~call.alive, ~call.there

    def fill(array, place, value):
        return None if array is None else np.where(broad(place, array), value, array)

    return call.but(X=fill(call.X, dead, label if call.X.ndim == 2 else real), resets=fill(call.resets, dead, truth),
                    D=fill(call.D, absent, label if call.head.labels else real), dY=fill(call.dY, absent, real),
                    weights=fill(call.weights, absent, real))


@pytest.mark.share(2)
@every_head
@pytest.mark.parametrize("output", ["sequence", "last"])
def test_nothing_is_read_behind_the_end(head, output):
    for seed, tbptt in itertools.product(range(3), (None, (2, 3))):
        call = draw(f"padding {seed}", head=head, output=output, lengths=True).but(tbptt=tbptt)
        call.lengths[0] = 0
        zeros = hidden(call, 0.0, 0, False)
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            for real, label in ((np.nan, -7), (np.inf, 10**9)):
                full = hidden(call, real, label, True)
                assert full.loss() == zeros.loss(), call
                (E, gradients), (E_zeros, expected) = full.gradients(), zeros.gradients()
                assert E == E_zeros, call
                arrays = [*gradients.values(), *full.backward().values(), *full.forward(), full.losses()]
                expected = [*expected.values(), *zeros.backward().values(), *zeros.forward(), zeros.losses()]
                assert all(a.tobytes() == b.tobytes() for a, b in zip(arrays, expected, strict=True)), call


def test_an_output_that_would_overflow_behind_the_end_does_no_harm():
    parameters = {"W_x": np.eye(1), "W_s": np.zeros((1, 1)), "b_s": np.zeros(1), "W_y": np.full((1, 1), -1000.0),
                  "b_y": np.full(1, 1000.0)}  # Z = 1000 wherever the state is 0
    D = np.ones((2, 1, 1))
    for loss in ("poisson", "squared_error"):
        E, gradients = reference.loss_and_gradients(parameters, np.ones((2, 1, 1)), D, lengths=np.array([1]), loss=loss,
                                                    activation="identity", output_activation="exp")
        assert np.isfinite(E) and all(np.isfinite(gradient).all() for gradient in gradients.values())


@pytest.mark.parametrize("output", ["sequence", "last"])
@every_head
def test_without_any_step_the_loss_is_zero_and_so_is_every_gradient(head, output):
    call = draw("no step", head=head, output=output, lengths=True)
    call.lengths[:] = 0
    for tbptt in (None, (2, 2)):
        E, gradients = call.but(tbptt=tbptt).gradients()
        assert E == 0 and not any(gradient.any() for gradient in gradients.values())
        assert not any(gradient.any() for gradient in call.but(tbptt=tbptt).backward().values())
    Y, final, S = call.forward()
    assert not Y.any() and not call.losses().any() and not S[1:].any()
    assert np.array_equal(final, S[0])


@pytest.mark.parametrize("T, B", [(0, 4), (3, 0), (0, 0)])
@pytest.mark.parametrize("output", ["sequence", "last"])
@pytest.mark.parametrize("ids", [False, True], ids=["real", "ids"])
def test_empty_arrays_of_every_kind(T, B, output, ids):
    p = draw("empty", learnt=True, head=HEADS[0]).parameters
    X = np.zeros((T, B), int) if ids else np.zeros((T, B, KINDS.I))
    D = np.zeros((T, B, KINDS.O) if output == "sequence" else (B, KINDS.O))
    options = {"output": output, "lengths": np.zeros(B, int), "resets": np.ones((T, B), bool)}
    Y, final, S = reference.forward(p, X, **options)
    assert (Y.shape, final.shape, S.shape) == (D.shape, (B, KINDS.H), (T + 1, B, KINDS.H))
    for tbptt in (None, (1, 1)):
        E, gradients = reference.loss_and_gradients(p, X, D, tbptt=tbptt, initial_state_gradient=True, **options)
        assert E == 0 and gradients.pop("initial_state").shape == (B, KINDS.H)
        assert {name: g.shape for name, g in gradients.items()} == {name: w.shape for name, w in p.items()}
        assert not any(g.any() for g in gradients.values())


@pytest.mark.share(3)
@every_seed
def test_resets_cut_a_sequence_into_pieces(seed):
    call = draw(f"cut {seed}", resets=True, output="sequence", learnt=seed % 2 == 0)
    call.options["reduction"] = "sum"
    E, gradients = call.gradients()
    expected = {name: np.zeros_like(gradient) for name, gradient in gradients.items()}
    total = 0
    for b in range(KINDS.B):
        n = call.steps[b]
        cuts = sorted({0, n, *np.flatnonzero(call.resets[:n, b])})
        for begin, end in itertools.pairwise(cuts):
            piece = np.s_[begin:end, b:b + 1]
            carried = begin == 0 and not call.resets[0, b]
            e, g = call.but(
                X=call.X[piece], D=call.D[piece], weights=None if call.weights is None else call.weights[piece],
                lengths=None, resets=None,
                initial_state=call.initial_state[b:b + 1] if carried and call.initial_state is not None else None,
            ).gradients()
            total += e
            for name in call.parameters:
                expected[name] += g[name]
            if call.X.ndim == 3:
                expected["X"][piece] = g["X"]
            if carried:
                expected["initial_state"][b] = g["initial_state"][0]
    assert_close(E, total, 1e-13, "E", call)
    for name, gradient in gradients.items():
        assert_close(gradient, expected[name], LIMIT, f"∂E/∂{name}", call)
    assert not gradients["initial_state"][call.resets[0]].any()


def test_a_reset_puts_the_networks_own_state_in_place_of_the_given_one():
    for learnt in (False, True):
        call = draw("own state", learnt=learnt, given=True, resets=True, lengths=False)
        call.resets[0] = True
        _, _, S = call.forward()
        assert np.array_equal(S[0], call.initial_state)
        assert np.array_equal(S[1:], call.but(initial_state=None).forward()[2][1:])
        if learnt:
            assert call.gradients()[1]["S_0"].any()


def placed(call):
    """A call of output="last" as one with an error at each step, of weight 0 but in the last."""
    if call.output == "sequence":
        return call
    b = np.flatnonzero(call.there)
    D, dY = (np.zeros((len(call.X), *array.shape), array.dtype) for array in (call.D, call.dY))
    weights = np.ones(call.there.shape) if call.weights is None else call.weights
    m = np.zeros((len(call.X), *weights.shape))
    for array, values in ((D, call.D), (dY, call.dY), (m, weights)):
        array[call.steps[b] - 1, b] = values[b]
    return call.but(D=D, dY=dY, weights=m, output="sequence")


@pytest.mark.share(3)
@every_seed
@pytest.mark.parametrize("tbptt", [None, (2, 3), (3, 1)], ids=str)
def test_last_is_weight_at_the_last_steps_alone(seed, tbptt):
    call = draw(f"last {seed}", output="last").but(tbptt=tbptt)
    other = placed(call)
    (E, gradients), (E_placed, expected) = call.gradients(), other.gradients()
    assert_close(E, E_placed, 1e-13, "E", call)
    of_dY, of_dY_placed = call.backward(), other.backward()
    for name in gradients:
        assert_close(gradients[name], expected[name], LIMIT, f"∂E/∂{name}", call)
        assert_close(of_dY[name], of_dY_placed[name], LIMIT, f"∂E/∂{name} of dY", call)
    losses = other.losses()
    for b, n in enumerate(call.steps):
        assert_close(call.losses()[b], losses[n - 1, b] if n else 0.0, 1e-13, "losses", call)


@pytest.mark.share(3)
@every_seed
def test_ids_are_unit_vectors(seed):
    call = draw(f"ids {seed}", ids=True).but(tbptt=(2, 3) if seed % 2 else None)
    dense = call.but(X=np.eye(KINDS.I)[call.X])
    for result, expected in zip((*call.forward(), call.losses(), call.loss()),
                                (*dense.forward(), dense.losses(), dense.loss()), strict=True):
        assert_close(result, expected, 1e-14, "a result of the forward pass", call)
    (E, gradients), (E_dense, expected) = call.gradients(), dense.gradients()
    assert_close(E, E_dense, 1e-14, "E", call)
    assert "X" not in gradients
    for name, gradient in gradients.items():
        assert_close(gradient, expected[name], 1e-13, f"∂E/∂{name}", call)
    never = np.setdiff1d(np.arange(KINDS.I), call.X[call.alive])
    assert not gradients["W_x"][:, never].any()


def test_ids_have_no_gradient():
    call = draw("ids", ids=True)
    for function, target in ((reference.loss_and_gradients, call.D), (reference.backward, call.dY)):
        with pytest.raises(ValueError, match=r"got token ids of shape \(6, 4\)"):
            function(call.parameters, call.X, target, input_gradient=True, **call.kind)


# ---------------------------------------------------------------------------------------------------------------------
# Truncation
# ---------------------------------------------------------------------------------------------------------------------

# (k1, k2): δ_1, δ_2, δ_3 of test_reference.py's network: W_x = 2, W_s = -1, W_y = 3, S_0 = 1/2, X = 1, -2, 3,
# S = 3/2, -11/2, 23/2, δy = 7, -33, 71. The errors arrive as δy W_y = 21, -99, 213.
BY_HAND = {
    (3, 3): (333, -312, 213),  # nothing is cut
    (1, 3): (333, -312, 213),
    (1, 1): (21, -99, 213),  # nothing goes back
    (1, 2): (21 + 99, -99 - 213, 213),
    (2, 2): (21 + 99, -99 - 213, 213),  # the last window is of one step, and goes back two
    (2, 1): (0, -99, 213),  # at the end of the second step, the first step's error is too old
    (2, 3): (21 + 99 + 213, -99 - 213, 213),
    (3, 2): (0, -99 - 213, 213),
    (9, 1): (0, 0, 213),
}


@pytest.mark.parametrize("tbptt", BY_HAND, ids=str)
def test_truncation_of_three_steps_worked_by_hand(tbptt):
    parameters = {"W_x": np.array([[2.0]]), "W_s": np.array([[-1.0]]), "W_y": np.array([[3.0]])}
    E, gradients = reference.loss_and_gradients(
        parameters, np.array([1.0, -2, 3]).reshape(3, 1, 1), np.array([1.0, 0, -1]).reshape(3, 1, 1),
        initial_state=np.array([[0.5]]), activation="identity", reduction="sum", tbptt=tbptt, input_gradient=True,
        initial_state_gradient=True)
    d1, d2, d3 = BY_HAND[tbptt]
    assert E == 3.5**2 + 16.5**2 + 35.5**2
    assert {name: value.ravel().tolist() for name, value in gradients.items()} == {
        "W_x": [d1 * 1 + d2 * (-2) + d3 * 3],
        "W_s": [d1 * 0.5 + d2 * 1.5 + d3 * (-5.5)],
        "W_y": [7 * 1.5 + (-33) * (-5.5) + 71 * 11.5],
        "X": [d1 * 2, d2 * 2, d3 * 2],
        "initial_state": [-d1],
    }


def window_errors(fixed, call, begin, since, end, own):
    """What truncated BPTT differentiates in the window that ends at `end`, a function of what `call` holds.

    The steps begin ... end - 1 run from the state of `fixed`, a call of numbers, at begin. The errors are those of the
    steps since ... end - 1; where these lie before begin, their states are numbers too. `own` asks for Σ dY ∘ Y.
    """
    S = fixed.forward()[2]
    initial = call.initial_state if begin == 0 else S[begin]
    of_window = call.but(X=call.X[begin:end], lengths=np.clip(call.steps - begin, 0, end - begin), output="sequence",
                         resets=None if call.resets is None else call.resets[begin:end], initial_state=initial)
    states = np.concatenate([S[since + 1:begin + 1], of_window.forward()[2][max(since - begin, 0) + 1:]])
    Z = states @ call.parameters["W_y"].T + call.parameters.get("b_y", 0)
    steps, alive = placed(call), call.alive[since:end]
    if own:
        Y = reference.OUTPUT_ACTIVATIONS[call.head.output_activation][0](Z)
        return np.where(alive[..., None], steps.dY[since:end] * Y, 0).sum()
    weights = np.ones(alive.shape) if steps.weights is None else steps.weights[since:end]
    weights = np.where(broad(alive, weights), weights, 0)
    scale = 1 / divisor(call) if call.options["reduction"] == "mean" and divisor(call) > 0 else 1
    options = {name: call.options[name] for name in ("output_activation", "loss", "loss_parameter")}
    return scale * reference.error(Z, steps.D[since:end], weights, 1, **options)[2]


def truncated(call, own=False):
    """The sum over windows, as a function to differentiate; its derivative is the truncated gradient of `call`."""
    (k1, k2), T = call.tbptt, len(call.X)
    ends = [t for t in range(1, T + 1) if t % k1 == 0 or t == T]
    return lambda at: sum(window_errors(call, at, max(0, end - k2), since, end, own)
                          for since, end in zip([0, *ends], ends))


PAIRS = [(1, 1), (1, 2), (1, 6), (2, 1), (2, 2), (2, 3), (2, 9), (3, 2), (3, 3), (3, 5), (4, 3), (4, 4), (4, 5), (5, 1),
         (5, 6), (6, 1), (6, 4), (6, 6), (9, 1), (9, 4), (9, 9)]
every_pair = pytest.mark.parametrize("tbptt", PAIRS, ids=str)


@pytest.mark.share(3)
@every_pair
def test_truncated_gradients_of_random_calls(tbptt):
    for seed in range(12):
        call = draw(f"truncated {tbptt} {seed}").but(tbptt=tbptt)
        E, gradients = call.gradients()
        assert E == call.loss(), call
        assert_gradients_match(call, gradients, truncated(call))
        assert_gradients_match(call, call.backward(), truncated(call, own=True))


@pytest.mark.share(4)
@pytest.mark.parametrize("tbptt", [(2, 1), (2, 3), (3, 3), (9, 2)], ids=str)
@pytest.mark.parametrize("given", [False, True], ids=["S_0", "given"])
def test_every_entry_of_truncated_gradients(tbptt, given):
    call = draw(f"entries {tbptt}", shape=KINDS._replace(T=5, B=3), lengths=True, resets=True, given=given, ids=False,
                learnt=True, output="sequence").but(tbptt=tbptt)
    call.lengths[:2] = 5, 4
    assert_every_entry_matches(call, call.gradients()[1], truncated(call))


@pytest.mark.share(3)
@every_seed
def test_one_window_is_the_plain_gradient_to_the_bit(seed):
    call = draw(f"one window {seed}")
    E, gradients = call.gradients()
    of_dY = call.backward()
    for tbptt in ((6, 6), (6, 7), (7, 6), (100, 100)):
        E_window, in_window = call.but(tbptt=tbptt).gradients()
        assert E_window == E
        for name, gradient in call.but(tbptt=tbptt).backward().items():
            assert gradients[name].tobytes() == in_window[name].tobytes(), f"∂E/∂{name}, {tbptt}; {call}"
            assert gradient.tobytes() == of_dY[name].tobytes(), f"∂E/∂{name} of dY, {tbptt}; {call}"


def test_one_window_keeps_the_sign_of_a_zero():
    dF, R, through, resets = -np.ones((3, 2, 2)), np.zeros((3, 2, 2)), reference.Through(np.eye(2)), np.zeros((3, 2), bool)
    units = reference.Units("relu")  # δ is -1 · 0
    expected = reference.recur_back(units, dF, R, R, through, resets)
    assert np.signbit(expected[0]).all()
    for tbptt in (None, (3, 3)):
        for result, truth in zip(reference.recur_back_windows(units, dF, R, R, through, resets, tbptt), expected, strict=True):
            assert result.tobytes() == truth.tobytes()


@pytest.mark.share(3)
@every_seed
def test_windows_that_reach_the_first_step_sum_to_the_plain_gradient(seed):
    call = draw(f"all windows {seed}")
    _, gradients = call.gradients()
    for k1 in range(1, 6):
        _, in_windows = call.but(tbptt=(k1, 6)).gradients()
        for name, gradient in gradients.items():
            assert_close(in_windows[name], gradient, 1e-13, f"∂E/∂{name}, k1 = {k1}", call)


@pytest.mark.share(3)
@every_seed
@pytest.mark.parametrize("k", [1, 2, 3, 6])  # which divide T: a shorter last window would go back into the chunk before
def test_equal_numbers_are_chunks_that_hand_on_their_state(seed, k):
    call = placed(draw(f"chunks {seed}").but(tbptt=(k, k)))
    call.options["reduction"] = "sum"
    E, gradients = call.gradients()
    state, total, expected = call.initial_state, 0, {}
    for begin in range(0, len(call.X), k):
        steps = np.s_[begin:begin + k]
        X = call.X[steps]
        chunk = call.but(X=X, D=call.D[steps], dY=call.dY[steps], lengths=np.clip(call.steps - begin, 0, len(X)),
                         weights=None if call.weights is None else call.weights[steps],
                         resets=None if call.resets is None else call.resets[steps], initial_state=state, tbptt=None)
        e, g = chunk.gradients()
        total += e
        for name in call.parameters:
            expected[name] = expected.get(name, 0) + g[name]
        if call.X.ndim == 3:
            assert_close(gradients["X"][steps], g["X"], LIMIT, "∂E/∂X", call)
        if begin == 0:
            assert_close(gradients["initial_state"], g["initial_state"], LIMIT, "∂E/∂initial_state", call)
        state = chunk.forward()[1]
    assert_close(E, total, 1e-13, "E", call)
    for name in call.parameters:
        assert_close(gradients[name], expected[name], LIMIT, f"∂E/∂{name}", call)


# ---------------------------------------------------------------------------------------------------------------------
# Types, and what is not touched
# ---------------------------------------------------------------------------------------------------------------------


@pytest.mark.share(3)
@every_seed
def test_float32_stays_float32(seed):
    call = draw(f"float32 {seed}").but(tbptt=(2, 3) if seed % 2 else None)

    def single(array):
        return array if array is None or array.dtype != float else array.astype(np.float32)

    narrow = call.but(parameters={name: single(value) for name, value in call.parameters.items()},
                      **{name: single(getattr(call, name)) for name in ("X", "D", "dY", "weights", "initial_state")})
    (E, gradients), (E_wide, expected) = narrow.gradients(), call.gradients()
    assert E == pytest.approx(E_wide, rel=1e-4)
    for name, gradient in gradients.items():
        assert_close(gradient, expected[name], 1e-4, f"∂E/∂{name}", call)
    for array in (*gradients.values(), *narrow.backward().values(), *narrow.forward(), narrow.losses()):
        assert array.dtype == np.float32


@pytest.mark.share(3)
@every_seed
def test_nothing_given_is_modified(seed):
    call = draw(f"read only {seed}").but(tbptt=(2, 3) if seed % 2 else None)
    given = [array for array in (*call.parameters.values(), call.X, call.D, call.dY, call.weights, call.initial_state,
                                 call.lengths, call.resets) if array is not None]
    for array in given:
        array.flags.writeable = False  # NumPy raises at any write
    for result in (*call.gradients()[1].values(), *call.backward().values(), *call.forward(), call.losses()):
        assert result.flags.writeable and not any(np.shares_memory(result, array) for array in given)
