"""What the loaders of published data sets share: the root, and class folders below it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import PurePosixPath

from fairkd.config import resolve_path
from fairkd.data.cache import cache_folder
from fairkd.data.files import Root, open_root
from fairkd.data.listing import Listing, Stamp
from fairkd.data.plan import DataOptions
from fairkd.errors import DataError, ParameterError

IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png", ".webp", ".bmp", ".gif", ".tif", ".tiff", ".ppm", ".pgm")
_SHOWN = 5


def open_source(
    options: DataOptions, name: str, hint: str = "a folder or a zip archive with the images"
) -> Root:
    """Open ``data_root``.

    Raises:
        ParameterError: it is not set; ``hint`` says what it is to be.
        DataError: it is not there, or neither a folder nor a zip archive.
    """
    if options.data_root is None:
        raise ParameterError(f"{name} needs data_root: {hint}")
    return open_root(resolve_path(options.data_root), cache_folder(options.cache_dir))


def image_files(root: Root) -> Listing:
    """Return the stamps of the files below the root that are images by their suffix."""
    return root.files().ending_in(IMAGE_SUFFIXES)


def find_file(root: Root, files: Mapping[str, Stamp], names: Sequence[str], what: str) -> str:
    """Return the path of a file of one of these names, at any depth, the highest first.

    Raises:
        DataError: there is none; says what was found and what is expected.
    """
    for name in names:
        found = [path for path in files if path == name or path.endswith(f"/{name}")]
        if found:
            return min(found, key=lambda path: (path.count("/"), path))
    raise DataError(f"{root.path} is no {what}: it lacks {' or '.join(names)}; it holds {contents(files)}")


def locate(root: Root, files: Mapping[str, Stamp], names: Sequence[str], listed_in: str) -> list[str]:
    """Return where the listed images lie: below any one folder of the root, the highest first.

    Raises:
        DataError: images are missing; says how many.
    """
    first = names[0]
    above = [path[: -len(first)] for path in files if path == first or path.endswith(f"/{first}")]
    prefix = min(above, key=lambda folder: (folder.count("/"), folder), default="")
    missing = [name for name in names if prefix + name not in files]
    if missing:
        raise DataError(
            f"{root.path} lacks {len(missing):,} of the {len(names):,} images listed in {listed_in}, first "
            f"{missing[0]!r}; it holds {contents(files)}"
        )
    return [prefix + name for name in names]


def contents(files: Mapping[str, Stamp]) -> str:
    """Describe what a root holds, for a message: ``3 files, first 'a.txt', 'b/c.png'``."""
    if not files:
        return "no file"
    shown = ", ".join(repr(name) for name in list(files)[:_SHOWN])
    return f"{len(files):,} files, first {shown}"


def name_place(names: Sequence[str]) -> Callable[[Sequence[int]], str]:
    """Return a function that names items by their files: ``'a.jpg'``, or ``3 files ('a.jpg', ...)``."""

    def place(rows: Sequence[int]) -> str:
        shown = ", ".join(repr(PurePosixPath(names[row]).name) for row in rows[:_SHOWN])
        if len(rows) == 1:
            return shown
        return f"{len(rows):,} files ({shown}{', ...' if len(rows) > _SHOWN else ''})"

    return place
