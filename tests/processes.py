"""Python in a process of its own, with the package that is tested here.

-P keeps the current folder off the path: in the source folder that is `fastbptt/` without its compiled modules.
"""

import os
import subprocess
import sys


def run_python(script, *arguments, environment=None, timeout=300, options=()):
    """What became of `python -c script arguments`. environment: all that it gets, in place of this process's."""
    environment = {**(os.environ if environment is None else environment), "PYTHONPATH": os.pathsep.join(sys.path)}
    return subprocess.run([sys.executable, "-P", *options, "-c", script, *map(str, arguments)], capture_output=True, text=True,
                          timeout=timeout, env=environment)
