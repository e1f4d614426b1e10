"""Break the vector kernels, one fault at a time, and see whether kernels/harness.c notices.

    python tests/support/mutate_kernels.py [--list] [-k PATTERN] [--at-most N --seed TEXT] [--jobs N]

A mutant is `simd.h` with one fault, in itself or in a file that it includes (SOURCES): a turned sign, a dropped term
or factor, a bound that is one off, swapped arguments, a wrong constant, a condition that always holds, a deleted statement.
Each must make the harness fail, whose words are printed, or stand in EQUIVALENT with the reason why no test can see it. The
exit status is 1 if a mutant survives that is not listed; a listed one that is killed all the same, or no longer exists, is
named as such. Needs gcc and a processor with AVX2.

Design
------
(a) Everything happens in a temporary folder; the tree that this file lies in is only read.
(b) Mutants are made by rule from the tokens of the text (`variants`); nothing parses C. What does not compile is
    counted.
(c) Only the set avx2 is compiled, and one real type at a time (`one_set`): a mutant that float32 kills is never
    compiled for float64. What survives both and is not listed meets both again under the sanitizers, which see what
    reads too far and throws it away.
(d) Without optimization: GCC takes a quarter of a second for that, three times as long at -O1, and the harness runs
    half a second either way.
"""

from __future__ import annotations

import argparse
import fnmatch
import random
import re
import shutil
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

TESTS = Path(__file__).resolve().parents[1]
PACKAGE = TESTS.parent / "fastbptt"
SOURCES = ("simd.h", "simd/*.h", "defs/[!t]*.h")  # lanes.h is not among them: the harness calls no verbs of many networks
SET = "avx2"
ROWS = 6  # of its tiles: what stands under #if ROWS > 6 is not compiled
PLAIN = ("-O0",)
SANITIZED = ("-O0", "-g", "-fsanitize=address,undefined", "-fno-sanitize-recover=all")
FLAGS = ("-fno-math-errno", "-fno-trapping-math", "-w", "-Werror=int-conversion", "-Werror=incompatible-pointer-types",
         "-Werror=return-type", "-Werror=implicit-function-declaration")
STAGES = ((PLAIN, 32), (PLAIN, 64), (SANITIZED, 32), (SANITIZED, 64))

# (function or macro, original, mutated) -> why no test can tell. Shell patterns.
EQUIVALENT = {
    ("EXPM1_LOWEST", "*", "*-*"): "expm1 is -1 long before, from -17 on in float32 and from -37 in float64",
    ("TANH_HIGHEST", "*10.0f", "*9.0f"): "1 - tanh(9) is half a unit: either neighbour is within the bound",
    ("CLAMP", "*", "*>=*"): "at the bound itself both are the same number",
    ("CLAMP", "*", "*<=*"): "likewise",
    ("expm1", "*", "*<= EXPM1_LOWEST*"): "likewise",
    ("tanh", "*", "*>= TANH_HIGHEST*"): "likewise, after rounding",
    ("tanh", "*a < 0.625f*", "*a <= 0.625f*"): "around there both formulas hold",
    ("tanh", "*a < 0.625f*", "*a < 0.625625f*"): "likewise",
    ("g_sigmoid", "*a < 0*", "*a <= 0*"): "exp(0) is 1",
    ("g_leaky_relu", "*a > 0*", "*a >= 0*"): "of 0 both are 0",
    ("g_elu", "*a > 0*", "*a >= 0*"): "likewise",
    ("slope_elu", "*r > 0*r + 1*", "*r >= 0*"): "0 + 1 is 1",
    ("expm1", "*n_bits - SHIFT_BITS*", "*n_bits + SHIFT_BITS*"): "all bits of SHIFT_BITS are shifted out",
    ("tanh", "*n_bits - SHIFT_BITS*", "*n_bits + SHIFT_BITS*"): "likewise",
    ("exp", "*half_bits - SHIFT_BITS*", "*half_bits + SHIFT_BITS*"): "likewise",
    ("exp", "*(real)0.5 *", "*(real)0.5005 *"): "any two factors do that are numbers each",
    ("expm1_sum", "*f13 / 6227020800*", "*f13 / 6233247820.8*"): "less than a hundredth of a rounding error",
    ("expm1_sum", "*f12 / 479001600*", "*f12 / 479480601.6*"): "less than a tenth of a rounding error",
    ("log1p", "*1.0f / 15)*", "*1.0f / 15.015)*"): "likewise",
    ("log1p", "*1.0 / 33)*", "*1.0 / 33.033)*"): "likewise",
    ("log1p", "*1.0 / 31;", "*1.0 / 31.031;"): "likewise",
    ("log1p", "*1.0 / 29;", "*1.0 / 29.029;"): "likewise",
    ("panels", "const ptrdiff_t tiles*", "*(rows + ROWS ? [01]) ? ROWS, m = (rows + tiles - 1) / tiles;"):
        "more tiles than are needed: slower alone",
    ("accumulate", "const ptrdiff_t tiles*", "*(M ? i + ROWS ? [01]) ? ROWS;"): "likewise",
    ("activate_rows", "if (rows < 4*", "if (1)"): "a choice of speed alone: the bits are the same",
    ("activate_rows", "if (rows < 4*", "*rows <= 4*"): "likewise",
    ("activate_rows", "if (rows < 4*", "*rows < 5*"): "likewise",
    ("activate_rows", "if (rows < 4*", "*&&*"): "likewise",
    ("activate_rows", "if (rows < 4*", "*>=*"): "likewise",
    ("activate_rows", "if (rows < 4*", "*3 [*] H*"): "likewise",
    ("activate_rows", "if (rows < 4*", "*2 / H*"): "likewise",
    ("activate_rows", "else if (H == [12])", "else if (0)"): "likewise",
    ("activate_rows", "else if (H == 1)", "else if (H == 0)"): "likewise",
    ("activate_rows", "else if (H <= 4)", "*"): "half of AVX2's vector is four numbers or two: no other H comes here",
    ("activate_rows", "NAME(activate_side_by_side)(8,*", "*"): "likewise; the harness sees it in AVX-512",
    ("activate_side_by_side", "real beside[[]*", "*"): "more room than is needed",
    ("activate_side_by_side", "n = MIN(rows, 16 *", "*16 / width);"): "fewer rows at a time: slower alone",
    ("activate_side_by_side", "for (; i [*] width % W*", "for (; i % W*"): "more padding than is needed",
    ("activate_side_by_side", "memset(*", "*"): "what comes of the padding is thrown away",
    ("is_narrow", "*", "*3 [*] N*"): "a choice of speed alone",
    ("is_narrow", "*", "*9 [*] W*"): "likewise",
    ("is_narrow", "*", "* < K*"): "likewise",
    ("is_narrow", "*", "*K / W;"): "likewise",
    ("affine", "for (n = 0; n + 4 <= rows; n += 4)", "*n + 5 <= rows;*"): "more rows by themselves: slower alone",
    ("affine", "for (n = 0; n + 4 <= rows; n += 4)", "*n + 4 < rows;*"): "likewise",
    ("pack", "[*]P++ = *: 0;", "*: 1;"): "what it is multiplied with is zero",
    ("dots", "UNROLL for (i = 0; i < m; i++)", "*i = 1; *"): "the first loop is over what pads the rows of C, which nobody reads",
    ("dots", "STORE(C + i [*] ldc, SPLAT(0));", "*"): "likewise",
    ("dots", "V c[[]4]*", "V c[[]5]*"): "more room than is needed",
    ("dots", "*SELECT(last, *SPLAT(0))*", "*SPLAT(1))*"): "P is padded with zeros",
    ("at_once", "if (*", "if (0)"): "a choice of speed alone",
    ("at_once", "if (rows == 1 &&*", "if (rows == 0 &&*"): "likewise",
    ("at_once", "if (rows <= 3 &&*", "if (rows < 3 &&*"): "likewise",
    ("at_once", "if (*", "if (*left > [84])"): "likewise",
    ("at_once", "if (*", "if (*left >= [95])"): "likewise",
    ("tile", "UNROLL for (i = 0; i < m; i++)", "*i <= m;*"): "of `odd`, which has room for one row more; it is not stored",
    ("pack", "for (n = 0; n < ldp;*", "*n <= ldp;*"): "a panel of width 0",
    ("pack", "*there = MIN(N - n, width);", "*there = N - n;"): "what it writes too far, the next panels overwrite",
    ("pack", "P[[]j] = 0;", "*"): "what comes of the padding is thrown away",
    ("copy", "y[[]j] = 0;", "*"): "likewise",
    ("gather", "STORE(A, SELECT(*SPLAT(0)));", "*SPLAT(1)));"): "likewise",
    ("outer", "*j < there ?*: 0;", "*: 1;"): "likewise",
    ("beside", "V v = {0};", "V v = {1};"): "likewise",
    ("level", "V q = SPLAT(0);", "*"): "likewise",
    ("recur*_row", "V [sd][[]2]*", "*[[]3]*"): "more room than is needed",
    ("outer", "real buffer[[]*", "*3 [*] W]*"): "likewise",
    ("accumulate", "real packed[[]*", "*3 [*] W]*"): "likewise",
    ("column_sums", "V s[[]4]*", "V s[[]5]*"): "likewise",
    ("recur*", "*if (n == W)", "*if (0)"): "a choice of speed alone: the bits are the same",
    ("recur*", "else if (rows == 1 && n == 2 [*] W)", "else if (0)"): "likewise",
    ("recur*", "else if (rows == 1 && n == 2 [*] W)", "*rows == 0 &&*"): "likewise",
    ("recur*", "else if (rows == 1 && n == 2 [*] W)", "*n == 2 / W)"): "likewise",
    ("outer", "if (there < nv [*] W *", "if (1) {"): "a copy that is not needed: slower alone",
    ("outer", "if (there < nv [*] W *", "*<=*"): "likewise",
    ("outer", "if (there < nv [*] W *", "*step >*[=0]*"): "likewise",
    ("*_step_back", "*comes [?] *", "*comes || 1 [?] *"): "dcarry is 0 if nothing comes",
    ("outer", "if (c == buffer)", "if (1)"): "else it copies C onto itself",
    ("outer", "for (j = 0; j < nv [*] W; j++)", "*<= nv*"):
        "one number of the next row, which is written after it; after the last row the buffer has room",
    ("outer", "NAME(tile)(*ldb, 2 [*] W, *", "NAME(tile)(m, nv, 1, K, A, 1, lda, B, ldb, [23]*, c, ld, c, ld);"):
        "two vectors are one pair: its distance is not used",
    ("accumulate", "for (r = 0; r < rows;*", "*r <= rows;*"): "a sum of nothing is added",
    ("accumulate", "*there = MIN(N - n, 2 [*] W);", "*there = N - n;"):
        "two vectors or more are all the same to `outer`",
    ("accumulate", "*there = MIN(N - n, 2 [*] W);", "*3 [*] W);"): "likewise",
    ("accumulate", "if (M >= PACKED_FROM) {", "if (* {"): "a choice of speed alone",
    ("accumulate", "b = packed;", ";"): "likewise",
    ("column_sums", "for (r = 0; r + 4 <= rows; r += 4)", "*r + 5 <= rows;*"): "another order of summation",
    ("column_sums", "for (r = 0; r + 4 <= rows; r += 4)", "*r + 4 < rows;*"): "likewise",
    ("column_sums", "s[[]0] += LOAD(A + r [*] lda + n);", "s[[]1] += *"): "likewise",
    ("there", "*lanes[[]] =*", "*0, 1, 2, 3, 4, 5, 6, 7, *"): "AVX2 has eight lanes; the harness sees it in AVX-512",
    ("there", "*MIN(left, W));", "*(real)left);"): "more than W is more than every lane in any case",
    ("beside", "*j < MIN(O - o, W);*", "*j = 0; j < W;*"):
        "x[j % K] is there for any j; what is too much is thrown away",
    ("beside", "*j < MIN(O - o, W);*", "*j = 0; j < MIN(O, W);*"): "likewise",
    ("exponentials", "*> top*", "*>= top*"): "the largest of two that are equal is either",
    ("softmax_row", "*at_label = d == NULL ? z[[]label] : 0;", "*d == NULL || 1 ?*"): "read where it is not used",
    ("softmax_row", "*at_label = d == NULL ? z[[]label] : 0;", "*: 1;"): "likewise",
    ("softmax_row", "for (o = 1; o < what->O; o++)", "for (o = 0; *"): "z[0] is no larger than itself",
    ("softmax_row", "if (z[[]o] > top *", "if (z[[]o] >= top *"): "the largest of two that are equal is either",
    ("squares", "STORE(*SPLAT(0)));", "*SPLAT(1)));"): "what comes of the padding is thrown away",
    ("squares", "if (i % 16 == 15 || i == rows - 1) {", "if (1) {"): "oftener: slower alone",
    ("squares", "if (i % 16 == 15 || i == rows - 1) {", "if (i % 16 != 15 *"): "likewise",
    ("squares", "if (i % 16 == 15 || i == rows - 1) {", "if (i % 17 == 15 *"): "nor is 16 more than a choice",
    ("error", "if (i % 16 == 15 || i == rows - 1) {", "if (1) {"): "oftener: slower alone",
    ("error", "if (i % 16 == 15 || i == rows - 1) {", "if (i % 16 != 15 *"): "likewise",
    ("error", "if (i % 16 == 15 || i == rows - 1) {", "if (i % 17 == 15 *"): "nor is 16 more than a choice",
    ("error", "if (what->loss == FASTBPTT_SQUARED_ERROR *", "if (0)"): "`row` does the same: slower alone",
    ("error", "const real [*]m = *", "*weight_width || 1 ?*"): "`weights` is NULL where there are none",
    ("error", "*labels != NULL ? labels[[]i] : 0*", "*labels[[]i] : 1*"): "where there are no labels it is not read",
    ("error", "e = losses != NULL ?*", "*!= NULL || 1 ?*"): "nobody reads it: slower alone",
    ("error", "e = losses != NULL ?*: 0;", "*: 1;"): "nobody reads it",
    ("row", "weight = *", "*weight_width == 0 ? SPLAT(m[[]0])*"):
        "`beside` repeats a single weight as well: slower alone",
    ("row", "weight = *", "*weight_width == 1 && 0 ? *"): "likewise",
    ("row", "*what->K == what->O ?*", "*what->K == what->O && 0 ?*"): "likewise, all targets",
    ("copy", "for (; j + W <= width; j += W)", "*j + W < width;*"): "the last ones by themselves: slower alone",
    ("copy", "KEEP_LOOP;", ";"): "a choice of speed alone",
    ("gather", "end = *", "*X - (steps*"): "fewer rows as vectors: slower alone",
    ("gather", "end = *", "*- last*"): "likewise",
    ("gather", "end = *", "*- width;"): "likewise",
    ("gather", "for (b = 0; index*", "for (b = 1; index*"): "likewise",
    ("gather", "last = b == 0 *", "*"): "likewise: no more than the largest place, as no two rows have the same",
    ("gather", "if (lda == W && x + W <= end)", "if (0)"): "likewise",
    ("gather", "if (lda == W && x + W <= end)", "*x + W < end)"): "likewise",
    ("loss_huber", "*ABS(r) <= q*", "*ABS(r) < q*"): "where |r| = q both are the same number",
    ("loss_huber", "*SELECT(ABS(r) <= q, r, *", "*SELECT(r >[=] 0, q, *"): "0 is not here",
    ("loss_huber", "*SELECT(ABS(r) <= q, r, *", "*SELECT(r <= 0, -q, r*"): "likewise",
    ("loss_huber", "*SELECT(ABS(r) <= q, r, *", "*SELECT(r < 1, -q, r*"): "nor what is above",
    ("loss_quantile", "[*]e = SELECT(r < 0, -q, 1 - q) [*] r;", "*r <= 0*"): "0 is 0 times either",
    ("loss_binary_cross_entropy", "*y < 0, exponential*", "*y <= 0*"): "exp(0) is 1",
}

# ---------------------------------------------------------------------------------------------------------------------
# Mutants
# ---------------------------------------------------------------------------------------------------------------------

TOKEN = re.compile(r"""(?P<gap>\s+|\\\n|/\*.*?\*/)
    |(?P<number>0x[0-9a-fA-F.p]+[fu]?|\d+\.?\d*(?:e[-+]?\d+)?[fu]?)
    |(?P<word>\w+)
    |(?P<sign>->|\+\+|--|<<|>>|[-+*/<>=!]=|&&|\|\||.)""", re.VERBOSE | re.DOTALL)
TYPES = {"const", "static", "real", "whole", "V", "U", "MASK", "int", "double", "float", "void", "ptrdiff_t", "T",
         "fastbptt_error"}
# Functions whose arguments are mostly addresses and sizes: there a term is dropped, elsewhere its sign is turned.
DRIVEN = {"tile", "panels", "add_product", "activate", "differentiate", "outer", "copy", "beside", "there", "softmax"}
HEADS = {"return", "for", "while", "if", "else", "switch", "case", "default", "break", "UNROLL"}  # no operands
NEIGHBOURS = {"<": "<=", "<=": "<", ">": ">=", ">=": ">", "==": "!=", "!=": "=="}
OTHERS = {"+=": ("-=", "="), "-=": ("+=",), "&": ("|",), "|": ("&",), "<<": (">>",), "%": ("/",)}


@dataclass(frozen=True)
class Token:
    kind: str
    text: str
    begin: int

    @property
    def end(self):
        """Return the position behind the token."""
        return self.begin + len(self.text)


@dataclass
class Mutant:
    file: str     # relative to the folder of the kernels
    place: str    # function or macro
    line: int
    original: str
    mutated: str
    source: str   # the whole mutated file
    bits: tuple   # the types whose code it changes
    outcome: str = ""
    words: str = ""

    def __str__(self):
        """Return file, line, place, original and mutated code as one line."""
        return f"{self.file}:{self.line}  {self.place}  {self.original}  ->  {self.mutated}"


def pieces(text):
    """Yield (name, begin, end, bits) of every function's body and every macro's, and the types that it is compiled for."""
    bits, skipped, name, body = (32, 64), False, None, 0
    position, continued = 0, False
    for line in text.splitlines(keepends=True):
        begin, position = position, position + len(line)
        last, continued = continued, line.endswith("\\\n")
        define = re.match(r"#define (\w+)(?:\([^)]*\))? ", line)
        header = re.match(r"static.* (?:RULE_)?NAME\((\w+)\)\(", line)
        if line.startswith("#if BITS == 32"):
            bits = (32,)
        elif line.startswith("#if ROWS"):
            skipped = True
        elif line.startswith("#else"):
            bits, skipped = ((64,) if bits == (32,) else bits), False
        elif line.startswith("#endif"):
            bits, skipped = (32, 64), False
        elif line.startswith("#") and not define:
            pass
        elif define and define[1] in TYPES:
            pass  # only a name
        elif skipped:
            pass
        elif define:
            yield name or define[1], begin + define.end(), position, bits
            macro = define[1]
        elif last and name is None:
            yield macro, begin, position, bits
        elif header:
            name, body = header[1], None
        elif line == "{\n":
            body = position
        elif line == "}\n":
            name = None
        elif name and body:
            yield name, begin, position, bits


def tokens_of(text):
    """Yield name, types and tokens of each run of lines that belong together."""
    runs = []
    for name, begin, end, bits in pieces(text):
        if runs and runs[-1][0] == name and runs[-1][3] == bits and runs[-1][2] == begin:
            runs[-1][2] = end
        else:
            runs.append([name, begin, end, bits])
    for name, begin, end, bits in runs:
        tokens = [Token(match.lastgroup, match[0], begin + match.start()) for match in TOKEN.finditer(text[begin:end])]
        yield name, bits, [token for token in tokens if token.kind != "gap"]


class Run:
    """A run of tokens: where operands, arguments and statements begin and end. Positions count tokens."""

    def __init__(self, tokens):
        """Find the partner of each bracket among the tokens: `pair` maps the index of one to that of the other."""
        self.tokens, self.pair, opened = tokens, {}, []
        for i, token in enumerate(tokens):
            if token.text in ("(", "[", "{"):
                opened.append(i)
            elif token.text in (")", "]", "}") and opened:
                self.pair[i] = opened.pop()
                self.pair[self.pair[i]] = i

    def text(self, i):
        """Return the text of token i, or "" beyond either end."""
        return self.tokens[i].text if 0 <= i < len(self.tokens) else ""

    def cast(self, i):
        """Return whether token i closes a cast."""
        return self.text(i) == ")" and i in self.pair and all(
            token.text in TYPES or token.text == "*" for token in self.tokens[self.pair[i] + 1:i])

    def operand_ends(self, i):
        """Return whether an operand ends with token i, so that the operator behind it has two operands."""
        if i < 0:
            return False
        token = self.tokens[i]
        return (token.kind == "number" or token.text == "]" or (token.text == ")" and not self.cast(i))
                or (token.kind == "word" and token.text not in TYPES | HEADS))

    def indexes(self, i):
        """Return whether token i stands in an index, an address or a bound."""
        return any(opened < i < self.pair[opened] for opened in self.pair if self.text(opened) == "["
                   or (self.text(opened) == "(" and self.text(opened - 1) in ("LOAD", "STORE", "for", "MIN"))
                   or (self.text(opened) == "(" and self.text(self.pair.get(opened - 1, 0) - 1) == "NAME"
                       and self.text(opened - 2) in DRIVEN))

    def right(self, i, products):
        """Return the index behind the operand that begins after token i. With `products`, factors belong to the operand."""
        i += 1
        while True:
            while self.text(i) in ("-", "!", "~", "*", "&") or self.cast(self.pair.get(i, -1)):
                i = self.pair[i] + 1 if i in self.pair else i + 1
            i = self.pair[i] + 1 if i in self.pair else i + 1
            while self.text(i) in ("(", "[", "->") and not self.cast(i - 1):
                i = i + 2 if self.text(i) == "->" else self.pair.get(i, i) + 1
            if products and self.text(i) in ("*", "/", "%"):
                i += 1
                continue
            return i

    def arguments(self, i):
        """Return the arguments in the parenthesis that token i opens: (first token, token behind) of each."""
        found, begin, j = [], i + 1, i + 1
        while j < self.pair[i]:
            if self.text(j) == ",":
                found.append((begin, j))
                begin = j + 1
            j = self.pair[j] + 1 if self.text(j) in ("(", "[", "{") else j + 1
        return [*found, (begin, j)]


def changed(number, before, behind):
    """Return what may wrongly stand in place of a constant, between the tokens `before` and `behind`; None for nothing."""
    if number.startswith("0x") or (behind == "/" and float(number.rstrip("f")) == 1):  # the 1 of a coefficient 1 / 3
        return None
    if re.fullmatch(r"\d+\.0f?", number):  # a bound, of which a little less is wrong
        return number.replace(number.split(".")[0], str(int(float(number.rstrip("f")) * 0.9)))
    if re.search("[.ef]", number) or (before == "/" and int(number) > 2):
        return f"{float(number.rstrip('f')) * 1.001:.14g}{'f' if number.endswith('f') else ''}"
    return "0" if number == "1" else str(int(number) + 1)


def variants(run, source):
    """Yield (begin, end, text that stands there instead) of every fault in a Run of the source."""
    tokens = run.tokens
    at = lambda i: tokens[i].begin if i < len(tokens) else tokens[-1].end  # noqa: E731
    until = lambda i: tokens[i - 1].end  # noqa: E731
    begin = 0  # of the statement
    for i, token in enumerate(tokens):
        text, binary = token.text, run.operand_ends(i - 1)
        if token.kind == "number" and run.text(i - 2) + run.text(i - 1) != "case(":
            other = changed(text, run.text(i - 1), run.text(i + 1))
            if other:
                yield token.begin, token.end, other
        elif text in ("+", "-", "*", "/") and binary:
            right = run.right(i, text in "+-")
            if run.indexes(i) and text != "/":
                yield until(i), until(right), ""
            else:
                yield token.begin, token.end, {"+": "-", "-": "+", "*": "/", "/": "*"}[text]
        elif text in ("-", "!", "~"):
            yield token.begin, token.end, ""
        elif text in NEIGHBOURS:
            yield token.begin, token.end, NEIGHBOURS[text]
        elif text in OTHERS and (binary or text != "&") and not in_header(run, i):
            for other in OTHERS[text]:
                yield token.begin, token.end, other
        elif text in ("&&", "||"):
            yield token.begin, token.end, "||" if text == "&&" else "&&"
        elif text == "?":
            yield token.begin, token.end, "|| 1 ?"
            yield token.begin, token.end, "&& 0 ?"
        elif text == "if" and run.text(i + 1) == "(":
            for other in "01":
                yield at(i + 2), until(run.pair[i + 1]), other
        elif text == "(" and (run.operand_ends(i - 1) and run.text(i - 1) != "NAME"):
            arguments = [(a, b, source[at(a):until(b)]) for a, b in run.arguments(i)]
            if run.text(i - 1) == "MIN":
                for _, _, argument in arguments:
                    yield tokens[i - 1].begin, until(run.pair[i] + 1), argument
            elif run.text(i - 1) == "SELECT":
                (_, _, _), (a, _, yes), (_, b, no) = arguments
                yield at(a), until(b), f"{no}, {yes}"
            elif run.text(run.pair.get(i - 1, -1) - 1) == "NAME":
                for (a, _, first), (_, b, second) in zip(arguments, arguments[1:]):
                    if first != second:
                        yield at(a), until(b), f"{second}, {first}"
        if text == ";" and begin < i and not in_header(run, i):
            first = run.text(begin)
            if (first not in TYPES and first not in HEADS) or first == "break":
                yield at(begin), token.begin, ""
            begin = i + 1
        elif text in ("{", "}"):
            begin = begin if initializer(run, i) else i + 1
        elif text == "else" or (text == ":" and run.text(begin) in ("case", "default")):
            begin = i + 1
        elif text == ")" and i in run.pair and run.text(run.pair[i] - 1) in ("for", "if", "while", "switch"):
            begin = i + 1


def in_header(run, i):
    """Return whether token i stands in the parenthesis of a loop."""
    return any(opened < i < run.pair[opened] for opened in run.pair if run.text(opened) == "("
               and run.text(opened - 1) == "for")


def initializer(run, i):
    """Return whether the brace that is token i holds numbers."""
    opened = min(i, run.pair.get(i, i))
    return run.text(opened - 1) in ("=", ",", "{", "(")


def shown(text, begin, end, other):
    """Return the lines that hold begin ... end, as they are and as they become with `other` there.

    They are without comments and spaces in a row.
    """
    first, last = text.rfind("\n", 0, begin) + 1, text.find("\n", end)
    return [re.sub(r"\s+", " ", re.sub(r"/\*.*?\*/|/\*.*|\\$", "", line, flags=re.MULTILINE)).strip()
            for line in (text[first:last], text[first:begin] + other + text[end:last])]


def sources():
    """Map the name of each file that is mutated to its text."""
    folder = PACKAGE / "kernels"
    return {path.relative_to(folder).as_posix(): path.read_text()
            for pattern in SOURCES for path in sorted(folder.glob(pattern))}


def mutants_of(file, text):
    """Return the mutants of a file, a list of Mutant."""
    made = []
    for name, bits, tokens in tokens_of(text):
        for begin, end, other in variants(Run(tokens), text):
            original, mutated = shown(text, begin, end, other)
            if text[begin:end] != other:
                made.append(Mutant(file, name, text.count("\n", 0, begin) + 1, original, mutated,
                                   text[:begin] + (other) + text[end:], bits))
    return made


def reason_for(mutant):
    """Return the entry of EQUIVALENT for a mutant, or None."""
    for key in EQUIVALENT:
        if all(fnmatch.fnmatchcase(text, pattern) for text, pattern in
               zip((mutant.place, mutant.original, mutant.mutated), key)):
            return key
    return None


# ---------------------------------------------------------------------------------------------------------------------
# Compiling and running
# ---------------------------------------------------------------------------------------------------------------------


def one_set(text, bits):
    """Return sets/set.h (its text) as the file of SET for one real type, and what chooses it.

    The other type's verbs are NULL.
    """
    text = text.replace(f'#define BITS {96 - bits}\n#include "simd.h"\n', "")
    table = re.search(r"extern const fastbptt_kernels TABLE.*?\n};\n", text, re.DOTALL)[0]
    macros = re.search(r"#define SET .*?(?=#include)", (PACKAGE / "kernels" / "sets" / f"{SET}.c").read_text(), re.DOTALL)[0]
    size = int(re.search(r"#define BYTES (\d+)", macros)[1])
    assert f"#define ROWS {ROWS}\n" in macros
    return macros + text.replace(table, f"""
const fastbptt_kernels *fastbptt_vector_kernels(const char *name)
{{
    static const fastbptt_kernels kernels = {{"{SET}", {size // 4}, {size // 8}, .f{bits} = VERBS({SET}, {bits})}};
    return name == NULL || strcmp(name, "{SET}") == 0 ? &kernels : NULL;
}}
""")


class Workshop:
    """A temporary folder in which programs are made of mutated sources, and run."""

    def __init__(self, folder):
        """Copy the sources to the folder, and compile the harness."""
        self.folder = folder
        self.sources = sources()
        shutil.copy(PACKAGE / "kernels" / "kernels.h", folder)
        shutil.copytree(PACKAGE / "kernels" / "defs", folder / "defs")
        shutil.copytree(TESTS / "kernels", folder / "kernels")
        kernels = (PACKAGE / "kernels" / "sets" / "set.h").read_text()
        for bits in (32, 64):
            (folder / f"kernels_{bits}.c").write_text(one_set(kernels, bits))
        self.harness, self.limit = {}, {}
        for flags in (PLAIN, SANITIZED):
            self.harness[flags] = folder / f"harness_{len(flags)}.o"
            subprocess.run(["gcc", *flags, "-O1" if flags == PLAIN else "-O0", f"-I{folder}", "-c",
                            folder / "kernels" / "harness.c", "-o", self.harness[flags]], check=True)

    def write(self, folder):
        """Write the unmutated sources into a folder, and a lanes.h without verbs, which the harness does not call."""
        for file, text in {**self.sources, "lanes.h": ""}.items():
            (folder / file).parent.mkdir(exist_ok=True)
            (folder / file).write_text(text)
        shutil.copytree(self.folder / "defs", folder / "defs", dirs_exist_ok=True)

    def build(self, file, source, flags, bits, folder):
        """Return the program that is made with `source` in place of a file, or None if it does not compile.

        `write` has filled the folder, in which the file is restored afterwards.
        """
        (folder / file).write_text(source)
        compiled = subprocess.run(["gcc", *flags, *FLAGS, f"-I{folder}", f"-I{self.folder}",
                                   self.folder / f"kernels_{bits}.c", self.harness[flags], "-lm", "-o",
                                   folder / "program"], capture_output=True)
        (folder / file).write_text(self.sources[file])
        return folder / "program" if compiled.returncode == 0 else None

    def run(self, program, bits, limit):
        """Return None if the harness passes, else the words for how it fails.

        `program` is the compiled harness, `bits` selects the real type, and `limit` is in seconds.
        """
        child = subprocess.Popen([program, SET, str(bits)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
                                 errors="replace")
        try:
            out, err = child.communicate(timeout=limit)
        except subprocess.TimeoutExpired:
            child.terminate()
            try:
                err = child.communicate(timeout=2)[1]
            except subprocess.TimeoutExpired:
                child.kill()
                err = child.communicate()[1]
            return f"a hang in {self.case(err)}"
        if child.returncode == 0:
            return None
        failed = re.search(r"^FAILED: (.*)", out, re.MULTILINE)
        report = re.search(r"^(?:SUMMARY|.*runtime error): (.*)", err, re.MULTILINE)
        return failed[1] if failed else f"{report[1] if report else 'a crash'} in {self.case(err)}"

    def case(self, err):
        """Return the case in which the harness stopped, from its standard error."""
        return (re.findall(r"^STOPPED: (.*)", err, re.MULTILINE) or ["an unknown case"])[-1]

    def baseline(self):
        """Measure how long the harness takes without a mutant: five times that, and it hangs."""
        with tempfile.TemporaryDirectory(dir=self.folder) as folder:
            self.write(Path(folder))
            for flags, bits in STAGES:
                begin = time.monotonic()
                program = self.build("simd.h", self.sources["simd.h"], flags, bits, Path(folder))
                fault = self.run(program, bits, 100) if program else "its sources do not compile"
                if fault:
                    raise RuntimeError(f"the harness fails without any mutant: {fault}")
                self.limit[flags, bits] = 5 * (time.monotonic() - begin)

    def judge(self, mutant):
        """Set the outcome of a mutant by compiling and running it, and return the mutant."""
        with tempfile.TemporaryDirectory(dir=self.folder) as folder:
            self.write(Path(folder))
            for flags, bits in STAGES:
                if bits not in mutant.bits or (flags == SANITIZED and reason_for(mutant)):
                    continue
                program = self.build(mutant.file, mutant.source, flags, bits, Path(folder))
                if program is None:
                    mutant.outcome = "uncompiled"
                    return mutant
                mutant.words = self.run(program, bits, self.limit[flags, bits])
                if mutant.words:
                    mutant.outcome = "killed"
                    return mutant
        mutant.outcome = "survived"
        return mutant


def main():
    """Run the command, and return whether a mutant survived."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--list", action="store_true", help="print the mutants and run nothing")
    parser.add_argument("-k", metavar="PATTERN", default="", help="only functions, macros and files with PATTERN in the name")
    parser.add_argument("--at-most", type=int, metavar="N", help="only N of the mutants, drawn at random")
    parser.add_argument("--seed", default="", help="of that draw, any text")
    parser.add_argument("--jobs", type=int, default=2, help="processes (default 2)")
    arguments = parser.parse_args()
    begin = time.monotonic()
    mutants = [mutant for file, text in sources().items() for mutant in mutants_of(file, text)
               if arguments.k in f"{mutant.file} {mutant.place}"]
    if arguments.at_most is not None and arguments.at_most < len(mutants):
        print(f"{arguments.at_most} of {len(mutants)} mutants, drawn by --seed {arguments.seed!r}")
        mutants = random.Random(arguments.seed).sample(mutants, arguments.at_most)
    if arguments.list:
        print(*mutants, sep="\n")
        print(f"{len(mutants)} mutants")
        return 0
    count, used = dict.fromkeys(("killed", "equivalent", "survived", "uncompiled"), 0), set()
    with tempfile.TemporaryDirectory(prefix="mutate-") as folder, ThreadPoolExecutor(arguments.jobs) as pool:
        workshop = Workshop(Path(folder))
        workshop.baseline()
        for mutant in pool.map(workshop.judge, mutants):
            key = reason_for(mutant)
            used.add(key)
            words = f"killed by {mutant.words}"
            if mutant.outcome == "survived" and key:
                mutant.outcome, words = "equivalent", f"equivalent: {EQUIVALENT[key]}"
            elif mutant.outcome == "survived":
                words = "SURVIVED"
            elif mutant.outcome == "killed" and key:
                words = f"LISTED AS EQUIVALENT, but {words}"
            count[mutant.outcome] += 1
            if mutant.outcome != "uncompiled":
                print(f"{sum(count.values()):4d} {mutant}\n       {words}", flush=True)
    for key in EQUIVALENT if not arguments.k and arguments.at_most is None else ():
        if key not in used:
            print(f"STALE: no mutant is {key}")
    uncompiled = count["uncompiled"]
    print(f"{len(mutants) - uncompiled} mutants, and {uncompiled} that do not compile: {count['killed']} killed, "
          f"{count['equivalent']} equivalent (listed), {count['survived']} survived; {time.monotonic() - begin:.0f} s")
    return count["survived"] > 0


if __name__ == "__main__":
    sys.exit(main())
