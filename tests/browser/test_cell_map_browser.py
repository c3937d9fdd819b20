"""The map in a real browser: what is drawn, what a lasso selects, with and without WebGL."""

import math
import os
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

APP = Path(__file__).resolve().parents[1] / "apps" / "cell_map_app.py"
SOFTWARE_GL = ["--use-gl=angle", "--use-angle=swiftshader", "--enable-unsafe-swiftshader"]
KEEP_CONTEXTS = """
  const getContext = HTMLCanvasElement.prototype.getContext;
  window.surfaces = [];
  HTMLCanvasElement.prototype.getContext = function (kind, ...rest) {
    const context = getContext.call(this, kind, ...rest);
    if (kind === "webgl" && context && !window.surfaces.includes(context)) window.surfaces.push(context);
    return context;
  };
"""
NO_GL = ["--disable-gpu", "--disable-3d-apis"]
DRAWN = "section.map[data-drawn]:not([data-drawn=''])"
STAGE = ".stage >> nth=0"


@pytest.fixture(scope="module")
def server():
    """The address of a running app."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [
        sys.executable,
        "-m",
        "streamlit",
        "run",
        str(APP),
        "--server.port",
        str(port),
        "--server.headless",
        "true",
    ]
    process = subprocess.Popen([*command, "--server.address", "127.0.0.1", "--browser.gatherUsageStats", "false"])
    try:
        for _ in range(120):
            time.sleep(0.5)
            try:
                urllib.request.urlopen(f"http://127.0.0.1:{port}/_stcore/health", timeout=2)
                break
            except OSError:
                assert process.poll() is None, "the app did not start"
        yield f"http://127.0.0.1:{port}"
    finally:
        process.terminate()
        process.wait(timeout=20)


@pytest.fixture
def open_page(server):
    """Opens the app in a browser; at the end there must be no error in its console."""
    chromium = shutil.which("chromium") or shutil.which("chromium-browser")
    if chromium is None:
        if os.environ.get("CI"):
            pytest.fail("chromium is missing; CI must run every test")
        pytest.skip("chromium is not installed")
    from playwright.sync_api import sync_playwright

    errors, opened = [], []
    with sync_playwright() as playwright:

        def open_it(arguments, query="", script="", **options):
            browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox", *arguments])
            opened.append(browser)
            page = browser.new_page(viewport={"width": 1300, "height": 900}, **options)
            page.set_default_timeout(60_000)
            page.add_init_script(script)
            page.on("console", lambda m: errors.append(m.text) if m.type == "error" else None)
            page.on("pageerror", lambda e: errors.append(str(e)))
            page.goto(f"{server}/?n=5000{query}")
            page.wait_for_selector(STAGE)
            return page

        yield open_it
        for browser in opened:
            browser.close()
    assert not errors


def pixels(page) -> np.ndarray:
    """What the first map shows, uint8 (height, width, 3)."""
    return np.asarray(Image.open(BytesIO(page.locator(STAGE).screenshot())).convert("RGB")).astype(int)


def share_drawn(page) -> float:
    """Share of the first map's pixels that show cells in colour."""
    image = pixels(page)
    return float((image.max(axis=2) - image.min(axis=2) > 40).mean())


def wait_until(page, holds, seconds=20):
    """Poll until something holds."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if holds():
            return
        page.wait_for_timeout(150)
    raise AssertionError("it did not happen in time")


def draw_lasso(page, x, y, radius):
    box = page.locator(STAGE).bounding_box()
    page.mouse.move(box["x"] + x + radius, box["y"] + y)
    page.mouse.down()
    for k in range(1, 30):
        angle = 2 * math.pi * k / 30
        page.mouse.move(box["x"] + x + radius * math.cos(angle), box["y"] + y + radius * math.sin(angle))
    page.mouse.up()


def server_count(page) -> int:
    return int(page.get_by_text("server counts").inner_text().split()[2])


def shown_count(page) -> str:
    return page.locator(".toolbar .count").inner_text()


def test_colour_lasso_camera_and_keys(open_page):
    page = open_page(SOFTWARE_GL)
    page.wait_for_selector(DRAWN)
    wait_until(page, lambda: share_drawn(page) > 0.05)
    page.locator(STAGE).focus()

    page.keyboard.press("l")
    draw_lasso(page, 230, 80, 90)
    wait_until(page, lambda: server_count(page) > 300)
    count = server_count(page)
    wait_until(page, lambda: shown_count(page) == f"{count:,} of 5,000 cells selected")
    in_legend = [text.split("/")[0] for text in page.locator(".legend .n").all_inner_texts()]
    assert sum(int(text.replace(",", "")) for text in in_legend) == count

    page.keyboard.press("Escape")  # leaves the lasso, keeps the selection
    page.keyboard.press("z")
    page.wait_for_timeout(600)
    outline = page.locator(STAGE).locator("path.outline").get_attribute("d")
    page.wait_for_selector(DRAWN)
    before = page.locator("section.map").get_attribute("data-drawn")
    page.get_by_text("GENE2", exact=True).click()
    wait_until(page, lambda: page.locator("section.map").get_attribute("data-drawn") not in (before, ""))
    assert page.locator(STAGE).locator("path.outline").get_attribute("d") == outline, (
        "the camera moved with the colours"
    )
    assert "GENE2" in page.locator(".legend .heading").inner_text()

    page.locator(STAGE).focus()
    page.keyboard.press("Escape")
    wait_until(page, lambda: shown_count(page) == "5,000 cells")
    page.keyboard.press("0")
    page.keyboard.press("v")
    wait_until(page, lambda: server_count(page) > 4_900)
    page.keyboard.press("?")
    assert page.get_by_role("dialog").is_visible()
    page.keyboard.press("Escape")

    page.get_by_text("Map", exact=True).click()  # closing the map leaves no error behind, and it can come back
    page.locator(STAGE).wait_for(state="detached")
    page.get_by_text("Map", exact=True).click()
    page.wait_for_selector(DRAWN)
    wait_until(page, lambda: share_drawn(page) > 0.05)


def test_legend_hides_isolates_and_selects(open_page):
    page = open_page(SOFTWARE_GL)
    page.wait_for_selector(DRAWN)
    wait_until(page, lambda: share_drawn(page) > 0.05)
    all_cells = share_drawn(page)
    page.get_by_role("button", name="group 0, ").click()
    wait_until(page, lambda: 0 < share_drawn(page) < 0.95 * all_cells)
    assert "of 5,000 cells shown" in page.locator(".legend .note").inner_text()
    page.locator("li", has_text="group 3").hover()
    page.locator("[data-legend=only3]").click()
    wait_until(page, lambda: 0 < share_drawn(page) < 0.3 * all_cells)
    page.locator("[data-legend=pick3]").click()
    wait_until(page, lambda: server_count(page) > 0)
    group = page.get_by_role("button", name="group 3, ").get_attribute("aria-label").split(", ")[1].split(" ")[0]
    assert server_count(page) == int(group)


def test_hover_and_click_name_a_cell_on_all_maps(open_page):
    page = open_page(SOFTWARE_GL)
    page.wait_for_selector(DRAWN)
    wait_until(page, lambda: share_drawn(page) > 0.05)
    box = page.locator(STAGE).bounding_box()

    def found() -> bool:
        image = pixels(page)
        rows, columns = np.nonzero(image.max(axis=2) - image.min(axis=2) > 60)
        middle = len(rows) // 2
        page.mouse.move(float(box["x"] + columns[middle]), float(box["y"] + rows[middle]))
        page.wait_for_timeout(300)
        return page.locator(".tip").is_visible()

    wait_until(page, found)
    name = page.locator(".tip span").inner_text()
    assert name.startswith("cell-") and page.locator(".tip b").inner_text().startswith("group ")
    assert page.locator(".ring[visibility=visible]").count() == 2, "the same cell is marked on both maps"
    page.mouse.down()
    page.mouse.up()
    wait_until(page, lambda: page.get_by_text(f"clicked {name}", exact=True).count() == 1)


def test_without_webgl_the_server_draws_and_a_lasso_selects(open_page):
    page = open_page(NO_GL, "&maps=1", color_scheme="dark")
    wait_until(page, lambda: share_drawn(page) > 0.05)
    assert "without WebGL" in page.locator(".notice").inner_text()
    page.locator("button[data-tool=lasso]").click()
    draw_lasso(page, 420, 80, 90)
    wait_until(page, lambda: server_count(page) > 300)
    count = server_count(page)
    wait_until(page, lambda: shown_count(page) == f"{count:,} of 5,000 cells selected")
    before = pixels(page)
    page.locator("button[data-tool=focus]").click()
    wait_until(page, lambda: np.abs(pixels(page) - before).mean() > 2)
    page.locator("button[data-tool=box]").click()
    box = page.locator(STAGE).bounding_box()
    page.mouse.move(box["x"] + 300, box["y"] + 150)
    page.mouse.down()
    page.mouse.move(box["x"] + 400, box["y"] + 200)
    page.mouse.move(box["x"] + 500, box["y"] + 260)
    page.mouse.up()
    wait_until(page, lambda: 0 < server_count(page) != count)


def test_a_picture_can_be_saved(open_page, tmp_path):
    page = open_page(SOFTWARE_GL)
    page.wait_for_selector(DRAWN)
    wait_until(page, lambda: share_drawn(page) > 0.05)
    with page.expect_download() as download:
        page.locator("button[data-tool=save]").click()
    download.value.save_as(tmp_path / "map.png")
    image = np.asarray(Image.open(tmp_path / "map.png").convert("RGB")).astype(int)
    assert image.shape[1] > 2_000
    assert download.value.suggested_filename == "cells.png"
    assert (image.max(axis=2) - image.min(axis=2) > 40).mean() > 0.03


def outline_of(page) -> str:
    """The line around the selection as it is drawn on the first map."""
    return page.locator(STAGE).locator("path.outline").get_attribute("d")


def outline_size(page) -> float:
    xs = [float(part.split()[0]) for part in outline_of(page).strip("MZ").split("L")]
    return max(xs) - min(xs)


def test_a_group_is_renamed_in_the_legend_by_keyboard_alone(open_page):
    page = open_page(SOFTWARE_GL)
    page.wait_for_selector(DRAWN)
    page.locator("[data-legend=row2]").focus()
    for _ in range(3):  # past "only" and "select"
        page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    field = page.locator(".legend input")
    assert field.input_value() == "group 2"
    page.keyboard.type("gone")
    page.keyboard.press("Escape")
    assert field.count() == 0 and page.locator("[data-legend=row2] .name").inner_text() == "group 2"
    page.keyboard.press("Enter")  # the pencil has the focus again
    page.keyboard.type("<b>T</b> cells?")  # also: a question mark is a letter here
    page.keyboard.press("Enter")
    wait_until(page, lambda: page.get_by_text("renamed group 2 to <b>T</b> cells?", exact=True).count() == 1)


def test_a_lost_graphics_card_is_replaced_by_the_server_and_comes_back(open_page):
    page = open_page(SOFTWARE_GL, script=KEEP_CONTEXTS)
    page.wait_for_selector(DRAWN)
    wait_until(page, lambda: share_drawn(page) > 0.05)
    page.locator(STAGE).focus()
    page.keyboard.press("l")
    draw_lasso(page, 230, 80, 90)
    wait_until(page, lambda: server_count(page) > 300)
    wait_until(page, lambda: outline_of(page))
    page.keyboard.press("Escape")
    page.keyboard.press("0")
    whole = outline_of(page)
    page.keyboard.press("z")
    wait_until(page, lambda: outline_of(page) != whole)
    outline = outline_of(page)
    page.evaluate("window.lost = surfaces[0].getExtension('WEBGL_lose_context'); lost.loseContext()")
    page.locator(".notice").wait_for()
    assert "graphics card stopped" in page.locator(".notice").inner_text()
    wait_until(page, lambda: share_drawn(page) > 0.05)
    page.evaluate("lost.restoreContext()")
    page.locator(".notice").wait_for(state="hidden")
    page.wait_for_selector(DRAWN)
    wait_until(page, lambda: share_drawn(page) > 0.05)
    assert outline_of(page) == outline, "the camera moved"
    assert "selected" in shown_count(page)


def test_the_camera_stays_when_another_map_comes(open_page):
    page = open_page(SOFTWARE_GL, "&maps=1")
    page.wait_for_selector(DRAWN)
    page.locator("button[data-tool=lasso]").click()
    draw_lasso(page, 430, 80, 90)
    wait_until(page, lambda: outline_of(page))
    page.locator("button[data-tool=focus]").click()
    size = outline_size(page)
    page.get_by_text("Two maps", exact=True).click()
    page.locator(".stage >> nth=1").wait_for()
    page.wait_for_selector(DRAWN)
    wait_until(page, lambda: share_drawn(page) > 0.05)
    zoom = outline_size(page) / size  # the map is half as wide now
    page.locator("button[data-tool=whole]").click()
    wait_until(page, lambda: outline_size(page) < 0.7 * zoom * size)


def test_fingers_draw_pinch_and_drag(open_page):
    page = open_page(SOFTWARE_GL, "&maps=1", has_touch=True)
    page.wait_for_selector(DRAWN)
    wait_until(page, lambda: share_drawn(page) > 0.05)
    fingers = page.context.new_cdp_session(page)
    box = page.locator(STAGE).bounding_box()

    def touch(kind, *places):
        points = [{"x": box["x"] + x, "y": box["y"] + y, "id": k} for k, (x, y) in enumerate(places)]
        fingers.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": points})

    def label_place() -> list[float]:
        text = page.locator(STAGE).locator(".labels text").first.get_attribute("transform")
        return [float(part) for part in text.removeprefix("translate(").removesuffix(")").split()]

    page.locator("button[data-tool=lasso]").tap()
    touch("touchStart", (520, 80))
    for k in range(1, 30):
        angle = 2 * math.pi * k / 30
        touch("touchMove", (430 + 90 * math.cos(angle), 80 + 90 * math.sin(angle)))
    touch("touchEnd")
    wait_until(page, lambda: server_count(page) > 300)

    page.locator("button[data-tool=pan]").tap()
    page.locator(STAGE).focus()  # as a tap on the map does; before it, a finger scrolls the page
    before = label_place()
    touch("touchStart", (300, 200))
    touch("touchMove", (320, 200))
    touch("touchMove", (360, 230))
    touch("touchEnd")

    def moved_with_the_finger() -> bool:
        after = label_place()
        return abs(after[0] - before[0] - 60) < 3 and abs(after[1] - before[1] - 30) < 3

    wait_until(page, moved_with_the_finger)
    after = label_place()

    labels = page.locator(STAGE).locator(".labels text:not([visibility=hidden])")
    n_before = labels.count()
    touch("touchStart", (300, 200), (340, 200))
    for reach in (40, 80, 140):
        touch("touchMove", (300 - reach, 200), (340 + reach, 200))
    touch("touchEnd")
    wait_until(page, lambda: math.dist(label_place(), after) > 100)
    assert labels.count() <= n_before and "selected" in shown_count(page), "fingers that zoom select nothing"


def test_the_shortcuts_open_anywhere_except_where_somebody_writes(open_page):
    page = open_page(SOFTWARE_GL)
    page.wait_for_selector(DRAWN)
    page.get_by_label("Somewhere to write").click()
    page.keyboard.type("what?")
    assert page.get_by_role("dialog").count() == 0
    page.get_by_role("button", name="Plain click").focus()
    page.keyboard.press("?")
    assert "Ctrl+Z" in page.get_by_role("dialog").inner_text()
    page.keyboard.press("?")
    assert page.get_by_role("dialog").count() == 0
