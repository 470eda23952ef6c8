"""The report of the default run and its picture: ``docs/sample_report.html`` and ``docs/report.png``.

Five minutes on two CPU cores; needs Chromium.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from PIL import Image
from playwright.sync_api import sync_playwright

DOCS = Path(__file__).parents[1] / "docs"
SAMPLE, PICTURE = DOCS / "sample_report.html", DOCS / "report.png"


def make_report() -> None:
    """Run the main job in an empty folder, and keep its report."""
    with tempfile.TemporaryDirectory() as folder:
        outputs = Path(folder) / "outputs"
        subprocess.run(
            [sys.executable, "-m", "fairkd", "run", "-p", "output_dir", str(outputs)], cwd=folder, check=True
        )
        shutil.copyfile(outputs / "default" / "report.html", SAMPLE)


def take_picture() -> None:
    """Show the beginning of the report as the README shows it."""
    with sync_playwright() as driver:
        chromium = driver.chromium.launch(
            executable_path=shutil.which("chromium") or shutil.which("google-chrome"),
            args=["--no-sandbox", "--disable-gpu"],
        )
        page = chromium.new_page(viewport={"width": 1280, "height": 1180}, color_scheme="light")
        page.goto(SAMPLE.as_uri())
        page.screenshot(path=PICTURE)
        chromium.close()
    with Image.open(PICTURE) as picture:
        picture.convert("RGB").quantize(255).save(PICTURE, optimize=True)


if __name__ == "__main__":
    make_report()
    take_picture()
