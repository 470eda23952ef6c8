"""A figure leaves as PNG and SVG for print, where kaleido finds a browser."""

from __future__ import annotations

from pathlib import Path

import pytest
from plot_tables import Tables

from fairkd import plots


@pytest.mark.browser
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(("ending", "start"), [("png", b"\x89PNG"), ("svg", b"<svg")])
def test_a_figure_is_written_as_an_image(tmp_path: Path, ending: str, start: bytes) -> None:
    pytest.importorskip("kaleido")
    fig = plots.inflation_forest(Tables.sized(3, 2).inflation())
    path = tmp_path / f"forest.{ending}"
    try:
        fig.write_image(path, width=1000)
    except (RuntimeError, ValueError, OSError) as error:
        pytest.skip(f"kaleido cannot draw here: {error}")
    assert path.read_bytes().startswith(start)
    assert path.stat().st_size > 5000
