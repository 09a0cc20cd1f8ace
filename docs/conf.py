"""How Sphinx builds the documentation: `make docs`."""

project = "tonnage"
author = "The tonnage developers"
extensions = ["myst_parser"]
source_suffix = {".md": "markdown"}
exclude_patterns = ["_build"]
html_theme = "furo"
html_title = "tonnage"
myst_enable_extensions = ["colon_fence", "deflist"]
myst_heading_anchors = 3
