"""Sphinx settings: `make docs` writes docs/_build/html, and ends at the first warning."""

from __future__ import annotations

from lt_trainer import __version__

project = "lt_trainer"
author = "the lt_trainer authors"
release = __version__

extensions = ["myst_parser"]
exclude_patterns = ["_build"]
myst_enable_extensions = ["colon_fence"]
myst_heading_anchors = 3

html_theme = "furo"
html_title = "lt_trainer"
html_show_sphinx = False
html_copy_source = False
