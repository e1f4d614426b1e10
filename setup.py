"""Extensions, directives and flags; all else stands in pyproject.toml."""

import os
import sys
from pathlib import Path

import numpy
import scipy
from Cython.Build import cythonize
from setuptools import Extension, setup

# FASTBPTT_DEBUG=1: bounds-checked Cython. FASTBPTT_CFLAGS, FASTBPTT_LDFLAGS: added last, for sanitizers.
DEBUG = os.environ.get("FASTBPTT_DEBUG") == "1"
DIRECTIVES = {
    "language_level": 3,
    "boundscheck": DEBUG,
    "wraparound": False,
    "initializedcheck": DEBUG,
    "nonecheck": DEBUG,
    "cdivision": True,
    "freethreading_compatible": True,
}
# Nothing specific to the builder's processor. -ffast-math would change the process's floating-point mode, and cancel what
# _elementary.h adds to round; the two flags of it here change no result, and let loops with a comparison or a root be
# vectorised (tanh in float32: 21 ns an element without, 3.9 with).
FLAGS = ["/O2"] if sys.platform == "win32" else ["-O3", "-fno-math-errno", "-fno-trapping-math", "-Wall",
                                                 "-Wno-unused-function", "-pthread"]
LINK_FLAGS = [] if sys.platform == "win32" else ["-pthread"]


def blas_int(folder):
    """Write _blas_int.pxi: SciPy names the integer of cython_blas from 1.18 on, and before that it is int."""
    named = "blas_int" in (Path(scipy.__file__).parent / "linalg" / "cython_blas.pxd").read_text()
    text = "from scipy.linalg.cython_blas cimport blas_int\n" if named else "ctypedef int blas_int\n"
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "_blas_int.pxi"
    if not path.exists() or path.read_text() != text:
        path.write_text(text)
    return str(folder)


extensions = [
    Extension(
        f"fastbptt.{name}",
        [f"fastbptt/{name}.pyx", *sources],
        include_dirs=[numpy.get_include(), "fastbptt"],
        depends=["fastbptt/_kernels.h", "fastbptt/_pool.h", "fastbptt/_atomic.h", "fastbptt/_denormals.h", "fastbptt/_elementary.h", "fastbptt/_maps.h",
                 "fastbptt/_simd.h", "fastbptt/_lanes.h", "fastbptt/_draws.h"],
        define_macros=[("NPY_NO_DEPRECATED_API", "NPY_1_7_API_VERSION")],
        extra_compile_args=FLAGS + os.environ.get("FASTBPTT_CFLAGS", "").split(),
        extra_link_args=LINK_FLAGS + os.environ.get("FASTBPTT_LDFLAGS", "").split(),
    )
    for name, sources in (("_blas", []), ("_workers", ["fastbptt/_pool.c"]), ("_core", ["fastbptt/_kernels.c"]), ("_population", []))
]

generated = Path("build")
setup(
    ext_modules=cythonize(extensions, compiler_directives=DIRECTIVES, build_dir=str(generated),
                          include_path=[blas_int(generated / "generated")]),
)
