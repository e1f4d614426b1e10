"""Make docs/explained.md with its picture, and pictures of docs/diagnostics.md and docs/survives.md.

    python docs/make.py

Needs matplotlib. Times on the page are those of the machine that this runs on.
"""

import os
import re
import sys
import textwrap
from pathlib import Path

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE.parent / "bench"))

PAGE = """# Back-propagation through time by hand

`fastbptt explain` prints the following computation, and `fastbptt explain --svg unrolled.svg` draws it. Every number comes from
`RNN.gradient_terms`, and the tests compare this page with it. [The mathematics](mathematics.md) has the general formulas, and
[Examples](examples.md) a network of two units.

```text
{by_hand}
```

![The network unrolled over three steps, with the terms of the three weights in three colours](unrolled.svg)

## Strengths and weaknesses

{limits}

{where}
"""

WHERE = ("Measured by `python bench/limits.py` ({where}); times are processor times. [Why the gradient "
         "survives](survives.md) has pictures of vanishing gradients, [Diagnostics](diagnostics.md) of exploding ones.")


def wrapped(line):
    return textwrap.fill(line, 124, subsequent_indent="  ", break_long_words=False, break_on_hyphens=False)


def explained():
    import limits

    from fastbptt.cli import explain as _explain

    found = _explain.example()
    sentences = "\n".join(wrapped(f"- {sentence}") for sentence in (*limits.timed(), *limits.lasting()))
    where = wrapped(WHERE.format(where=limits.where())).replace("\n  ", "\n")
    page = PAGE.format(by_hand=_explain.text(found), limits=sentences, where=where)
    (HERE / "explained.md").write_text(page, encoding="utf-8")
    (HERE / "unrolled.svg").write_text(_explain.svg(found), encoding="utf-8")


def pictures():
    os.environ.setdefault("MPLBACKEND", "Agg")
    os.chdir(HERE)
    import matplotlib.pyplot as plt

    script = HERE / "gallery" / "plot_gradient_flow.py"
    exec(compile(script.read_text(encoding="utf-8"), script.name, "exec"), {})
    plt.figure(1).savefig("gallery-flow.png", dpi=75)
    blocks = re.findall(r"```python\n(.*?)```", (HERE / "survives.md").read_text(encoding="utf-8"), re.DOTALL)
    exec(compile("\n".join(blocks), "survives.md", "exec"), {})


if __name__ == "__main__":
    explained()
    pictures()
