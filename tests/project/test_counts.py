"""Each count of support/counts.py, which measures how hard the source is to change, has an upper bound.

A bound is the current count. Lower it when a change lowers the count.
"""

import counts
import pytest
from processes import ROOT

BOUNDS = {
    "places to edit for one more hidden activation": 7,
    "places to edit for one more loss": 9,
    "places to edit for one more loss with a fused output activation": 11,
    "places to edit for one more update rule": 5,
    "places to edit for one more option of RNN": 21,
    "files to edit for one more cell": 20,
    "tests of a cell's name": 35,
    "lines of the longest file": 902,
    "lines of the longest file of engine/": 400,
    "files of the package's own folder": 25,
    "positional arguments of the longest list": 14,  # kernels of gated cells, and the functions of cells that call them
    "lists of at least 8 positional arguments": 63,
    "uses of private members of RNN in other modules": 220,
}

FILES = {
    "fastbptt/network.py": '''
"""An RNN: softsign is not counted here."""
class Base:
    def _inherited(self): pass
class RNN(Base):
    def __init__(self, size, output, *, activation):
        self._own = size  # nor is softsign here
    def _method(self): return self._own
''',
    "fastbptt/_types.py": 'Activation = Literal["tanh", "softsign"]\nLoss = Literal["poisson",\n               "poisson"]\n',
    "fastbptt/other.py": "def f(net): return net._own + net._method() + net._inherited() + net.public + net._alien\n",
    "fastbptt/engine/run.pxi": "cdef int run(Call *c, int a, int b,\n             double d) noexcept:\n    if c.form == CURRENT:\n"
                              "        pass\n    elif g == SOFTSIGN:\n        pass\n",
    "fastbptt/kernels/simd.h": "/* softsign: a comment */\nenum { FASTBPTT_TANH, FASTBPTT_SOFTSIGN };\nint softsigns;\n",
}


@pytest.mark.parametrize("what", BOUNDS)
def test_no_count_is_over_its_bound(what, found):
    assert found[what] <= BOUNDS[what]


def test_every_count_has_a_bound(found):
    assert list(found) == list(BOUNDS)


@pytest.fixture(scope="module")
def found():
    if not (ROOT / "fastbptt" / "_core.pyx").exists():
        pytest.skip("no sources beside the tests")
    return counts.counts(ROOT)


@pytest.fixture
def folder(tmp_path):
    for name, text in FILES.items():
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    return tmp_path


def test_counts_of_a_small_source(folder):
    found = counts.counts(folder)
    assert found == dict.fromkeys(BOUNDS, 0) | {
        "places to edit for one more hidden activation": 3,  # _types.py, run.pxi, simd.h
        "places to edit for one more loss with a fused output activation": 1,  # two lines, one place
        "files to edit for one more cell": 0,
        "tests of a cell's name": 1,
        "lines of the longest file": 8,
        "lines of the longest file of engine/": 6,
        "files of the package's own folder": 3,
        "positional arguments of the longest list": 4,
        "uses of private members of RNN in other modules": 3,
    }


def test_the_command_prints_every_count(folder, capsys):
    counts.main(folder)
    lines = capsys.readouterr().out.splitlines()
    assert "one more hidden activation (as softsign): 3 places in 3 files" in lines
    assert "uses of private members of RNN in other modules: 3" in lines
    assert "      4 fastbptt/engine/run.pxi: run" in lines
