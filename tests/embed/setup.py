import sys

from Cython.Build import cythonize
from setuptools import Extension, setup

threads = ["/openmp"] if sys.platform == "win32" else ["-fopenmp"]  # for prange; fastbptt itself needs no flag
setup(ext_modules=cythonize([Extension("embedded", ["embedded.pyx"], extra_compile_args=threads, extra_link_args=threads)]))
