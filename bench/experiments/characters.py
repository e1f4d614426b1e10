"""Python's own standard library, character by character, by truncated BPTT; then text of the network's own.

    python bench/experiments/characters.py [--passes 3] [--seed 0] [--picture characters.png]

The text is all modules at the top of the standard library of the Python that runs this, in the order of their names; every
twentieth is held out. Other characters than 96 of ASCII are read as one. There is no published figure for this text; beside
the network's bits per character stand those of xz, which has seen the same text before (its window holds all of it).
"""

import argparse
import glob
import lzma
import math
import os
import sysconfig
import time

import common
import numpy as np

from fastbptt import RNN

ALPHABET = "\n" + "".join(map(chr, range(32, 127)))
UNKNOWN = len(ALPHABET)
B, WINDOW = 32, 50  # sequences side by side, and the steps of an update


def read_text():
    """Return the text to learn from and the held-out text."""
    parts = [], []
    for n, path in enumerate(sorted(glob.glob(os.path.join(sysconfig.get_path("stdlib"), "*.py")))):
        with open(path, encoding="utf-8") as file:
            parts[n % 20 == 19].append(file.read().replace("\t", "    "))
    return "".join(parts[0]), "".join(parts[1])


def character_indices(characters):
    """Return the category index of each character, UNKNOWN for those that are not in ALPHABET."""
    index = {character: i for i, character in enumerate(ALPHABET)}
    return np.array([index.get(character, UNKNOWN) for character in characters])


def side_by_side(characters):
    """Return B pieces of a text side by side as category indices (T, B).

    The last characters, which do not fill B, are left out.
    """
    sequence = character_indices(characters)
    return np.ascontiguousarray(sequence[:len(sequence) // B * B].reshape(B, -1).T)


def bits_per_character(net, held):
    """Return the network's mean cross-entropy on the held-out text (T, B), in bits per character."""
    return float(np.mean(net.losses(held[:-1], held[1:], n_threads=1)[1:])) / math.log(2)


def compressed(learnt, held):
    """Return the bits per character that xz adds for `held` to what it has made of the learnt text."""
    sizes = [len(lzma.compress(part.encode(), preset=9 | lzma.PRESET_EXTREME)) for part in (learnt, learnt + held)]
    return 8 * (sizes[1] - sizes[0]) / len(held)


def main():
    """Run the command; the module's docstring describes it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--passes", type=int, default=3)
    parser.add_argument("--hidden", type=int, default=256)
    parser.add_argument("--at-most", type=int, metavar="CHARACTERS", help="learn from the first of them alone")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--picture")
    given = parser.parse_args()
    learnt, held = (part[:given.at_most] for part in read_text())
    X, X_held = side_by_side(learnt), side_by_side(held)
    net = RNN(UNKNOWN + 1, given.hidden, UNKNOWN + 1, one_hot=True, output_activation="softmax", loss="cross_entropy",
              random_state=given.seed)
    print(f"{len(learnt)} characters to learn, {len(held)} held out, {net.theta.size} parameters", flush=True)
    begin, curve, updates = time.process_time(), [], 0
    pieces = 8  # of a pass, each with its own learning rate, from 3e-3 to 3e-4, and its own Adam
    for n in range(given.passes * pieces):
        part = X[n % pieces * len(X) // pieces:(n % pieces + 1) * len(X) // pieces + 1]
        state = None if n % pieces == 0 else history.final_state
        history = net.stream(part[:-1], part[1:], tbptt=(WINDOW, WINDOW), initial_state=state, max_grad_norm=1.0, n_threads=1,
                             learning_rate=3e-3 * 0.1 ** (n / (given.passes * pieces - 1)))
        updates += len(part) // WINDOW
        curve.append((updates, bits_per_character(net, X_held)))
        print(f"{updates:6} updates   {curve[-1][1]:.3f} bits per held-out character   {time.process_time() - begin:5.1f} s",
              flush=True)
    xz = compressed(learnt, held)
    print(f"xz: {xz:.3f} bits per held-out character")
    prefix = "class "
    sample = net.generate(600, prefix=character_indices(prefix)[:, None], temperature=0.7, random_state=given.seed)[:, 0]
    print(prefix + "".join((ALPHABET + "?")[i] for i in sample))
    common.picture(given.picture, {f"RNN, {given.hidden} units": tuple(zip(*curve))}, "update", "bits per held-out character",
                   level=(xz, "xz"))


if __name__ == "__main__":
    main()
