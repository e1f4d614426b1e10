"""Extensions, directives and flags; all else stands in pyproject.toml."""

import importlib.metadata
import os
import re
import sys
import tomllib
from pathlib import Path


def check_requirements(requires):
    """Exit with a message if a build requirement, "name>=version", is missing or too old.

    pip's build isolation installs them. Without it, an old setuptools would reject pyproject.toml with a message that
    does not name the cause: Python 3.11's `venv` brings setuptools 65, which does not know `license = "BSD-3-Clause"`.
    """
    def numbers(version):
        return [int(number) for number in re.findall(r"\d+", version)[:2]]

    found = {}
    for requirement in requires:
        name, least = requirement.split(">=")
        try:
            version = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            found[requirement] = "is not installed"
            continue
        if numbers(version) < numbers(least):
            found[requirement] = f"is {version} here"
    if found:
        sys.exit("fastbptt cannot be built: " + ", ".join(f"{name.split('>=')[0]} {what}" for name, what in found.items())
                 + ". Run:  python -m pip install --upgrade " + " ".join(f'"{name}"' for name in found))


PROJECT = tomllib.loads((Path(__file__).parent / "pyproject.toml").read_text(encoding="utf-8"))
check_requirements(PROJECT["build-system"]["requires"])

import numpy  # noqa: E402
import scipy  # noqa: E402
from Cython.Build import cythonize  # noqa: E402
from setuptools import Extension, setup  # noqa: E402

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
# elementary.h adds to round; the two flags of it here change no result, and let loops with a comparison or a root be
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


# name, and the C sources that belong to it
EXTENSIONS = {
    "fastbptt.kernels.blas": [],
    "fastbptt.threads.workers": ["fastbptt/threads/pool.c"],
    "fastbptt._core": ["fastbptt/kernels/dispatch.c"],
    "fastbptt._population": [],
}
INCLUDED = [str(path) for pattern in ("kernels/**/*.h", "kernels/**/*.def", "threads/*.h")
            for path in sorted(Path("fastbptt").glob(pattern))]

extensions = [
    Extension(
        name,
        [f"{name.replace('.', '/')}.pyx", *sources],
        include_dirs=[numpy.get_include(), "fastbptt/kernels", "fastbptt/threads"],
        depends=INCLUDED,
        define_macros=[("NPY_NO_DEPRECATED_API", "NPY_1_7_API_VERSION")],
        extra_compile_args=FLAGS + os.environ.get("FASTBPTT_CFLAGS", "").split(),
        extra_link_args=LINK_FLAGS + os.environ.get("FASTBPTT_LDFLAGS", "").split(),
    )
    for name, sources in EXTENSIONS.items()
]

generated = Path("build")
setup(
    ext_modules=cythonize(extensions, compiler_directives=DIRECTIVES, build_dir=str(generated),
                          include_path=[blas_int(generated / "generated")]),
)
