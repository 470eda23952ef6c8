"""A process that decodes images for another: ``python -m fairkd.data.decode_worker ROOT SIZE``.

It reads lines of JSON, each a list of names in ``ROOT``, and answers each with the decoded images.
"""

from __future__ import annotations

import json
import signal
import sys
import warnings
from contextlib import closing
from pathlib import Path

from PIL import Image

from fairkd.data.decode import decode_chunk, send
from fairkd.data.files import open_root


def main(root_path: str, size: int) -> None:
    """Answer requests until the other side closes the pipe."""
    # An interrupt is for the process that asked; it ends this one.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    warnings.simplefilter("error", Image.DecompressionBombWarning)
    with closing(open_root(Path(root_path))) as root:
        for line in sys.stdin.buffer:
            send(sys.stdout.buffer, decode_chunk(json.loads(line), root.read, size))


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
