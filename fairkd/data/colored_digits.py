"""``colored-digits``: scikit-learn's handwritten digits, enlarged and tinted. Nothing is downloaded.

The tint is the protected attribute. In training it goes with the digit; in validation and test every scan
appears in both tints, so that a model that reads the shape alone has no gap between the groups.
"""

from __future__ import annotations

import hashlib
from dataclasses import replace

import numpy as np
from PIL import Image

from fairkd.data.assemble import assemble
from fairkd.data.attributes import Columns
from fairkd.data.pixels import ImageArrays
from fairkd.data.plan import DataOptions, Plan
from fairkd.data.profile import Profile, Records

PROFILE = Profile(
    name="colored-digits",
    source="scikit-learn's bundled copy of the UCI optical recognition of handwritten digits test set, 1,797 scans",
    licence="CC BY 4.0 (UCI Machine Learning Repository, Alpaydin and Kaynak 1998)",
    target="digit",
    group=None,
    image_size=32,
    augmentation="crop",
    bias="tint",
    skew=0.95,
    shares=(0.50, 0.15, 0.35),
)


def plan(options: DataOptions) -> Plan:
    """Plan the data set."""
    size = options.image_size or PROFILE.image_size
    scans, labels = _scans(size)
    # The scans have 8 x 8 pixels: enlarged fourfold, a stem of stride 4 loses nothing of them.
    profile = replace(PROFILE, stem="original" if size >= 32 else "auto")
    columns = Columns(PROFILE.name, {"digit": labels}, lambda rows: f"{len(rows)} scans")
    identity = hashlib.sha256(scans.tobytes() + "".join(labels).encode()).hexdigest()
    return assemble(Records(columns, ImageArrays(lambda: scans, identity)), options, profile)


def _scans(size: int) -> tuple[np.ndarray, list[str]]:
    """Return grey scans ``(1797, size, size)`` uint8 and their digits."""
    # Imported here: scikit-learn takes a second to import, and only this data set needs it.
    from sklearn.datasets import load_digits

    digits = load_digits()
    grey = np.rint(digits.images * (255 / 16)).astype(np.uint8)
    enlarged = [Image.fromarray(scan).resize((size, size), Image.Resampling.BICUBIC) for scan in grey]
    return np.stack([np.asarray(scan) for scan in enlarged]), [str(digit) for digit in digits.target]
