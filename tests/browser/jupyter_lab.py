"""A real JupyterLab on this machine, with a token and folders of its own, and a page that shows a notebook."""

from __future__ import annotations

import json
import os
import secrets
import shutil
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import nbformat
import pytest

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
ARGUMENTS = [
    "--no-sandbox",
    "--disable-gpu",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-dev-shm-usage",
]
NOTEBOOKS = Path(__file__).parents[2] / "notebooks"
_STARTING_SECONDS = 90
PATIENCE_MS = 300_000
#: What is drawn: the traces' values, the images and all text.
DRAWN = """figure => JSON.stringify([
    figure._fullData.map(trace => [trace.x, trace.y, trace.z, trace.source].map(values => Array.from(values ?? []))),
    figure.layout.images ?? null, figure.textContent])"""


def copy_notebook(name: str, folder: Path, replace: dict[str, str], **parameters: Any) -> None:
    """Copy a notebook, with other values in its parameters cell and other text in any cell."""
    notebook = nbformat.read(NOTEBOOKS / name, as_version=4)
    (cell,) = (cell for cell in notebook.cells if "parameters" in cell.metadata.get("tags", []))
    cell.source += "".join(f"\n{parameter} = {value!r}" for parameter, value in parameters.items())
    for old, new in replace.items():
        (cell,) = (cell for cell in notebook.cells if old in cell.source)
        cell.source = cell.source.replace(old, new)
    nbformat.write(notebook, folder / name)


@contextmanager
def running_lab(root: Path) -> Iterator[str]:
    """Serve ``root``; yield the address, with ``{path}`` for the notebook's."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    token = secrets.token_hex(16)
    command = [
        *(sys.executable, "-m", "jupyterlab", "--no-browser", "--ip=127.0.0.1", f"--port={port}"),
        *("--ServerApp.port_retries=0", "--allow-root", f"--IdentityProvider.token={token}"),
        *(f"--ServerApp.root_dir={root}", "--LabApp.news_url="),
        "--LabApp.check_for_updates_class=jupyterlab.NeverCheckForUpdate",
    ]
    # The kernel is to see that somebody is there.
    kept = {name: value for name, value in os.environ.items() if name not in ("PYTEST_CURRENT_TEST", "CI")}
    _configure(root / "config" / "labconfig")
    places = {"JUPYTER_CONFIG_DIR": root / "config", "JUPYTER_DATA_DIR": root / "data"}
    environment = {**kept, **{name: str(path) for name, path in places.items()}, "IPYTHONDIR": str(root)}
    environment = {k: v for k, v in environment.items() if not k.startswith("FAIRKD_HEADLESS")}
    with (root / "lab.log").open("w") as log:
        server = subprocess.Popen(command, env=environment, stdout=log, stderr=log, cwd=root)
    try:
        _wait_for(f"http://127.0.0.1:{port}/api?token={token}", server, root / "lab.log")
        yield f"http://127.0.0.1:{port}/lab/tree/{{path}}?reset&token={token}"
    finally:
        server.terminate()
        server.wait(30)


def _configure(folder: Path) -> None:
    """No question about news, and all cells on the page, those out of sight too."""
    folder.mkdir(parents=True)
    disabled = {"disabledExtensions": {"@jupyterlab/apputils-extension:announcements": True}}
    (folder / "page_config.json").write_text(json.dumps(disabled))
    settings = {"@jupyterlab/notebook-extension:tracker": {"windowingMode": "none"}}
    (folder / "default_setting_overrides.json").write_text(json.dumps(settings))


def _wait_for(address: str, server: subprocess.Popen[bytes], log: Path) -> None:
    for _ in range(_STARTING_SECONDS * 4):
        if server.poll() is not None:
            pytest.fail(f"JupyterLab ended: {log.read_text()[-2000:]}")
        try:
            urllib.request.urlopen(address, timeout=5).close()
            return
        except (urllib.error.URLError, OSError):
            time.sleep(0.25)
    pytest.fail(f"JupyterLab did not answer: {log.read_text()[-2000:]}")


def run_menu(page: Any, entry: str) -> None:
    """Choose an entry of the menu Run."""
    page.get_by_role("menuitem", name="Run", exact=True).click()
    page.get_by_role("menuitem", name=entry).first.click()


def drag(page: Any, handle: Any, pixels: float) -> None:
    """Move a slider's handle by the mouse."""
    handle.scroll_into_view_if_needed()
    box = handle.bounding_box()
    x, y = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
    page.mouse.move(x, y)
    page.mouse.down()
    page.mouse.move(x + pixels, y, steps=4)
    page.mouse.up()


def be_patient(page: Any) -> None:
    """Let what the page waits for and what is expected of it take long: the machine may be busy."""
    from playwright import sync_api as playwright

    page.set_default_timeout(PATIENCE_MS)
    playwright.expect.set_options(timeout=PATIENCE_MS)


@contextmanager
def notebook_page(folder: Path, name: str, slowdown: float = 1, script: str = "") -> Iterator[Any]:
    """Open a notebook of ``folder``, run all its cells on a page so many times slower, keep a picture of the end.

    The page runs the JavaScript of ``script`` before its own.
    """
    from playwright import sync_api as playwright

    with running_lab(folder) as address, playwright.sync_playwright() as driver:
        chromium = driver.chromium.launch(executable_path=CHROMIUM, args=ARGUMENTS)
        page = chromium.new_page(viewport={"width": 1280, "height": 1400})
        be_patient(page)
        page.add_init_script(script)
        page.goto(address.format(path=name))
        page.get_by_text("Python 3 (ipykernel) | Idle").wait_for()
        run_menu(page, "Run All Cells")
        session = page.context.new_cdp_session(page)
        session.send("Emulation.setCPUThrottlingRate", {"rate": slowdown})
        try:
            yield page
        finally:
            page.screenshot(path=folder / "end.png")
            chromium.close()


def panel_with(page: Any, text: str) -> Any:
    """The output of a cell that is a panel with this text."""
    panel = (
        page.locator(".jp-OutputArea-output").filter(has=page.locator(".widget-vbox")).filter(has_text=text)
    )
    panel.first.wait_for()
    return panel.first


def until_changed(page: Any, figure: Any, before: str) -> str:
    """Wait until the figure shows something else; return what."""
    page.wait_for_function(
        f"([figure, before]) => ({DRAWN})(figure) !== before", arg=[figure.element_handle(), before]
    )
    return str(figure.evaluate(DRAWN))


def shows(panel: Any, text: str) -> None:
    """Wait until the panel has this text."""
    from playwright import sync_api as playwright

    playwright.expect(panel).to_contain_text(text)
