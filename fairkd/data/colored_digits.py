"""``colored-digits``: scikit-learn's handwritten digits, enlarged and tinted. Nothing is downloaded.

The tint is the protected attribute. In training it goes with the digit; in validation and test every scan
appears in both tints, so that a model that reads the shape alone has no gap between the groups.
"""

from __future__ import annotations

import hashlib

import numpy as np
from PIL import Image

from fairkd.data.bias import TINTS
from fairkd.data.plan import SPLIT_NAMES, DataOptions, Plan, tinted_rows
from fairkd.data.split import stratified_split
from fairkd.errors import ParameterError
from fairkd.store import digest

NAME = "colored-digits"
SOURCE = (
    "scikit-learn's bundled copy of the UCI optical recognition of handwritten digits test set, 1,797 scans"
)
LICENCE = "CC BY 4.0 (UCI Machine Learning Repository, Alpaydin and Kaynak 1998)"
DEFAULT_SKEW = 0.95
DEFAULT_IMAGE_SIZE = 32
#: Shares of the scans, in the order of ``SPLIT_NAMES``.
SHARES = (0.50, 0.15, 0.35)
_NUM_CLASSES = 10


def plan(options: DataOptions) -> Plan:
    """Plan the data set.

    Raises:
        ParameterError: the options ask for images of one's own, or for groups that the scans do not have.
    """
    _check(options)
    skew = DEFAULT_SKEW if options.skew is None else options.skew
    size = options.image_size or DEFAULT_IMAGE_SIZE
    scans, labels = _scans(size)
    split_rng, bias_rng = options.generators()
    split = stratified_split(labels, SHARES, split_rng, fill_order=(0, 2, 1))
    parts = {name: np.flatnonzero(split == part) for part, name in enumerate(SPLIT_NAMES)}
    rows = tinted_rows(parts, labels, skew, num_classes=_NUM_CLASSES, num_groups=len(TINTS), rng=bias_rng)
    return Plan(
        name=NAME,
        fingerprint=_fingerprint(scans, labels, skew, options.seed),
        class_names=tuple(str(digit) for digit in range(_NUM_CLASSES)),
        group_names=tuple(TINTS),
        label_name="digit",
        group_name="tint",
        image_size=size,
        rows=rows,
        tinted=True,
        augmentation="crop",
        # The scans have 8 x 8 pixels: enlarged fourfold, a stem of stride 4 loses nothing of them.
        stem="original" if size >= 32 else "auto",
        read_items=lambda items: scans[items],
        facts=_facts(skew),
    )


def _check(options: DataOptions) -> None:
    for name, value in (("data_root", options.data_root), ("csv", options.csv)):
        if value is not None:
            raise ParameterError(
                f"{name}={value!r} is not used by {NAME}; for images of your own set dataset=image-folder"
            )
    if options.bias == "subsample":
        raise ParameterError(
            f"bias='subsample' is not allowed: the scans of {NAME} have no groups; use 'tint' or 'auto'"
        )


def _scans(size: int) -> tuple[np.ndarray, np.ndarray]:
    """Return grey scans ``(1797, size, size)`` uint8 and their digits ``(1797,)`` int64."""
    # Imported here: scikit-learn takes a second to import, and only this data set needs it.
    from sklearn.datasets import load_digits

    digits = load_digits()
    grey = np.rint(digits.images * (255 / 16)).astype(np.uint8)
    enlarged = [Image.fromarray(scan).resize((size, size), Image.Resampling.BICUBIC) for scan in grey]
    return np.stack([np.asarray(scan) for scan in enlarged]), digits.target.astype(np.int64)


def _fingerprint(scans: np.ndarray, labels: np.ndarray, skew: float, seed: int) -> str:
    content = hashlib.sha256(scans.tobytes() + labels.tobytes()).hexdigest()
    return digest(
        {"data": NAME, "content": content, "tints": dict(TINTS), "skew": skew, "shares": SHARES, "seed": seed}
    )


def _facts(skew: float) -> dict[str, str]:
    return {
        "source": SOURCE,
        "licence": LICENCE,
        "skew": f"in training {100 * skew:g} % of the scans of digits 0-4 are tinted red and of 5-9 green; "
        "in validation and test every scan appears in both tints",
        "split": "by scan, stratified by digit: 50 % training, 15 % validation, 35 % test",
    }
