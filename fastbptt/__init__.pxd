"""The C interface's front door: `from fastbptt cimport ...`. What there is, and what it promises, stands in _core.pxd."""

from ._core cimport *
