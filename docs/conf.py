"""Sphinx: ``make site`` builds these pages with warnings as errors."""

import tile38cm

project = "tile38cm"
author = "tile38cm contributors"
version = release = tile38cm.__version__
extensions: list[str] = []
exclude_patterns = ["_build"]
html_theme = "alabaster"
html_theme_options = {"page_width": "1100px", "description": "High availability for Tile38"}
