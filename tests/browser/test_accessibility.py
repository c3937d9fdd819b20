"""Every page fits the window and passes axe-core (WCAG 2.1 A and AA) in both themes, but for Streamlit's own parts."""

import re
import tomllib
from pathlib import Path
from urllib.parse import quote

import pytest
from visitors import ROOT, Server, Visitor

from scfviz.ui.frame.routes import all_routes

DEMO = "dataset=demo:pbmc68k_reduced"
PAGES = {name: "/" if name == "home" else f"/{name}?{DEMO}&tour=off" for name in all_routes()}
RULES = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa"]
# Rule, then what the element's HTML begins with: parts of Streamlit's own widgets, which an app cannot change.
STREAMLITS = {
    ("list", '<ul data-testid="stSidebarNavItems"'): "sections of the menu stand between <ul> and <li>",
    ("listitem", '<li class="st-emotion-cache-'): "the same menu",
}


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    server = Server(tmp_path_factory.mktemp("app"))
    yield server
    server.stop()


def find_faults(page) -> list[str]:
    """What axe-core finds and Streamlit is not known for: rule, element, reason."""
    from axe_playwright_python.sync_playwright import Axe

    options = {"runOnly": RULES, "resultTypes": ["violations"]}  # to describe what passed took half of the time
    found = Axe().run(page, options=options).response["violations"]
    return [
        f"{fault['id']}: {node['html'][:150]} {[check['message'] for check in node['any'] + node['all']]}"
        for fault in found
        for node in fault["nodes"]
        if not any(fault["id"] == rule and node["html"].startswith(html) for rule, html in STREAMLITS)
    ]


def find_faults_in_both(visitor: Visitor) -> list[str]:
    """Of the page as it stands, in light and in dark."""
    faults = []
    for theme in ("dark", "light"):
        visitor.wear(theme)
        faults += [f"{theme}: {fault}" for fault in find_faults(visitor.page)]
    return faults


def test_every_page_passes_axe_and_fits_the_window(browser, server):
    visitor = Visitor(browser, server)
    faults = {}
    main = "document.querySelector('[data-testid=stMain]')"
    for name, path in PAGES.items():
        visitor.open(path)
        if name == "explorer":
            visitor.page.locator("section.map").wait_for()
        visitor.settle()
        visitor.page.wait_for_timeout(700)
        faults[name] = find_faults_in_both(visitor)
        for width in (390, 1920, 1280):
            visitor.page.set_viewport_size({"width": width, "height": 900})
            visitor.settle()
            too_wide = visitor.page.evaluate(f"{main}.scrollWidth - {main}.clientWidth")
            faults[name] += [f"{too_wide} pixels are cut off at {width}"] if too_wide > 0 else []
    visitor.assert_sound()
    visitor.context.close()
    assert not any(faults.values()), faults


def test_every_panel_of_the_explorer_passes_axe(browser, server):
    """With a selection, so that the panels have something to show; and what opens above the page."""
    from scfviz.ui.explorer.address import PANELS

    visitor = Visitor(browser, server)
    page, faults = visitor.page, {}
    for name, title in PANELS.items():
        visitor.open(f"{PAGES['explorer']}&x_panel={quote(title)}")
        page.locator("section.map").wait_for()
        page.locator(".stage >> nth=0").focus()
        page.keyboard.press("v")
        page.get_by_text(re.compile(r"\d of 700 cells selected")).first.wait_for()
        visitor.settle()
        faults[name] = find_faults_in_both(visitor)
    page.get_by_role("button", name="One-minute tour").click()
    page.locator(".st-key-tour").wait_for()
    faults["tour"] = find_faults_in_both(visitor)
    frame = "getComputedStyle(document.querySelector('.st-key-x_color')).outlineStyle"
    page.wait_for_function(f"{frame} === 'solid'")
    page.get_by_role("button", name="Skip the tour").click()
    page.wait_for_function(f"{frame} === 'none'")
    page.locator(".stage >> nth=0").focus()
    page.keyboard.press("?")
    page.get_by_role("dialog").wait_for()
    faults["shortcuts"] = find_faults_in_both(visitor)
    visitor.assert_sound()
    visitor.context.close()
    assert not any(faults.values()), faults


def test_the_explorer_can_be_used_by_keyboard_alone(browser, server):
    """Tab reaches controls, tools, maps and legend in the order of the page, and each shows that it has the focus."""
    visitor = Visitor(browser, server)
    page = visitor.page
    visitor.open(PAGES["explorer"])
    page.locator("section.map").wait_for()
    visitor.settle()
    page.locator("h1").click()
    seen, unseen = [], []
    focused = """() => {
        let at = document.activeElement;
        while (at?.shadowRoot?.activeElement) at = at.shadowRoot.activeElement;
        const around = [at];  // the frame that shows it may be that of the whole control
        while (around.at(-1).parentElement && !around.at(-1).matches(".stElementContainer, section.map"))
            around.push(around.at(-1).parentElement);
        const isShown = around.map((e) => getComputedStyle(e)).some((s) =>
            (s.outlineStyle !== "none" && parseFloat(s.outlineWidth) > 0) || s.boxShadow !== "none"
            || s.borderColor === "rgb(15, 107, 117)");
        const name = at.getAttribute("aria-label") || at.title || at.innerText || at.tagName;
        return [`${name} ${at.className}`, isShown || at.getBoundingClientRect().width === 0];
    }"""
    for _ in range(60):
        page.keyboard.press("Tab")
        name, is_shown = page.evaluate(focused)
        seen.append(name)
        if not is_shown:
            unseen.append(name)
    order = ["One-minute tour", "Label", "Move the map", "Select with a lasso", "Shortcuts", " stage", " row"]
    places = [next((i for i, text in enumerate(seen) if part in text), -1) for part in order]
    assert -1 not in places and places == sorted(places), (places, seen)
    assert not unseen, unseen
    page.locator(".stage >> nth=0").focus()
    page.keyboard.press("l")
    page.keyboard.press("Escape")
    page.keyboard.press("v")
    page.get_by_text(re.compile(r"\d of 700 cells selected")).first.wait_for()
    visitor.settle()
    page.keyboard.press("Control+z")
    page.locator(".toolbar .count", has_text=re.compile(r"^700 cells$")).wait_for()
    visitor.settle()
    page.keyboard.press("Control+Shift+z")
    page.get_by_text(re.compile(r"\d of 700 cells selected")).first.wait_for()
    visitor.assert_sound()
    visitor.context.close()


def test_the_style_sheet_has_the_colours_of_the_theme():
    theme = tomllib.loads((ROOT / ".streamlit" / "config.toml").read_text(encoding="utf-8"))["theme"]
    style = (Path(ROOT) / "scfviz" / "ui" / "style.css").read_text(encoding="utf-8")
    names = {"page": "background", "card": "secondaryBackground", "ink": "text", "line": "border", "link": "link"}
    names["accent"] = "primary"
    for variable, name in names.items():
        light, dark = (theme[way][f"{name}Color"] for way in ("light", "dark"))
        assert f"--{variable}: light-dark({light}, {dark});" in style, variable
