"""Make the C interface importable from the package: `from fastbptt cimport ...`. _core.pxd declares and documents it."""

from ._core cimport *
