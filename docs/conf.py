"""Settings of the documentation site. CONTRIBUTING.md has the command that builds it."""

import re
from pathlib import Path

import fastbptt

ROOT = Path(__file__).resolve().parents[1]

project = "fastbptt"
author = "the fastbptt developers"
copyright = author
version = release = fastbptt.__version__

extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.autosummary", "sphinx.ext.mathjax", "numpydoc",
              "sphinx_gallery.gen_gallery"]
source_suffix = {".md": "markdown", ".rst": "restructuredtext"}
exclude_patterns = ["_build", "gallery"]
templates_path = ["_templates"]
myst_enable_extensions = ["deflist"]
myst_heading_anchors = 3

default_role = "py:obj"  # a name in backticks is a link where it is public
autosummary_generate = True
autodoc_typehints = "none"  # the docstrings say types, shapes and units
autodoc_member_order = "bysource"
numpydoc_show_class_members = False  # the template lists them
sphinx_gallery_conf = {
    "examples_dirs": "gallery",
    "gallery_dirs": "generated_gallery",
    "show_memory": False,
    "download_all_examples": False,
    "remove_config_comments": True,
    "abort_on_example_error": True,
}
html_theme = "pydata_sphinx_theme"
html_static_path = ["_static"]
html_css_files = ["wide.css"]
html_title = "fastbptt"
html_show_sourcelink = False
html_theme_options = {
    "show_nav_level": 2,
    "show_toc_level": 2,
    "header_links_before_dropdown": 6,
    "navbar_end": ["theme-switcher"],
    "secondary_sidebar_items": ["page-toc"],
    "footer_start": ["copyright"],
    "footer_end": [],
}
suppress_warnings = ["myst.header"]  # some pages begin sections at the third level

# Pages that show a file of the repository. Files of their names stand here because Sphinx looks for pages in this folder.
SHOWN = {"contributing": "CONTRIBUTING.md", "security": "SECURITY.md",
         "experiments": "bench/experiments/README.md"}


def show(app, page, source):
    """Replace the text of a page of SHOWN by that of its file, with links that lead to pages. Sphinx calls it for each page."""
    if page not in SHOWN:
        return
    path = ROOT / SHOWN[page]
    app.env.note_dependency(str(path))
    text = path.read_text(encoding="utf-8")
    for name, file in SHOWN.items():
        text = re.sub(rf"\]\({re.escape(file)}(#[^)]*)?\)", rf"]({name}.md\1)", text)
    text = text.replace("](docs/", "](")
    if path.parent != ROOT:  # its pictures
        text = re.sub(r"\]\((\w+\.png)\)", rf"](../{path.parent.relative_to(ROOT).as_posix()}/\1)", text)
    source[0] = text


def escape(app, what, name, thing, options, lines):
    """Escape | outside of code, which would name a substitution. Sphinx calls it for each docstring."""
    in_example = False
    for k, line in enumerate(lines):
        in_example = line.strip().startswith(">>>") or (in_example and line.strip() != "")
        if not in_example:
            parts = re.split(r"(`+[^`]*`+)", line)
            lines[k] = "".join(part if part.startswith("`") else part.replace("|", r"\|") for part in parts)


def setup(app):
    """Prepare Sphinx. It calls this when it reads the settings."""
    app.connect("source-read", show)
    app.connect("autodoc-process-docstring", escape, priority=100)  # before numpydoc
