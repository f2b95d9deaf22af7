"""How Sphinx builds the manual: `make docs`."""

from importlib.metadata import version as version_of

project = "hexhub_backup"
copyright = "the authors of hexhub_backup"  # noqa: A001 - Sphinx asks for this name.
release = version_of("hexhub_backup")
version = release

extensions = ["myst_parser", "sphinx.ext.autodoc"]
# Headings down to the third level can be linked to, by the anchors that code hosts give them.
myst_heading_anchors = 3

html_theme = "furo"
html_title = f"hexhub_backup {release}"
html_static_path = ["static"]
html_css_files = ["print.css"]
html_copy_source = False
html_show_sphinx = False

# Docstrings name code in single backticks.
default_role = "code"
autoclass_content = "both"
autodoc_typehints_format = "short"
autodoc_member_order = "bysource"

# What our own docstrings refer to has to be there. What belongs to others would have to be fetched
# from their sites, which a build does not do.
nitpicky = True
nitpick_ignore_regex = [("py:.*", r"(?!hexhub_backup\.).*")]
