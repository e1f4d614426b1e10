"""The documentation site: its reference has every public name. `.ci/run site` builds it, with warnings as errors."""

import re
from pathlib import Path

import pytest
from public import public_names

DOCS = Path(__file__).parents[2] / "docs"
pytestmark = [pytest.mark.quick, pytest.mark.skipif(not DOCS.exists(), reason="no docs beside the tests")]


def test_the_reference_has_every_public_name_once():
    pages = [page.read_text(encoding="utf-8") for page in (DOCS / "reference").glob("*.md")]
    listed = [name for page in pages for block in page.split(":toctree: generated")[1:]
              for name in re.findall(r"^   ([\w.]+)$", block.partition("```")[0], re.MULTILINE)]
    assert sorted(listed) == sorted(public_names())


def test_pages_that_show_a_file_name_it():
    shown = re.search(r"SHOWN = (\{.*?\})", (DOCS / "conf.py").read_text(encoding="utf-8"), re.DOTALL)[1]
    pairs = re.findall(r'"([^"]+)": "([^"]+)"', shown)
    assert len(pairs) >= 3
    for page, file in pairs:
        assert (DOCS.parent / file).exists() and file in (DOCS / f"{page}.md").read_text(encoding="utf-8")
