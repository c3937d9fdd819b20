"""The router: which pages there are, and in which section of the menu (the table is in `scfviz/ui/frame/routes.py`)."""

from scfviz.ui.frame import page

page.route()
