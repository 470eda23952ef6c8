"""``Listing``: the files of a root with their stamps; and the listing of an archive, kept from one load to the next."""

from __future__ import annotations

import bisect
import contextlib
import functools
import hashlib
import json
import os
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np

from fairkd.errors import ArtifactError
from fairkd.store import digest, write_atomic

#: Size in bytes, and time of change (ns) of a file or CRC-32 of a zip's member: changes when the content does.
Stamp = tuple[int, int]

_VERSION = 1
_MASK = 2**63 - 1
#: An archive that changed so recently (ns) may change again within what its file system's clock can tell.
_SETTLED = 3 * 10**9


class Listing(Mapping[str, Stamp]):
    """Files by name, in ascending order of names: ``names``, and ``stamps (n, 2)`` int64 beside them.

    It is read like a dictionary; tens of thousands of files are quicker to handle as two columns.
    """

    def __init__(self, names: list[str], stamps: np.ndarray) -> None:
        self.names, self.stamps = names, stamps

    @classmethod
    def of(cls, names: Sequence[str], sizes: Iterable[int], changes: Iterable[int]) -> Listing:
        """Return the listing of files in any order."""
        order = sorted(range(len(names)), key=names.__getitem__)
        # An archive may state any size, a file system any year: what is beyond 63 bits is cut, not refused.
        columns = [np.array([number & _MASK for number in column], np.int64) for column in (sizes, changes)]
        return cls([names[row] for row in order], np.stack(columns, axis=1)[order])

    @functools.cached_property
    def _by_name(self) -> dict[str, Stamp]:
        return {
            name: (size, change)
            for name, (size, change) in zip(self.names, self.stamps.tolist(), strict=True)
        }

    def __getitem__(self, name: str) -> Stamp:
        return self._by_name[name]

    def __contains__(self, name: object) -> bool:
        return name in self._by_name

    def find(self, name: str) -> Stamp | None:
        """Return the stamp of one file: quicker than ``get`` for few of many files."""
        row = bisect.bisect_left(self.names, name)
        if row == len(self) or self.names[row] != name:
            return None
        size, change = self.stamps[row].tolist()
        return size, change

    def __iter__(self) -> Iterator[str]:
        return iter(self.names)

    def __len__(self) -> int:
        return len(self.names)

    def ending_in(self, suffixes: tuple[str, ...]) -> Listing:
        """Return the files whose names end in one of the suffixes, in lower or upper case."""
        chosen = [
            row
            for row, name in enumerate(self.names)
            if name.endswith(suffixes) or name.lower().endswith(suffixes)
        ]
        return self._subset(chosen)

    def shown(self) -> Listing:
        """Return the files that are not hidden: neither they nor a folder above them begins with a dot."""
        if "/." not in "/".join(["", *self.names]):
            return self
        hidden = [name.startswith(".") or "/." in name for name in self.names]
        return self._subset([row for row, flag in enumerate(hidden) if not flag])

    def _subset(self, rows: list[int]) -> Listing:
        if len(rows) == len(self):
            return self
        return Listing([self.names[row] for row in rows], self.stamps[rows])


def archive_listing_path(archive: Path, folder: Path) -> Path | None:
    """Return where in ``folder`` an archive's listing is kept; ``None``: the archive changed a moment ago.

    The name is a hash of the archive's path, size and times: of another, or a changed archive it is another.
    """
    status = archive.stat()
    changed = max(status.st_mtime_ns, status.st_ctime_ns)
    if abs(time.time_ns() - changed) < _SETTLED:
        return None
    times = [status.st_mtime_ns, status.st_ctime_ns]
    key = digest([os.fspath(archive.resolve()), status.st_size, times, _VERSION], 24)
    return folder / f"listing-{key}.json"


def read_listing(path: Path) -> Listing | None:
    """Return a listing that :func:`write_listing` has written; ``None`` where there is none, or a damaged one."""
    with contextlib.suppress(OSError, ValueError, TypeError, KeyError):
        checksum, _, content = path.read_bytes().partition(b"\n")
        if hashlib.sha256(content).hexdigest().encode() == checksum:
            found = json.loads(content)
            columns = np.array([found["sizes"], found["crcs"]], dtype=np.int64)
            return Listing(found["names"], np.ascontiguousarray(columns.T))
    return None


def write_listing(path: Path, listing: Listing) -> None:
    """Keep a listing; where that fails, the archive is listed again the next time."""
    sizes, crcs = listing.stamps.T.tolist()
    content = json.dumps({"names": listing.names, "sizes": sizes, "crcs": crcs}).encode()
    data = hashlib.sha256(content).hexdigest().encode() + b"\n" + content
    with contextlib.suppress(ArtifactError):
        write_atomic(path, lambda temporary: temporary.write_bytes(data))
