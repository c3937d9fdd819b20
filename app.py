"""The router: which pages there are, and in which section of the menu (the table is in `scfviz/ui/routes.py`)."""

from scfviz.ui import page

page.route()
