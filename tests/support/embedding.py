"""The C interface from Python, by ctypes: what a compiled consumer does, without a compiler.

`c.forward_f32(...)` calls the function that the capsule of that name points to, without the GIL; arrays stand for their
pointers, None for NULL. A `Guarded` piece of memory notices what is written beside it.
"""

import ctypes
import re
import types
from pathlib import Path

import numpy as np

import fastbptt
from fastbptt import _core

DECLARATIONS = Path(fastbptt.__file__).parent / "_core.pxd"
TYPES = {"int": ctypes.c_int, "Py_ssize_t": ctypes.c_ssize_t, "double": ctypes.c_double, "void": None}

_name = ctypes.pythonapi.PyCapsule_GetName
_name.restype, _name.argtypes = ctypes.c_char_p, [ctypes.py_object]
_pointer = ctypes.pythonapi.PyCapsule_GetPointer
_pointer.restype, _pointer.argtypes = ctypes.c_void_p, [ctypes.py_object, ctypes.c_char_p]


def split(signature):
    """Return result and argument types of a capsule's name, as text.

    The words of each are in one order, because versions of Cython differ in it.
    """
    result, arguments = re.fullmatch(r"(.+?) ?\((.*)\)", signature).groups()
    words = [" ".join(sorted(part.replace("*", " * ").split())) for part in (result, *arguments.split(","))]
    return words[0], [word for word in words[1:] if word != "void"]


def signatures():
    """Return {name: signature} of every function that is exported."""
    found = {}
    for name, capsule in sorted(_core.__pyx_capi__.items()):
        result, arguments = split(_name(capsule).decode())
        found[name] = f"{result} ({', '.join(arguments)})"
    return found


def constants():
    """Return {name: number} of the constants that _core.pxd and the file that it includes declare."""
    text = DECLARATIONS.read_text("utf-8")
    included, = re.findall(r'^include "(.*)"', text, re.M)
    found = re.findall(r"^    ([A-Z][A-Z_0-9]*) = (-?\d+)", text + (DECLARATIONS.parent / included).read_text("utf-8"), re.M)
    return {name: int(value) for name, value in found}


def _function(capsule):
    """Return a Python function that calls the C function in a capsule."""
    signature = _name(capsule)
    result, arguments = split(signature.decode())
    kind = ctypes.CFUNCTYPE(ctypes.c_char_p if result == "* char const" else TYPES[result],
                            *[ctypes.c_void_p if "*" in argument else TYPES[argument] for argument in arguments])
    called = kind(_pointer(capsule, signature))

    def call(*arguments):
        """Call it with numbers as they are, and arrays by their addresses."""
        return called(*[address(argument) for argument in arguments])

    return call


def address(argument):
    """Return the address of an array or of Guarded memory; other arguments unchanged."""
    if isinstance(argument, Guarded):
        return argument.at
    return argument.ctypes.data if isinstance(argument, np.ndarray) else argument


c = types.SimpleNamespace(**{name: _function(capsule) for name, capsule in _core.__pyx_capi__.items()}, **constants())


class Guarded:
    """Bytes from a multiple of 64 on, all ones (NaN, −1), and 64 more at either end that must stay as they are."""

    def __init__(self, bytes):
        """Reserve so many bytes, filled with ones."""
        assert bytes >= 0, c.status_text(bytes)
        raw = np.full(bytes + 192, 255, np.uint8)
        begin = -raw.ctypes.data % 64 + 64
        self.whole, self.memory = raw[begin - 64:begin + bytes + 64], raw[begin:begin + bytes]
        self.whole[:64] = self.whole[64 + bytes:] = 77
        self.at = self.memory.ctypes.data

    @property
    def size(self):
        """Return the number of bytes, without those at either end."""
        return len(self.memory)

    def untouched_beside(self):
        """Return whether the bytes at either end are as they were."""
        return (self.whole[:64] == 77).all() and (self.whole[64 + self.size:] == 77).all()


def of_type(net, name):
    """Return the C function `name` for the network's dtype."""
    return getattr(c, name + ("_f32" if net.dtype == "float32" else "_f64"))


def ok(status):
    """Assert that a status is no error, and return it."""
    assert status >= 0, c.status_text(status)
    return status


def allow(plan):
    """Let the plan enter BLAS if this process has no other kernels; the tests then hold it to one thread."""
    ok(c.plan_allow_blas(plan, _core.kernel_set() == "blas"))


def cell_of(net):
    """Return the constant of a network's cell."""
    if net._leaky:
        return c.CELL_CURRENT if net.leak_form == "current" else c.CELL_RATE
    return c.CELL_GRU_BEFORE if net.cell == "gru" and not net.reset_after else getattr(c, f"CELL_{net.cell.upper()}")


def state_width(net):
    """Return the number of values of a public state."""
    return net.hidden_size * (2 if net.cell == "lstm" else 1)


def plan_of(net, tbptt=None):
    """Return the plan of an RNN, Guarded memory that also keeps the arrays to which it points."""
    plan = Guarded(c.plan_bytes())
    ok(of_type(net, "plan_init")(plan, plan.size, net.input_size, net.hidden_size, net.output_size))
    loss, parameter = net.loss if isinstance(net.loss, tuple) else (net.loss, None)
    ok(c.plan_set_cell(plan, cell_of(net)))
    ok(c.plan_set_rank(plan, net.rank or 0))
    if "leak_logit" in net.parameters:
        ok(c.plan_set_trained_leak(plan, 1))
    elif isinstance(net.leak, np.ndarray):
        plan.leaks = net.leak.copy()
        ok(c.plan_set_leaks(plan, plan.leaks, len(plan.leaks)))
    else:
        ok(c.plan_set_leak(plan, net.leak))
    ok(c.plan_set_activation(plan, getattr(c, f"ACTIVATION_{net.activation.upper()}")))
    ok(c.plan_set_output_activation(plan, getattr(c, f"ACTIVATION_{net.output_activation.upper()}")))
    if loss == "huber":
        ok(c.plan_set_huber(plan, parameter))
    elif loss == "quantile":
        plan.levels = np.array(parameter, np.float64)
        ok(c.plan_set_quantile(plan, plan.levels, len(parameter)))
    else:
        ok(c.plan_set_loss(plan, getattr(c, f"LOSS_{loss.upper()}")))
    ok(c.plan_set_reduction(plan, getattr(c, f"REDUCTION_{net.reduction.upper()}")))
    ok(c.plan_set_bias(plan, net.bias))
    ok(c.plan_set_learnt_initial_state(plan, net.learn_initial_state))
    ok(c.plan_set_output(plan, getattr(c, f"OUTPUT_{net.output.upper()}")))
    ok(c.plan_set_one_hot(plan, net.one_hot))
    for name in net.parameters:
        l1, l2 = (penalty.get(name, 0) if isinstance(penalty, dict) else penalty * (name in ("W_x", "W_s", "M", "N", "W_y"))
                  for penalty in (net.l1, net.l2))
        ok(c.plan_set_penalty(plan, getattr(c, f"PARAMETER_{name.upper()}"), l1, l2))
    if tbptt is not None:
        ok(c.plan_set_truncation(plan, *tbptt))
    allow(plan)
    ok(c.plan_check(plan))
    assert c.plan_parameters(plan) == net.theta.size and plan.untouched_beside()
    return plan


def batch_of(net, X, D=None, weights=None, initial_state=None, lengths=None, resets=None):
    """Return a batch of arrays that are as RNN has them after conversion. It keeps the arrays to which it points."""
    batch = Guarded(c.batch_bytes())
    batch.arrays = X, D, weights, initial_state, lengths, resets
    T, B = X.shape[:2]
    ok(of_type(net, "batch_init")(batch, batch.size, T, B, None if net.one_hot else X))
    if net.one_hot:
        ok(c.batch_set_ids(batch, X))
    if D is not None and D.dtype == np.intp:
        ok(c.batch_set_labels(batch, D))
    elif D is not None:
        ok(of_type(net, "batch_set_targets")(batch, D))
    if weights is not None:
        width = weights.shape[-1] if weights.ndim == (2 if net.output == "last" else 3) else 1
        ok(of_type(net, "batch_set_weights")(batch, weights, width))
    if initial_state is not None:
        ok(of_type(net, "batch_set_initial_state")(batch, initial_state))
    if lengths is not None:
        ok(c.batch_set_lengths(batch, lengths))
    if resets is not None:
        ok(c.batch_set_resets(batch, resets))
    assert batch.untouched_beside()
    return batch


class Network:
    """The operations of an RNN for one batch by the C interface, each in exactly the bytes that it says it needs."""

    def __init__(self, net, X, D=None, tbptt=None, **arrays):
        """Make plan and batch of the network for X, D and further arrays of `batch_of`."""
        self.net, self.plan, self.batch = net, plan_of(net, tbptt), batch_of(net, X, D, **arrays)
        self.theta, self.X, self.P = net.theta.copy(), X, net.theta.size
        self.T, self.B = X.shape[:2]
        self.rows = (self.B,) if net.output == "last" else (self.T, self.B)
        self.saved = Guarded(c.saved_bytes(self.plan, self.batch))

    def empty(self, *shape):
        """Return an array of this shape, filled with NaN."""
        return np.full(shape, np.nan, self.net.dtype)

    def scratch(self, operation):
        """Return Guarded memory of the size that the operation needs."""
        return Guarded(c.scratch_bytes(self.plan, self.batch, operation))

    def call(self, name, *arguments, scratch):
        """Call a C function and return its status. Assert that no memory beside scratch and saved was touched."""
        status = of_type(self.net, name)(self.plan, self.batch, self.theta, *arguments, scratch, scratch.size)
        assert scratch.untouched_beside() and self.saved.untouched_beside()
        assert self.plan.untouched_beside() and self.batch.untouched_beside()
        return status

    def forward(self, saves=True):
        """Return Y, S and final_state. With `saves`, keep what `backward` needs."""
        Y, H = self.empty(*self.rows, self.net.output_size), state_width(self.net)
        S, final_state = self.empty(self.T + 1, self.B, H), self.empty(self.B, H)
        saved = (self.saved, self.saved.size) if saves else (None, 0)
        ok(self.call("forward", Y, S, final_state, *saved, scratch=self.scratch(c.FOR_FORWARD)))
        return Y, S, final_state

    def outputs_of_gradients(self):
        """Return arrays for the gradient, dX (or None with category indices) and dS_0."""
        dX = None if self.net.one_hot else self.empty(*self.X.shape)
        return self.empty(self.P), dX, self.empty(self.B, state_width(self.net))

    def backward(self, dY):
        """Return gradient, dX and dS_0 for the gradient dY by the outputs."""
        gradients = self.outputs_of_gradients()
        ok(self.call("backward", dY, *gradients, self.saved, self.saved.size, scratch=self.scratch(c.FOR_BACKWARD)))
        return gradients

    def loss_and_gradients(self):
        """Return loss, penalty, gradient, dX and dS_0."""
        loss, penalty, gradients = np.full(1, np.nan), np.full(1, np.nan), self.outputs_of_gradients()
        ok(self.call("loss_and_gradients", loss, penalty, *gradients, scratch=self.scratch(c.FOR_LOSS_AND_GRADIENTS)))
        return loss[0], penalty[0], *gradients

    def loss(self):
        """Return the loss alone."""
        loss = np.full(1, np.nan)
        ok(self.call("loss_and_gradients", loss, None, None, None, None, scratch=self.scratch(c.FOR_LOSS)))
        return loss[0]
