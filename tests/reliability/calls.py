"""Random calls of the public functions with hostile arguments: a documented error, or the right answer; nothing modified."""

from processes import run_python

from .table import check

HOSTILE = """
import datetime, decimal, faulthandler, fractions, itertools, math, random, resource, sys, warnings
import numpy as np
import fastbptt
from fastbptt import (
    Population,
    RNN,
    RNNClassifier,
    RNNRegressor,
    SequenceScaler,
    datasets,
    diagnostics,
    optimizers,
    schedules,
    sequences,
)

faulthandler.enable()
warnings.simplefilter("ignore")
np.seterr(all="ignore")
resource.setrlimit(resource.RLIMIT_AS, (2**32, resource.RLIM_INFINITY))
DOCUMENTED = (TypeError, ValueError, IndexError, KeyError, MemoryError, FloatingPointError)
T, B, I, H, O = 6, 5, 3, 7, 2

# ---- What may be done to an argument. The first leave its value as it is.


class Sub(np.ndarray):
    "A subclass that reads as itself."


def unaligned(a):
    raw = np.empty(a.nbytes + 1, np.uint8)
    view = raw[1:].view(a.dtype).reshape(a.shape) if a.size else a
    view[...] = a
    return view


def strided(a):
    wide = np.full([2 * n + 1 for n in a.shape], 99, a.dtype)
    view = wide[tuple(slice(1, None, 2) for _ in a.shape)]
    view[...] = a
    return view


def read_only(a):
    a = a.copy()
    a.flags.writeable = False
    return a


SAME = {
    "fortran": lambda a, rng: np.asfortranarray(a),
    "negative strides": lambda a, rng: np.ascontiguousarray(a[(slice(None, None, -1),) * a.ndim])[
        (slice(None, None, -1),) * a.ndim
    ],
    "strided": lambda a, rng: strided(a),
    "unaligned": lambda a, rng: unaligned(a),
    "swapped": lambda a, rng: a.astype(a.dtype.newbyteorder()),
    "read-only": lambda a, rng: read_only(a),
    "subclass": lambda a, rng: a.copy().view(Sub),
    "lists": lambda a, rng: a.tolist(),
    "wider": lambda a, rng: a.astype(np.longdouble if a.dtype.kind == "f" else a.dtype),
    "double": lambda a, rng: a.astype(np.float64 if a.dtype.kind == "f" else a.dtype),
    "memoryview": lambda a, rng: memoryview(np.ascontiguousarray(a)),
}


def put(a, rng, value):
    a = a.astype(np.float64)
    if a.size:
        a.flat[rng.randrange(a.size)] = value
    return a


def other_shape(a, rng):
    shape = list(a.shape)
    if shape:
        shape[rng.randrange(len(shape))] = rng.choice((0, 1, 2, 4, 40))
    return np.resize(a, shape)


OTHER = {
    "nan": lambda a, rng: put(a, rng, np.nan),
    "inf": lambda a, rng: put(a, rng, rng.choice((np.inf, -np.inf))),
    "large": lambda a, rng: a * 1e30,
    "huge": lambda a, rng: a * 1e300,
    "denormal": lambda a, rng: a * np.float64(1e-310) if a.dtype.kind == "f" else a,
    "float denormal": lambda a, rng: (a * np.float32(1e-41)).astype("f4") if a.dtype.kind == "f" else a,
    "-0": lambda a, rng: a * -0.0,
    "empty": lambda a, rng: a[:0],
    "empty last": lambda a, rng: a[..., :0],
    "another shape": other_shape,
    "one axis more": lambda a, rng: a[..., None],
    "one axis before": lambda a, rng: a[None],
    "one axis less": lambda a, rng: a[..., 0] if a.ndim else a,
    "transposed": lambda a, rng: a.T,
    "flat": lambda a, rng: a.ravel(),
    "scalar": lambda a, rng: a.flat[0] if a.size else 0.0,
    "0-d": lambda a, rng: np.array(1.0),
    "repeated": lambda a, rng: np.broadcast_to(a[:1], a.shape) if a.ndim else a,
    "windows": lambda a, rng: np.lib.stride_tricks.as_strided(np.ascontiguousarray(a), a.shape, (a.itemsize,) * a.ndim),
    "complex": lambda a, rng: a + 1j,
    "object": lambda a, rng: a.astype(object),
    "object none": lambda a, rng: np.full(a.shape, None),
    "text": lambda a, rng: a.astype(str),
    "bytes": lambda a, rng: a.astype("S8"),
    "bool": lambda a, rng: a > 0,
    "integers": lambda a, rng: np.rint(a * 3).astype(np.int64),
    "unsigned": lambda a, rng: np.full(a.shape, 2**64 - 1, np.uint64),
    "tiny integers": lambda a, rng: np.full(a.shape, -128, np.int8),
    "half": lambda a, rng: a.astype(np.float16),
    "masked": lambda a, rng: np.ma.masked_less(a, 0),
    "tuple of arrays": lambda a, rng: tuple(a),  # of X and D refused: they may be sequences or time steps
    "masked list": lambda a, rng: [np.ma.masked_less(each, 0) for each in a],
    "structured": lambda a, rng: np.zeros(a.shape, [("x", "f4")]),
    "dates": lambda a, rng: np.zeros(a.shape, "datetime64[D]"),
    "void": lambda a, rng: np.zeros(a.shape, "V4"),
    "endless": lambda a, rng: np.broadcast_to(np.float32(0), (2**31, *a.shape[1:])),
    "endless last": lambda a, rng: np.broadcast_to(np.float32(0), (*a.shape[:-1], 2**40)),
    "product": lambda a, rng: np.broadcast_to(np.float32(0), (2**30, 2**30, a.shape[-1] if a.ndim else 1)),
    "ragged": lambda a, rng: [each[: 1 + n % 2] for n, each in enumerate(a)] if a.ndim > 1 else [[1.0], [1.0, 2.0]],
    "list of odd": lambda a, rng: [1.0, "x", None, object()],
    "list of big": lambda a, rng: [10**30, 10**400],
    "nested": lambda a, rng: [[[[[[1.0]]]]]],
    "itself": lambda a, rng: endless_list(),
    "none": lambda a, rng: None,
    "string": lambda a, rng: "abc",
    "byte string": lambda a, rng: b"\\x00\\x01",
    "dict": lambda a, rng: {"a": a},
    "set": lambda a, rng: {1.0, 2.0},
    "generator": lambda a, rng: (x for x in a),
    "range": lambda a, rng: range(4),
    "number": lambda a, rng: rng.choice(
        (0, -1, 1.5, 10**400, float("nan"), True, 1j, decimal.Decimal(1), fractions.Fraction(1, 3))
    ),
    "a class": lambda a, rng: np.ndarray,
    "a function": lambda a, rng: len,
    "a network": lambda a, rng: RNN(1, 1, 1),
    "dates of python": lambda a, rng: datetime.date(2020, 1, 1),
    "lies": lambda a, rng: Lies(),
    "raises": lambda a, rng: Raises(),
}


def endless_list():
    a = []
    a.append(a)
    return a


class Lies:
    "An array interface of another size than its data."

    __array_interface__ = {"shape": (3, 2), "typestr": "<f4", "data": b"1234", "version": 3}


class Raises:
    def __array__(self, dtype=None, copy=None):
        raise ValueError("no array of this")


SCALARS = [
    None,
    True,
    False,
    0,
    1,
    2,
    3,
    -1,
    -2,
    7,
    2**15,
    2**31 - 1,
    2**31,
    2**63,
    2**64,
    10**400,
    0.0,
    0.5,
    1.0,
    2.5,
    -0.5,
    1e-320,
    1e308,
    float("nan"),
    float("inf"),
    1j,
    "",
    "x",
    "auto",
    "core",
    "sum",
    "tanh",
    "last",
    b"x",
    (),
    [],
    {},
    (1,),
    (2, 3),
    (0, 0),
    (3, 2),
    (1, 2, 3),
    (1.0, 2.0),
    (-1, 1),
    [4, 4],
    ("huber", 1.0),
    ("quantile", (0.5,)),
    ("x",),
    np.int64(3),
    np.float32(0.5),
    np.bool_(True),
    np.array(3),
    np.array([3]),
    np.array([]),
    np.nan,
    np.datetime64("2020"),
    decimal.Decimal("0.5"),
    fractions.Fraction(1, 2),
    object(),
    len,
    RNN,
    print,
    3 + 0j,
    np.random.default_rng(0),
    slice(None),
    Ellipsis,
    NotImplemented,
    datetime.date(2020, 1, 1),
    range(2),
    {"W_s": 1.0},
    {"W_s": True},
    {"W_s": np.ones((7, 7))},
    {"X": 1},
    {1: 2},
    set(),
    "orthogonal",
    np.str_("tanh"),
    "adam",
    "cosine",
]

# ---- Calls: a function of named arguments, right ones, which of them are arrays, which networks train

rng0 = np.random.default_rng(0)


def f4(*shape):
    return rng0.standard_normal(shape).astype(np.float32).astype(np.float64)


def data_of(net):
    ids = net.one_hot
    labels = (net.loss[0] if isinstance(net.loss, tuple) else net.loss) == "cross_entropy"
    last = net.output == "last"
    shape = (B,) if last else (T, B)
    state = tuple(f4(B, w) for w in net._widths) if net._stacked else f4(B, net._widths[0])
    X = rng0.integers(0, I, (T, B)) if ids else f4(T, B, I)
    D = rng0.integers(0, net.output_size, shape) if labels else f4(*shape, net.target_size)
    return {
        "X": X,
        "D": D,
        "weights": np.abs(f4(*shape)),
        "initial_state": state,
        "lengths": rng0.integers(1, T + 1, B),
        "resets": rng0.uniform(size=(T, B)) < 0.2,
        "dY": f4(*shape, net.output_size),
        "x": X[0],
        "state": state,
        "prefix": X,
    }


NETS = [
    RNN(I, H, O, random_state=0),
    RNN(I, H, O, dtype="float64", learn_initial_state=True, activation="relu", random_state=0),
    RNN(I, H, 4, one_hot=True, loss="cross_entropy", output_activation="softmax", random_state=0),
    RNN(I, H, O, output="last", reduction="sum", l2=1e-3, activation="sigmoid", random_state=0),
    RNN(I, (4, 3), O, random_state=0),
    RNN(I, H, O, bidirectional=True, dtype="float64", random_state=0),
    RNN(I, H, 4, loss=("quantile", (0.2, 0.8)), bias=False, dale_ratio=0.8, trainable={"W_x": False}, random_state=0),
    RNN(I, H, I, loss=("huber", 0.5), activation="softsign", autapses=False, random_state=0),
    RNN(I, H, O, cell="gru", recurrent_dropout=0.2, random_state=0),
    RNN(I, (4, 3), O, cell="lstm", dtype="float64", learn_initial_state=True, random_state=0),
]
OPTIONAL = ("weights", "initial_state", "lengths", "resets", "state")
BACKENDS = ["core", "core", "core", "reference"]


def method(name, required, optional, scalars=()):
    return name, required, optional, scalars


METHODS = [
    method("forward", ["X"], ["initial_state", "lengths", "resets"], ["return_states", "n_threads"]),
    method("step", ["x"], ["state"], ["n_threads"]),
    method("losses", ["X", "D"], ["weights", "initial_state", "lengths", "resets"], ["n_threads"]),
    method("evaluate", ["X", "D"], ["weights", "initial_state", "lengths", "resets"], ["n_threads"]),
    method(
        "loss_and_gradients",
        ["X", "D"],
        ["weights", "initial_state", "lengths", "resets"],
        ["tbptt", "memory_limit", "input_gradient", "initial_state_gradient", "n_threads"],
    ),
    method("backward", ["X", "dY"], ["initial_state", "lengths", "resets"], ["tbptt", "memory_limit", "n_threads"]),
]


def copy(value):
    if isinstance(value, np.ndarray):
        return value.copy()
    return tuple(map(copy, value)) if isinstance(value, tuple) else value


def bytes_of(value):
    "Something that changes when an argument does."
    if isinstance(value, np.ma.MaskedArray):
        value = value.data
    if isinstance(value, np.ndarray) and value.nbytes < 10**6:
        return repr((value.shape, value.dtype, value.strides)) + (
            repr(value.tolist()) if value.dtype.hasobject else value.tobytes().hex()
        )
    if isinstance(value, (list, tuple, dict)):
        return repr(value)
    return None


def flat(result):
    "Arrays of a result, in order."
    if isinstance(result, dict):
        return [each for name in sorted(result) for each in flat(result[name])]
    if isinstance(result, (tuple, list)):
        return [each for part in result for each in flat(part)]
    if hasattr(result, "S"):  # what `forward` returns with return_states=True
        return flat((result.S, getattr(result, "rates", ())))
    return [np.asarray(result)] if result is not None else []


def close(a, b, dtype, arguments):
    "Whether two backends agree, as far as rounding lets one say: not where large numbers may cancel."
    a, b = flat(a), flat(b)
    assert len(a) == len(b)
    numbers = [np.asarray(each) for each in arguments.values() if isinstance(each, (np.ndarray, memoryview))]
    numbers = [np.asarray(each, np.float64) for each in numbers if each.dtype.kind in "buif"]
    small = all(np.nanmax(np.abs(each), initial=0) < (5 if dtype == "float32" else 50) for each in numbers)
    for x, y in zip(a, b):
        if x.shape != y.shape or x.dtype != y.dtype:
            return False
        fine = np.isfinite(x) & np.isfinite(y)
        if x.dtype.kind != "f" or not fine.any():
            continue
        scale = np.abs(y[fine]).max()
        if small and scale < 1e15 and fine.all():
            tolerance = 1e-3 if dtype == "float32" else 1e-9
            if np.abs(x[fine] - y[fine]).max() > tolerance * max(scale, 1e-30):
                return False
    return True


class Wrong(Exception):
    pass


def try_call(function, arguments, what):
    "(kind, result) of a call; raises Wrong for anything that is not documented."
    before = {name: bytes_of(value) for name, value in arguments.items()}
    try:
        result, kind = function(**arguments), None
    except DOCUMENTED as error:
        result, kind = error, type(error)
        if not str(error) and not isinstance(error, MemoryError):  # Python's own has none
            raise Wrong(f"{what}: {kind.__name__} without words") from error
    except Exception as error:
        raise Wrong(f"{what}: {type(error).__name__}: {error}") from error
    for name, value in arguments.items():
        if bytes_of(value) != before[name]:
            raise Wrong(f"{what}: {name} was modified")
    return kind, result


def change(arguments, names, scalars, rng):
    "One to three hostile changes; a description, and whether the values are the same."
    said, same = [], True
    for _ in range(rng.choice((1, 1, 1, 2, 3))):
        if scalars and rng.random() < 0.25:
            name = rng.choice(scalars)
            arguments[name] = rng.choice(SCALARS)
            said.append(f"{name}={arguments[name]!r:.60}")
            same = False
            continue
        name = rng.choice(names)
        value, part = arguments[name], None
        if isinstance(value, tuple) and value and isinstance(value[0], np.ndarray) and rng.random() < 0.7:
            part = rng.randrange(len(value))
            value = value[part]
        if not isinstance(value, np.ndarray):
            continue
        table, keeps = (SAME, True) if rng.random() < 0.4 else (OTHER, False)
        how = rng.choice(list(table))
        if value.size > 10**6 or (value.ndim == 0 or value.dtype.hasobject) and how not in ("none", "string", "number"):
            continue
        try:
            new = table[how](value, rng)
        except Exception:  # it cannot be done to this one
            continue
        if part is not None:
            new = (*arguments[name][:part], new, *arguments[name][part + 1 :])
        arguments[name] = new
        same &= keeps
        said.append(f"{name}: {how}")
    return ", ".join(said), same
"""

ENGINE = HOSTILE + """
count, seed = int(sys.argv[1]), int(sys.argv[2])
rng = random.Random(seed)
DATA = [data_of(net) for net in NETS]
THETA = [net.theta.tobytes() for net in NETS]
right, errors, answers, again = {}, 0, 0, 0
for k in range(count):
    n = rng.randrange(len(NETS))
    net, data = NETS[n], DATA[n]
    name, required, optional, scalars = rng.choice(METHODS)
    if name == "step" and net.bidirectional:
        continue
    used = required + [each for each in optional if rng.random() < 0.3]
    arguments = {each: copy(data[each]) for each in used}
    function = getattr(net, name)
    key = (n, name, *used)
    if key not in right:
        right[key] = flat(function(**arguments))
    said, same = change(arguments, used, scalars, rng)
    what = f"{name} of network {n} with {', '.join(used)}; {said} (seed {seed}, call {k})"
    backend = rng.choice(BACKENDS)
    kind, result = try_call(lambda **a: function(**a, backend=backend), arguments, what)
    if net.theta.tobytes() != THETA[n]:
        raise Wrong(f"{what}: the parameters changed")
    if kind is None:
        answers += 1
        if same and backend == "core":
            if any(a.tobytes() != b.tobytes() for a, b in zip(flat(result), right[key], strict=True)):
                raise Wrong(f"{what}: not the bits of the plain call")
            again += 1
    else:
        errors += 1
        if same:
            raise Wrong(f"{what}: {kind.__name__}: {result}")
    if (
        backend == "core"
        and rng.random() < 0.3
        and not any(isinstance(v, type(iter(()))) or hasattr(v, "gi_frame") for v in arguments.values())
    ):
        other, truth = try_call(lambda **a: function(**a, backend="reference"), arguments, what + " (reference)")
        if MemoryError not in (kind, other) and other is not kind:
            raise Wrong(f"{what}: {kind} {result!r:.200} of the core, {other} {truth!r:.200} of the reference")
        if "denormal" in said:
            continue  # zero in the core: a slope at it, or a mean with such weights, is another than the reference's
        if kind is None and not close(result, truth, net.dtype, arguments):
            raise Wrong(f"{what}: core and reference disagree")
print(errors, answers, again)
"""


@check("a documented error, or the answer of the plain call (to the bit where values are the same); nothing modified")
def hostile_calls(pick):
    count, seeds = pick(10_000, 60_000, 800_000), pick(1, 2, 8)
    totals = [0, 0, 0]
    for seed in range(seeds):
        result = run_python(ENGINE, count // seeds, seed, timeout=7200)
        assert result.returncode == 0, result.stderr[-3000:]
        totals = [a + int(b) for a, b in zip(totals, result.stdout.split())]
    return f"{count} calls: {totals[0]} errors, {totals[1]} answers ({totals[2]} held to the plain call's bits), 0 wrong", True


OTHERS = HOSTILE + """
count, seed = int(sys.argv[1]), int(sys.argv[2])
rng = random.Random(seed)
TRAINED = {}  # name -> (function of named arguments, right ones, names of arrays, names of scalars)


def entry(name, function, arguments, arrays, scalars=()):
    TRAINED[name] = (function, arguments, list(arrays), list(scalars))


FIT = [
    "epochs",
    "updates",
    "batch_size",
    "optimizer",
    "learning_rate",
    "schedule",
    "max_grad_norm",
    "tbptt",
    "patience",
    "min_improvement",
    "shuffle",
    "random_state",
    "validation_every",
    "time_limit",
    "on_nonfinite",
    "progress",
    "callbacks",
    "update_callbacks",
    "memory_limit",
    "n_threads",
    "checkpoint_every",
    "resume",
    "overwrite",
    "updates_per_epoch",
    "validation",
]
SLOW = [n for n, net in enumerate(NETS)]


def bounded(scalars):
    "Scalars that do not ask for a run of hours."
    return {name: value for name, value in scalars.items()}


def guarded(net, **arguments):
    "A method of training on a copy; on an error the parameters must be as they were, unless the run had begun."
    net = net.copy()
    before = net.theta.tobytes()
    method = arguments.pop("method")
    for name in ("epochs", "updates"):
        if isinstance(arguments.get(name), (int, np.integer)) and arguments[name] > 50:
            arguments[name] = 3
    arguments.setdefault("time_limit", 0.2) if method == "fit" else None
    try:
        result = getattr(net, method)(**arguments)
    except FloatingPointError:
        assert np.isfinite(net.theta).all(), "parameters are not finite"
        raise
    except DOCUMENTED:
        if not any("callback" in name for name in arguments):  # which is called after an update, and may raise what it likes
            assert net.theta.tobytes() == before, "parameters changed"
        raise
    assert np.isfinite(net.theta).all(), "parameters are not finite"
    return None


for n, net in enumerate(NETS):
    data = data_of(net)
    given = {name: data[name] for name in ("X", "D", "weights", "initial_state", "lengths", "resets")}
    entry(
        f"fit of network {n}",
        lambda net=net, **a: guarded(net, method="fit", **a),
        given | {"epochs": 2, "batch_size": 2},
        given,
        FIT,
    )
    entry(
        f"train_step of network {n}",
        lambda net=net, **a: guarded(net, method="train_step", **a),
        given,
        given,
        ["optimizer", "learning_rate", "max_grad_norm", "n_threads"],
    )
    if net.output != "last" and not net.bidirectional:
        given = {name: data[name] for name in ("X", "D", "weights", "initial_state", "resets")}
        entry(
            f"stream of network {n}",
            lambda net=net, **a: guarded(net, method="stream", **a),
            given | {"tbptt": (2, 3)},
            given,
            ["tbptt", "optimizer", "learning_rate", "max_grad_norm", "n_threads", "schedule"],
        )
    entry(
        f"load_state_dict of network {n}",
        lambda net=net, **a: net.copy().load_state_dict(a),
        net.state_dict(),
        list(net.parameters),
    )
    entry(f"theta of network {n}", lambda theta, net=net: setattr(net.copy(), "theta", theta), {"theta": net.theta}, ["theta"])
    entry(
        f"gradient_terms of network {n}",
        net.gradient_terms if not net._stacked else net.evaluate,
        {"X": data["X"], "D": data["D"], "initial_state": data["initial_state"]} | ({} if net._stacked else {"t": 2}),
        ["X", "D", "initial_state"],
        [] if net._stacked else ["t"],
    )
    entry(
        f"memory_estimate of network {n}",
        net.memory_estimate,
        {"T": 50, "B": 4, "lengths": np.array([3, 50, 9, 0])},
        ["lengths"],
        ["T", "B", "resets", "weights", "sparse", "tbptt", "memory_limit", "n_threads"],
    )
    entry(
        f"gradcheck of network {n}",
        lambda net=net, **a: net.gradcheck(**a, entries=2),
        {"X": data["X"], "D": data["D"], "weights": data["weights"]},
        ["X", "D", "weights"],
        ["random_state"],
    )
    entry(
        f"objective of network {n}",
        lambda theta, net=net, **a: net.objective(**a)(theta),
        {"X": data["X"], "D": data["D"], "theta": net.theta.astype(np.float64)},
        ["X", "D", "theta"],
    )


def generated(net, steps=3, **arguments):
    return net.generate(2 if isinstance(steps, int) and 100 < steps < 2**31 else steps, **arguments)


for n in (2, 7):
    net, data = (
        (NETS[n] if n != 2 else RNN(4, 7, 4, one_hot=True, loss="cross_entropy", output_activation="softmax")),
        data_of(NETS[n]),
    )
    entry(
        f"generate of network {n}",
        lambda net=net, **a: generated(net, **a),
        {"prefix": data["prefix"], "initial_state": f4(B, 7)},
        ["prefix", "initial_state"],
        ["steps", "temperature", "random_state", "feed", "return_state", "n_threads", "backend"],
    )


def stepped_out(x, y, new, state=None):
    "out must be as it is said to be; what it must not be leaves both as they were."
    before = bytes_of(y), bytes_of(new)
    try:
        NETS[0].step(x, state, out=(y, new))
    except DOCUMENTED:
        assert (bytes_of(y), bytes_of(new)) == before, "out was written to"
        raise
    for array in (y, new):
        array[...] = 0  # so that nothing is found modified


entry(
    "step with out",
    stepped_out,
    {"x": f4(B, I).astype("f4"), "state": f4(B, H).astype("f4"), "y": np.zeros((B, O), "f4"), "new": np.zeros((B, H), "f4")},
    ["x", "state"],
)

P = Population(3, I, 4, O, random_state=0)
for method_name in ("losses", "evaluate", "loss_and_gradients"):
    given = {"X": f4(3, T, B, I), "D": f4(T, B, O), "initial_state": f4(B, 4), "lengths": np.array([1, 2, 6, 3, 4])}
    given |= {"weights": np.abs(f4(T, B))}
    entry(f"{method_name} of a population", getattr(P, method_name), given, given, ["n_threads"])
entry(
    "forward of a population",
    P.forward,
    {"X": f4(T, B, I), "initial_state": f4(3, B, 4)},
    ["X", "initial_state"],
    ["return_states", "n_threads", "lengths"],
)


def population_fit(**a):
    P2 = P.copy()
    for name in ("epochs",):
        if isinstance(a.get(name), (int, np.integer)) and a[name] > 50:
            a[name] = 2
    P2.fit(**({"time_limit": 0.2} | a))


entry(
    "fit of a population",
    population_fit,
    {"X": f4(T, B, I), "D": f4(3, T, B, O), "weights": np.abs(f4(T, B)), "epochs": 2},
    ["X", "D", "weights"],
    [
        "batch_size",
        "optimizer",
        "learning_rate",
        "schedule",
        "max_grad_norm",
        "patience",
        "min_improvement",
        "shuffle",
        "time_limit",
        "callbacks",
        "n_threads",
        "epochs",
        "validation",
    ],
)
entry("theta of a population", lambda theta: setattr(P.copy(), "theta", theta), {"theta": P.theta}, ["theta"])

X, y, labels = f4(9, T, I), f4(9, T, O), np.array(list("abcabcabc"))
for name, kind, target, extra in (
    ("RNNRegressor", RNNRegressor, y, {}),
    ("RNNClassifier", RNNClassifier, labels, {}),
    ("RNNRegressor of last steps", RNNRegressor, y[:, 0], {"output": "last"}),
):

    def fitted(X, y, sample_weight, kind=kind, extra=extra, **options):
        if isinstance(options.get("max_iter"), int) and options["max_iter"] > 20:
            options["max_iter"] = 2
        if isinstance(options.get("hidden_size"), int) and options["hidden_size"] > 10**4:
            options["hidden_size"] = 4
        kind(**({"hidden_size": 4, "max_iter": 1} | extra | options)).fit(X, y, sample_weight=sample_weight)

    entry(
        f"fit of {name}",
        fitted,
        {"X": X, "y": target, "sample_weight": np.ones(9)},
        ["X", "y", "sample_weight"],
        [
            "hidden_size",
            "activation",
            "loss",
            "initializer",
            "bias",
            "solver",
            "learning_rate_init",
            "learning_rate",
            "max_iter",
            "batch_size",
            "early_stopping",
            "validation_fraction",
            "n_iter_no_change",
            "shuffle",
            "random_state",
            "l2",
            "two_d",
            "n_threads",
            "max_grad_norm",
            "dtype",
        ],
    )
    model = kind(hidden_size=4, max_iter=1, random_state=0, **extra).fit(X, target)
    entry(f"predict of {name}", model.predict, {"X": X}, ["X"])
    entry(f"score of {name}", model.score, {"X": X, "y": target, "sample_weight": np.ones(9)}, ["X", "y", "sample_weight"])
forecaster = RNNRegressor(4, max_iter=1, horizon=2).fit(f4(3, 20, 1), f4(3, 20, 1))
entry(
    "forecast",
    lambda series, steps: forecaster.forecast(series, 2 if isinstance(steps, int) and 50 < steps < 2**31 else steps),
    {"series": f4(3, 20, 1), "steps": 2},
    ["series"],
    ["steps"],
)

entry("to_time_major", sequences.to_time_major, {"X": X}, ["X"])
entry("to_samples", sequences.to_samples, {"X": X, "lengths": np.array([1, 2, 3, 4, 5, 6])}, ["X", "lengths"])
entry(
    "forecast_pairs",
    sequences.forecast_pairs,
    {"series": X, "horizon": 2, "exogenous": f4(9, T, 1)},
    ["series", "exogenous"],
    ["horizon"],
)
scaler = SequenceScaler().fit(X)
for name in ("transform", "inverse_transform"):
    entry(f"SequenceScaler.{name}", getattr(scaler, name), {"X": X}, ["X"])
entry("SequenceScaler.fit", lambda X, **a: SequenceScaler(**a).fit(X), {"X": X}, ["X"], ["per", "two_d"])


def small(**a):
    "Sizes of tasks that fit: the large ones are refused or are memory's business."
    return {
        name: 40 if isinstance(value, (int, np.integer)) and not isinstance(value, bool) and 5000 < value < 2**31 else value
        for name, value in a.items()
    }


for task, arguments in (
    (datasets.adding_problem, {"batch_size": 3, "length": 19}),
    (datasets.temporal_order, {"batch_size": 3, "length": 40}),
    (datasets.copy_memory, {"batch_size": 3, "delay": 5}),
    (datasets.parity, {"batch_size": 3, "length": 5}),
    (datasets.flip_flop, {"batch_size": 3, "length": 9}),
    (datasets.sine_generation, {"batch_size": 3, "length": 9}),
    (datasets.perceptual_decision, {"batch_size": 3}),
    (datasets.delayed_match_to_sample, {"batch_size": 3}),
):
    entry(task.__name__, lambda task=task, **a: task(**small(**a)), arguments, [], [*arguments, "random_state"])


def made(input_size=I, hidden_size=H, output_size=O, **options):
    sizes = [
        4 if isinstance(size, (int, np.integer)) and 10**4 < size < 2**20 else size
        for size in (input_size, hidden_size, output_size)
    ]
    if isinstance(hidden_size, (int, np.integer)) and 2**20 <= hidden_size < 2**31:
        sizes[1] = 4
    RNN(*sizes, **options)


entry(
    "RNN",
    made,
    {},
    [],
    [
        "input_size",
        "hidden_size",
        "output_size",
        "activation",
        "output_activation",
        "loss",
        "reduction",
        "dtype",
        "initializer",
        "bias",
        "learn_initial_state",
        "output",
        "one_hot",
        "bidirectional",
        "l1",
        "l2",
        "connectivity",
        "trainable",
        "dale_ratio",
        "dale_signs",
        "nonnegative",
        "autapses",
        "random_state",
    ],
)
entry(
    "RNN's maps",
    lambda **a: RNN(I, H, O, connectivity={"W_s": a["present"]}, trainable={"W_x": a["trained"]}, dale_signs=a["signs"]),
    {"present": np.ones((H, H)), "trained": np.ones((H, I), bool), "signs": np.array([1, 1, 1, 1, -1, -1, -1])},
    ["present", "trained", "signs"],
)
entry(
    "RNN from arrays",
    lambda W: RNN(I, H, O, initializer={"W_s": list(W) if isinstance(W, tuple) else W}),
    {"W": f4(H, H)},
    ["W"],
)
entry(
    "Population",
    lambda n=2, **a: Population(n if not isinstance(n, int) or n < 100 else 3, I, 4, O, **a),
    {},
    [],
    ["n", "random_state", "loss"],
)
for each in (optimizers.SGD, optimizers.RMSprop, optimizers.Adagrad, optimizers.Adam, optimizers.AdamW):
    names = [name for name in each.__init__.__code__.co_varnames[1 : each.__init__.__code__.co_argcount]]
    entry(each.__name__, each, {}, [], names or ["learning_rate"])
for each in (schedules.Step, schedules.Exponential, schedules.Plateau):
    names = [name for name in each.__init__.__code__.co_varnames[1 : each.__init__.__code__.co_argcount]]
    entry(each.__name__, each, {}, [], names)
states = f4(4, H)
entry("jacobian", lambda S, X: diagnostics.jacobian(NETS[0], S, X), {"S": states, "X": f4(4, I)}, ["S", "X"])
entry(
    "fixed_points",
    lambda X, starts: diagnostics.fixed_points(NETS[0], X, starts),
    {"X": f4(I), "starts": f4(2, H)},
    ["X", "starts"],
)
entry(
    "gradient_flow",
    lambda X, D, **a: diagnostics.gradient_flow(NETS[0], X, D, **a),
    {"X": f4(T, B, I), "D": f4(T, B, O)},
    ["X", "D"],
    ["t", "sequences"],
)
entry("states", lambda X, **a: diagnostics.states(NETS[0], X, **a), {"X": f4(T, B, I)}, ["X"], ["initial_state", "lengths"])
torch_state = {"weight_ih_l0": f4(H, I), "weight_hh_l0": f4(H, H), "bias_ih_l0": f4(H), "bias_hh_l0": f4(H)}
entry("from_torch", lambda **a: RNN.from_torch(a), torch_state, torch_state)
keras = {"kernel": f4(I, H), "recurrent": f4(H, H), "bias": f4(H), "dense": f4(H, O), "dense_bias": f4(O)}
entry("from_keras", lambda **a: RNN.from_keras(list(a.values())), keras, keras)

for name, (function, arguments, _, _) in TRAINED.items():
    function(**{key: copy(value) for key, value in arguments.items()})  # the right ones are right

import time

names, errors, answers, slow, failures = list(TRAINED), 0, 0, {}, {}
for k in range(count):
    name = rng.choice(names)
    function, arguments, arrays, scalars = TRAINED[name]
    arguments = {key: copy(value) for key, value in arguments.items()}
    for each in arrays:
        if each in OPTIONAL and rng.random() < 0.6:
            del arguments[each]
    present = [each for each in arrays if each in arguments]
    if not present and not scalars:
        continue
    if present:
        said, same = change(arguments, present, scalars, rng)
    else:
        said, same = "", False
        for each in rng.sample(scalars, min(rng.choice((1, 1, 2)), len(scalars))):
            arguments[each] = rng.choice(SCALARS)
            said += f" {each}={arguments[each]!r:.60}"
    what = f"{name}; {said} (seed {seed}, call {k})"
    begin = time.perf_counter()
    try:
        kind, result = try_call(function, arguments, what)
    except Wrong as error:
        failures.setdefault(str(error).split("(seed")[0].split(";")[0] + str(error).rpartition("):")[2][:60], str(error))
        if len(failures) >= 12:
            break
        continue
    slow[name] = max(slow.get(name, (0, "")), (time.perf_counter() - begin, said))
    errors, answers = errors + (kind is not None), answers + (kind is None)
    if kind is not None and same and name != "step with out" and "memoryview" not in said:
        failures[what] = f"{what}: {kind.__name__}: {result}"
print(errors, answers)
if failures:
    print("\\n".join(each[:400] for each in failures.values()), file=sys.stderr)
    print(sorted((seconds, name, said) for name, (seconds, said) in slow.items())[-3:], file=sys.stderr)
    sys.exit(1)
"""


@check("a documented error, or an answer; arguments unmodified; after an error in training the parameters as they were")
def hostile_arguments(pick):
    count, seeds = pick(2_000, 12_000, 200_000), pick(1, 2, 8)
    totals = [0, 0]
    for seed in range(seeds):
        result = run_python(OTHERS, count // seeds, seed, timeout=7200)
        assert result.returncode == 0, result.stderr[-6000:]
        totals = [a + int(b) for a, b in zip(totals, result.stdout.splitlines()[-1].split())]  # callbacks may print
    return (f"{count} calls of all else that is public (training, populations, estimators, sequences, tasks, options): "
            f"{totals[0]} errors, {totals[1]} answers, 0 wrong"), True
