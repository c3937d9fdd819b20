"""What tests share: where the real data lie, small models, a folder of their own for everything written."""

import os
from pathlib import Path

import pytest
from dask_processes import DaskProcesses
from visitors import CHROMIUM, CHROMIUM_ARGUMENTS, Visitor

from scfviz.threads import prepare_threads

# before any test loads torch; test processes side by side have a core each
prepare_threads(1 if "PYTEST_XDIST_WORKER" in os.environ else None)
SHARED = Path(__file__).resolve().parents[2] / "shared"


def pytest_collection_modifyitems(items):
    """Whatever needs a browser is slow; slow files come first, else one worker waits for the other at the end."""
    for item in items:
        if item.path.parent.name == "browser":
            item.add_marker(pytest.mark.slow)
    slow = {item.path for item in items if item.get_closest_marker("slow")}
    items.sort(key=lambda item: (item.path.parent.name != "browser", item.path not in slow))


@pytest.fixture(autouse=True, scope="session")
def _own_folders(tmp_path_factory):
    """Nothing a test does touches the user's workspace."""
    base = tmp_path_factory.mktemp("home")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SCFVIZ_WORKSPACE", str(base / "workspace"))
        yield


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder of real datasets beside the project; tests that need it skip without it, except in CI."""
    if not (SHARED / "data").is_dir():
        if os.environ.get("CI"):
            pytest.fail(f"{SHARED} is missing; CI must run every test")
        pytest.skip(f"real datasets are not at {SHARED}")
    return SHARED


@pytest.fixture(scope="session")
def genes() -> list[str]:
    """64 gene names, for models that compute in milliseconds."""
    return [f"G{i}" for i in range(64)]


@pytest.fixture
def small_model(genes):
    """A seeded model of 64 genes."""
    import torch

    from scfviz.model.config import ModelConfig
    from scfviz.model.scfoundation import ScFoundation

    torch.manual_seed(0)
    config = ModelConfig(
        n_genes=64, n_bins=10, encoder_width=32, encoder_layers=2, encoder_heads=4,
        decoder_width=16, decoder_layers=2, decoder_heads=2, decoder_head_width=8, cell_readout=True,
    )  # fmt: skip
    model = ScFoundation(config, genes).eval()
    torch.nn.init.normal_(model.cell_readout.contract.weight, std=0.1)
    return model


@pytest.fixture
def one_thread():
    """Sums in one order: for tests that compare trainings."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def cluster(tmp_path_factory):
    """A scheduler with one worker, which no test kills."""
    with DaskProcesses(tmp_path_factory.mktemp("dask")) as processes:
        processes.start_worker()
        yield processes


@pytest.fixture(scope="module")
def browser():
    """One Chromium for all tests of a module; every visitor has a context of its own in it.

    Playwright keeps an event loop running, which other modules must not find.
    """
    if CHROMIUM is None:
        if os.environ.get("CI", "").lower() == "true":
            pytest.fail("Chromium is missing; CI must run the browser tests")
        pytest.skip("Chromium is not installed")
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=CHROMIUM, args=CHROMIUM_ARGUMENTS)
        yield chromium
        chromium.close()


@pytest.fixture
def visitor_type() -> type:
    """What a module's visitors are."""
    return Visitor


_FAILED = pytest.StashKey[bool]()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item, call):
    """Fixtures learn whether their test failed."""
    report = yield
    if report.failed:
        item.stash[_FAILED] = True
    return report


@pytest.fixture
def visit(request, browser, server, visitor_type):
    """Opens pages in a real browser, each call as another visitor; a module brings its own `server`."""
    visitors = []

    def visit(**context):
        visitors.append(visitor_type(browser, server, **context))
        return visitors[-1]

    yield visit
    for visitor in visitors:
        if request.node.stash.get(_FAILED, False):
            print(visitor.describe())
        visitor.context.close()
