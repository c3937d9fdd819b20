"""Three people with a browser each on one server: what is private stays so; an account is the same everywhere."""

from pathlib import Path

import numpy as np
import pytest
from datasets import make_adata
from oidc_provider import Provider
from visitors import Server

NAME = "annas cells.h5ad"


@pytest.fixture(scope="module")
def provider():
    provider = Provider()
    yield provider
    provider.stop()


@pytest.fixture(scope="module")
def server(tmp_path_factory, provider):
    folder = tmp_path_factory.mktemp("app")
    secrets = folder / "secrets.toml"
    with pytest.MonkeyPatch.context() as patch:
        port = _free_port()
        secrets.write_text(provider.secrets(f"http://localhost:{port}"))
        patch.setenv("STREAMLIT_SECRETS_FILES", str(secrets))
        server = Server(folder, port=port)
    yield server
    server.stop()


def _free_port() -> int:
    import socket

    with socket.socket() as free:
        free.bind(("localhost", 0))
        return free.getsockname()[1]


@pytest.fixture
def cells(tmp_path) -> Path:
    adata = make_adata(60)
    adata.obsm["X_umap"] = np.random.default_rng(0).normal(size=(60, 2)).astype(np.float32)
    adata.write_h5ad(tmp_path / NAME)
    return tmp_path / NAME


def upload(visitor, path: Path) -> str:
    """The address of the page that an uploaded file is open on."""
    visitor.open("/dataset")
    visitor.page.get_by_text("Upload", exact=True).first.click()
    visitor.page.locator("input[type=file]").first.set_input_files(path)
    visitor.see("What the check found")
    return visitor.page.url


def sign_in(visitor, name: str) -> None:
    visitor.open("/")
    visitor.click("Sign in")
    visitor.page.get_by_label("Name").fill(name)
    visitor.page.get_by_role("button", name="Go on").click()
    visitor.see(f"Signed in as {name}")


def test_an_upload_opens_for_others_when_its_owner_shares_it_and_not_before(visit, cells):
    anna, bert, cleo = visit(), visit(), visit()
    address = upload(anna, cells)
    anna.see("opens for you alone")
    for stranger in (bert, cleo):
        for page in ("dataset", "explorer", "cell_embedding"):
            stranger.page.goto(address.replace("/dataset?", f"/{page}?"))
            stranger.see("Ask their owner to share")
            assert stranger.page.locator("canvas, [data-testid=stDownloadButton]").count() == 0
        stranger.page.goto(address.partition("/dataset")[0] + "/workspace")
        stranger.see("Computations and results")
        assert stranger.page.get_by_text(NAME).count() == 0
    anna.page.reload()  # the browser, not the visit, is the owner
    anna.see("opens for you alone")
    anna.click("Share it")
    anna.see("everyone on this server can open it")
    bert.page.goto(address)
    bert.see("What the check found")
    assert bert.page.get_by_role("button", name="Share it").count() == 0


def test_an_account_finds_its_uploads_on_another_computer_and_nobody_else_does(visit, cells):
    """Sign-in through a real provider: the owner is the account, in whatever browser."""
    at_work, at_home, other = visit(), visit(), visit()
    sign_in(at_work, "Anna")
    address = upload(at_work, cells)
    sign_in(other, "Bert")
    other.page.goto(address)
    other.see("Ask their owner to share")
    at_home.page.goto(address)
    at_home.see("Ask their owner to share")
    sign_in(at_home, "Anna")
    at_home.page.goto(address)
    at_home.see("What the check found")
    at_home.click("Sign out")
    at_home.see("Sign in")
    at_home.page.goto(address)
    at_home.see("Ask their owner to share")
