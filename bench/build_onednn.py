"""Build the driver of oneDNN's vanilla_rnn: apt-get install libdnnl-dev && python bench/build_onednn.py [--prefix /usr]

The library goes to build/bench, where contenders/onednn.py looks for it.
"""

import argparse
import os
import subprocess
import sys
from pathlib import Path

from contenders.onednn import LIBRARY, SOURCE


def main():
    """Run the command; the module's docstring describes it."""
    parser = argparse.ArgumentParser(description="Build the driver of oneDNN's vanilla_rnn.")
    parser.add_argument("--prefix", default="/usr", type=Path, help="where include/oneapi and lib stand (default /usr)")
    prefix = parser.parse_args().prefix.resolve()
    found = sorted(prefix.glob("lib*/**/libdnnl.so"))
    if not found or not (prefix / "include" / "oneapi" / "dnnl" / "dnnl.hpp").exists():
        sys.exit(f"there is no oneDNN under {prefix}: apt-get install libdnnl-dev, or give another --prefix")
    folder = found[0].parent
    LIBRARY.parent.mkdir(parents=True, exist_ok=True)
    command = [os.environ.get("CXX", "g++"), "-O3", "-std=c++17", "-fPIC", "-shared", "-Wall", "-fno-math-errno",
               "-fopenmp", "-march=native", f"-I{prefix / 'include'}", str(SOURCE), "-o", str(LIBRARY), f"-L{folder}", "-ldnnl",
               f"-Wl,-rpath,{folder}", "-Wl,--disable-new-dtags"]  # so that what libdnnl needs is found there too
    print(" ".join(command))
    subprocess.run(command, check=True)


if __name__ == "__main__":
    main()
