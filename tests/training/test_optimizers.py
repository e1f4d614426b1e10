"""An update is a rule with its numbers: right by hand, checked when it is made, applied whole and in place."""

import dataclasses

import numpy as np
import pytest

from fastbptt import optimizers, reference

pytestmark = pytest.mark.quick
BACKENDS = ["core", "reference"]
both_backends = pytest.mark.parametrize("backend", BACKENDS)
every_rule = pytest.mark.parametrize("name", optimizers.OPTIMIZERS)

VARIANTS = {
    "sgd": optimizers.SGD(0.05),
    "momentum": optimizers.SGD(0.05, momentum=0.9),
    "nesterov": optimizers.SGD(0.05, momentum=0.9, nesterov=True),
    "rmsprop": optimizers.RMSprop(0.05, rho=0.9, epsilon=1e-6),
    "adagrad": optimizers.Adagrad(0.05),
    "adam": optimizers.Adam(0.05, beta_1=0.8, beta_2=0.95, epsilon=1e-6),
    "adamw": optimizers.AdamW(0.05, weight_decay=0.1),
}
every_variant = pytest.mark.parametrize("variant", VARIANTS)


def by_hand(o, theta, gradients):
    """The textbook's rules, an entry and an update at a time, in Python's floats: parameters after each update."""
    theta, thetas = [float(x) for x in theta], []
    a, b = [0.0] * len(theta), [0.0] * len(theta)
    for n, gradient in enumerate(gradients, start=1):
        for j, g in enumerate(float(x) for x in gradient):
            if o.rule == "sgd":
                a[j] = o.momentum * a[j] + g
                step = g + o.momentum * a[j] if o.nesterov else a[j]
            elif o.rule == "rmsprop":
                a[j] = o.rho * a[j] + (1 - o.rho) * g * g
                step = g / (a[j] ** 0.5 + o.epsilon)
            elif o.rule == "adagrad":
                a[j] = a[j] + g * g
                step = g / (a[j] ** 0.5 + o.epsilon)
            else:
                if o.rule == "adamw":
                    theta[j] -= o.learning_rate * o.weight_decay * theta[j]
                a[j] = o.beta_1 * a[j] + (1 - o.beta_1) * g
                b[j] = o.beta_2 * b[j] + (1 - o.beta_2) * g * g
                step = a[j] / (1 - o.beta_1**n) / ((b[j] / (1 - o.beta_2**n)) ** 0.5 + o.epsilon)
            theta[j] -= o.learning_rate * step
        thetas.append(list(theta))
    return np.array(thetas)


@every_variant
@both_backends
@pytest.mark.parametrize(("dtype", "tolerance"), [("float64", 1e-14), ("float32", 2e-6)])
def test_every_rule_is_the_textbooks(variant, backend, dtype, tolerance):
    optimizer, rng = VARIANTS[variant], np.random.default_rng(0)
    theta = rng.standard_normal(37).astype(dtype)
    gradients = rng.standard_normal((25, 37)).astype(dtype)
    gradients[:, 5] = 0  # an entry that never has a gradient divides by epsilon alone
    expected = by_hand(optimizer, theta, gradients)
    slots = optimizer.slots(theta)
    for n, gradient in enumerate(gradients):
        optimizer.update(theta, gradient, slots, n + 1, backend=backend)
        np.testing.assert_allclose(theta, expected[n], rtol=tolerance, atol=tolerance)
    assert theta.dtype == dtype and all(slot.dtype == dtype for slot in slots)


@every_variant
@both_backends
def test_every_rule_goes_down_a_quadratic(variant, backend):
    curvature = np.array([1.0, 3.0, 0.3])
    theta = np.array([2.0, -1.0, 1.5])
    optimizer, before = VARIANTS[variant], float(np.sum(curvature * theta**2))
    slots = optimizer.slots(theta)
    for n in range(1, 301):
        optimizer.update(theta, 2 * curvature * theta, slots, n, backend=backend)
    assert np.sum(curvature * theta**2) < 0.2 * before


@every_variant
@both_backends
def test_an_update_is_in_place_and_leaves_the_gradient(variant, backend):
    optimizer, theta = VARIANTS[variant], np.linspace(-1, 1, 70)
    gradient, slots = np.linspace(2, -3, 70), optimizer.slots(theta)
    kept, before = (theta, *slots), gradient.copy()
    start, count = theta.copy(), len(slots)
    assert optimizer.update(theta, gradient, slots, 1, backend=backend) is None
    assert len(slots) == count and all(a is b for a, b in zip((theta, *slots), kept))
    assert np.array_equal(gradient, before)
    assert (theta != start).all()
    assert all(slot.any() for slot in slots)


@every_variant
def test_core_and_reference_agree_from_any_state(variant):
    optimizer, rng = VARIANTS[variant], np.random.default_rng(1)
    theta, gradient = rng.standard_normal(65), rng.standard_normal(65)
    start = [rng.uniform(0.1, 1, 65) for _ in optimizer.slots(theta)]
    results = []
    for backend in BACKENDS:
        own, slots = theta.copy(), [slot.copy() for slot in start]
        optimizer.update(own, gradient, slots, 7, backend=backend)
        results.append((own, *slots))
    for core, expected in zip(*results):
        np.testing.assert_allclose(core, expected, rtol=1e-14, atol=1e-15)


def test_one_optimizer_serves_many_runs():
    optimizer = optimizers.Adam(0.1)
    thetas = [np.ones(4), np.ones(4)]
    slots = [optimizer.slots(theta) for theta in thetas]
    for n in (1, 2, 3):
        optimizer.update(thetas[0], np.ones(4), slots[0], n)
    for n in (1, 2, 3):
        optimizer.update(thetas[1], np.ones(4), slots[1], n)
    assert np.array_equal(*thetas)


def test_slots_are_zeros_like_theta():
    for name, kind in optimizers.OPTIMIZERS.items():
        slots = kind().slots(np.ones(5, "f4"))
        assert len(slots) == reference.UPDATE_RULES[name]
        assert all(slot.dtype == np.float32 and slot.shape == (5,) and not slot.any() for slot in slots)
        assert not any(np.shares_memory(a, b) for k, a in enumerate(slots) for b in slots[:k])


# ---- How an optimiser is made


@pytest.mark.parametrize(("name", "kind", "numbers"), [
    ("sgd", optimizers.SGD, {"learning_rate": 1e-3, "momentum": 0.0, "nesterov": False}),
    ("rmsprop", optimizers.RMSprop, {"learning_rate": 1e-3, "rho": 0.99, "epsilon": 1e-8}),
    ("adagrad", optimizers.Adagrad, {"learning_rate": 1e-3, "epsilon": 1e-10}),
    ("adam", optimizers.Adam, {"learning_rate": 1e-3, "beta_1": 0.9, "beta_2": 0.999, "epsilon": 1e-8}),
    ("adamw", optimizers.AdamW,
     {"learning_rate": 1e-3, "beta_1": 0.9, "beta_2": 0.999, "epsilon": 1e-8, "weight_decay": 0.01}),
])
def test_a_name_stands_for_an_optimizer_with_its_defaults(name, kind, numbers):
    made = optimizers.make(name)
    assert type(made) is kind and dataclasses.asdict(made) == numbers and made.rule == name
    assert optimizers.make(name, 0.25) == kind(learning_rate=0.25)
    own = kind(0.5)
    assert optimizers.make(own) is own


def test_every_rule_of_the_reference_has_a_name():
    assert set(optimizers.OPTIMIZERS) == set(reference.UPDATE_RULES)


def test_a_second_learning_rate_is_refused():
    with pytest.raises(ValueError, match=r"learning_rate=0.1.*SGD\(learning_rate=0.5.*give only one"):
        optimizers.make(optimizers.SGD(0.5), 0.1)


@pytest.mark.parametrize(("value", "error", "words"), [
    ("adm", ValueError, ("optimizer", "'adm'", "did you mean 'adam'")),
    ("Adam", ValueError, ("optimizer", "'Adam'", "'adam'")),
    (None, TypeError, ("optimizer", "NoneType")),
    (3, TypeError, ("optimizer", "int")),
    (optimizers.Adam, TypeError, ("optimizer", "type")),
    ({"learning_rate": 1}, TypeError, ("optimizer", "dict")),
])
def test_what_is_no_optimizer_is_refused(value, error, words):
    with pytest.raises(error) as caught:
        optimizers.make(value)
    for word in words:
        assert word in str(caught.value)


@every_rule
def test_an_optimizer_is_frozen_comparable_and_says_its_numbers(name):
    made = optimizers.make(name)
    with pytest.raises(dataclasses.FrozenInstanceError):
        made.learning_rate = 1.0
    assert made == optimizers.make(name) != optimizers.make(name, 0.5)
    assert eval(repr(made), vars(optimizers)) == made
    assert hash(made) == hash(optimizers.make(name))


NUMBERS = [(name, field.name) for name, kind in optimizers.OPTIMIZERS.items() for field in dataclasses.fields(kind)
           if field.name != "nesterov"]


@pytest.mark.parametrize(("name", "number"), NUMBERS)
@pytest.mark.parametrize(("value", "error"), [
    (np.nan, ValueError), (np.inf, ValueError), (-np.inf, ValueError), (-0.5, ValueError), ("0.1", TypeError),
    (None, TypeError), (True, TypeError), (1j, TypeError), (np.ones(3), TypeError),
])
def test_a_number_out_of_its_range_is_refused(name, number, value, error):
    with pytest.raises(error, match=number) as caught:
        optimizers.OPTIMIZERS[name](**{number: value})
    assert (str(value) if error is ValueError else type(value).__name__) in str(caught.value)


@pytest.mark.parametrize(("name", "number"), [(name, number) for name, number in NUMBERS
                                              if number in ("rho", "beta_1", "beta_2", "momentum")])
def test_a_decay_of_one_or_more_is_refused(name, number):
    optimizers.OPTIMIZERS[name](**{number: 0.0})
    optimizers.OPTIMIZERS[name](**{number: 0.999999})
    for value in (1.0, 1, 1.5):
        with pytest.raises(ValueError, match=rf"{number} must be finite and >= 0 and < 1, got {float(value)}"):
            optimizers.OPTIMIZERS[name](**{number: value})


@every_rule
def test_a_learning_rate_of_zero_is_refused(name):
    with pytest.raises(ValueError, match="learning_rate must be finite and > 0, got 0.0"):
        optimizers.make(name, 0)


def test_nesterov_is_a_flag_and_needs_a_momentum():
    with pytest.raises(TypeError, match="nesterov must be True or False, got int 1"):
        optimizers.SGD(momentum=0.9, nesterov=1)
    with pytest.raises(ValueError, match="nesterov.*momentum"):
        optimizers.SGD(nesterov=True)


def test_the_base_of_all_rules_is_none():
    with pytest.raises(TypeError, match="Optimizer"):
        optimizers.Optimizer()


def test_unknown_numbers_are_refused():
    with pytest.raises(TypeError, match="beta_3"):
        optimizers.Adam(beta_3=0.5)
    with pytest.raises(TypeError, match="lr"):
        optimizers.SGD(lr=0.5)


@every_variant
@both_backends
def test_tiny_and_huge_gradients_do_not_turn_into_nan(variant, backend):
    optimizer = VARIANTS[variant]
    for dtype, values in (("float64", [0.0, 5e-324, 1e-200, 1e100]), ("float32", [0.0, 1e-45, 1e-30, 1e15])):
        theta = np.ones(4, dtype)
        slots = optimizer.slots(theta)
        for n in (1, 2):
            optimizer.update(theta, np.array(values, dtype), slots, n, backend=backend)
        assert np.isfinite(theta).all()
