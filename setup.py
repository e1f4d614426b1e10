"""Define the extensions, how Cython and the C compiler translate them, and how many files at a time.

pyproject.toml has all other facts about the package. A new extension or C file is a row of EXTENSIONS.
"""

import importlib.metadata
import os
import re
import runpy
import sys
import tomllib
from concurrent.futures import ThreadPoolExecutor
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
from setuptools.command.build_ext import build_ext  # noqa: E402
from setuptools.modified import newer_group  # noqa: E402

# FASTBPTT_DEBUG=1 adds bounds checks to Cython. FASTBPTT_CFLAGS and FASTBPTT_LDFLAGS come last, for sanitizers.
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
# No flag is specific to the builder's processor. -ffast-math would change the process's floating-point mode, and remove the
# additions by which elementary.h rounds. Its two flags here change no result, and let the compiler vectorise loops with a
# comparison or a root (tanh in float32: 21 ns per element without, 3.9 with).
FLAGS = ["/O2"] if sys.platform == "win32" else ["-O3", "-fno-math-errno", "-fno-trapping-math", "-Wall",
                                                 "-Wno-unused-function", "-pthread"]
# CPython's own flags may contain -g. Nobody debugs an installed extension, and debug information takes a sixth of the
# compiler's time and makes the library five times as large. FASTBPTT_DEBUG=1 keeps it, and FASTBPTT_CFLAGS=-g restores it.
if sys.platform != "win32" and not DEBUG:
    FLAGS.append("-g0")
LINK_FLAGS = [] if sys.platform == "win32" else ["-pthread"]


def blas_int(folder):
    """Write _blas_int.pxi, and return its folder. SciPy names the integer of cython_blas from 1.18 on; before, it is int."""
    named = "blas_int" in (Path(scipy.__file__).parent / "linalg" / "cython_blas.pxd").read_text()
    text = "from scipy.linalg.cython_blas cimport blas_int\n" if named else "ctypedef int blas_int\n"
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "_blas_int.pxi"
    if not path.exists() or path.read_text() != text:
        path.write_text(text)
    return str(folder)


# The C sources of each extension. The compiler begins with the first ones, which take longest.
EXTENSIONS = {
    "fastbptt._core": ["fastbptt/kernels/sets/avx512.c", "fastbptt/kernels/sets/baseline.c", "fastbptt/kernels/sets/avx2.c",
                       "fastbptt/kernels/dispatch.c"],
    "fastbptt._population": [],
    "fastbptt.kernels.blas": [],
    "fastbptt.threads.workers": ["fastbptt/threads/pool.c"],
}
INCLUDED = [str(path) for pattern in ("kernels/**/*.h", "kernels/**/*.def", "threads/*.h")
            for path in sorted(Path("fastbptt").glob(pattern))]
GENERATED = Path("build")


def extensions():
    for name, sources in EXTENSIONS.items():
        yield Extension(
            name,
            [f"{name.replace('.', '/')}.pyx", *sources],
            include_dirs=[numpy.get_include(), "fastbptt/kernels", "fastbptt/threads"],
            depends=INCLUDED,
            define_macros=[("NPY_NO_DEPRECATED_API", "NPY_1_7_API_VERSION")],
            extra_compile_args=FLAGS + os.environ.get("FASTBPTT_CFLAGS", "").split(),
            extra_link_args=LINK_FLAGS + os.environ.get("FASTBPTT_LDFLAGS", "").split(),
        )


def processors():
    """Return the number of processors that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


class BuildExtensions(build_ext):
    """Compile the C files of all extensions at the same time, and the kernel sets while Cython still translates.

    setuptools builds one extension after another. Its option `parallel` builds several at a time, but the files of one
    extension still one after another, and the kernel sets belong to one extension. Here each C file is a task of a pool of
    threads, which wait for compiler processes. -j (--parallel) sets their number; the default is the number of processors,
    so that pip needs no option. Object files are linked by file name, so the result is the same for any number.

    CPU seconds of each file (GCC 12.2, Cython 3.3, one core of an Intel Xeon shared with other work, single runs, 2026-11),
    before, with -g and one file of all kernel sets, and after:

        Cython                         13.5    13.5
        _core.c                        26.6    18.2
        _population.c                   9.3     8.4
        blas.c, workers.c, pool.c       5.7     4.6
        kernel sets without -g         62.4    65.5  (avx512 27.2, baseline 21.5, avx2 16.8)
        sum                           117.5   110.2

    Before, all of it ran on one core. After, two cores share it, and no task takes longer than 27 s. The wall time was not
    compared: up to 17 processes competed for the two cores. No instantiation was dropped: each kernel set takes a fifth or
    less of the sum, and a set's templates are what its speed was measured with.
    """

    def finalize_options(self):
        super().finalize_options()
        self.parallel = self.parallel or processors()

    def build_extensions(self):
        self.check_extensions_list(self.extensions)
        if getattr(self.compiler, "initialized", True) is False:  # MSVC's compiler looks for its tools at the first use
            self.compiler.initialize(self.plat_name)
        include_path = [blas_int(GENERATED / "generated")]
        pool, tasks, compile_files = ThreadPoolExecutor(self.parallel), {}, self.compiler.compile

        def start(extension, sources):
            """Start to compile the C files of the extension, if any of these sources is newer than its library."""
            path = self.get_ext_fullpath(extension.name)
            if self.force or newer_group([*sources, *extension.depends], path, "newer"):
                for source in extension.sources:
                    if source.endswith(".c") and source not in tasks:
                        tasks[source] = pool.submit(
                            compile_files, [source], output_dir=self.build_temp, macros=extension.define_macros,
                            include_dirs=extension.include_dirs, debug=self.debug,
                            extra_postargs=extension.extra_compile_args, depends=extension.depends)

        def compiled(sources, **options):
            """Return object files. This replaces the compiler's method, which build_extension calls."""
            return [path for source in sources for path in tasks[source].result()]

        try:
            for extension in self.extensions:
                start(extension, [source for source in extension.sources if source.endswith(".c")])
            for extension in self.extensions:
                translated, = cythonize([extension], compiler_directives=DIRECTIVES, build_dir=str(GENERATED),
                                        include_path=include_path, force=self.force or None)
                extension.sources = translated.sources
                start(extension, extension.sources)
            self.compiler.compile, self.parallel = compiled, None
            super().build_extensions()
        finally:
            pool.shutdown(cancel_futures=True)
            self.compiler.compile = compile_files


runpy.run_path("fastbptt/kernels/defs/names.py")["write"](Path("fastbptt"))  # types and constants, from the tables
setup(ext_modules=list(extensions()), cmdclass={"build_ext": BuildExtensions})
