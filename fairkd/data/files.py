"""A folder or a zip archive, read by relative names. An archive is never unpacked."""

from __future__ import annotations

import contextlib
import functools
import os
import re
import stat
import zipfile
from collections.abc import Iterable, Iterator
from pathlib import Path, PurePosixPath

from fairkd.data.listing import Listing, Stamp, archive_listing_path, read_listing, write_listing
from fairkd.errors import DataError

#: A single image or CSV larger than this is refused: a zip bomb rather than data.
MAX_FILE_BYTES = 2**29

_PLAIN = re.compile(r"(?:[A-Za-z0-9_][A-Za-z0-9_. -]*/)*[A-Za-z0-9_][A-Za-z0-9_. -]*")


def relative_name(text: str) -> str:
    """Return a path as written on any system (``\\`` or ``/``) in the form ``folder/file``.

    Raises:
        ValueError: the path is absolute, leaves its root by ``..``, or holds a NUL character.
    """
    if _PLAIN.fullmatch(text) and ".." not in text:
        return text
    name = text.replace("\\", "/")
    if name.startswith("/") or re.match("[A-Za-z]:", name):
        raise ValueError("is absolute")
    parts = PurePosixPath(name).parts
    if ".." in parts:
        raise ValueError("leaves the data root by '..'")
    if "\0" in name:
        raise ValueError("holds a NUL character")
    return "/".join(parts)


def listed_names(texts: Iterable[str], where: str) -> list[str]:
    """Return the paths that a data set's own list gives, as :func:`relative_name` writes them.

    Raises:
        DataError: one of them leaves the data set; names it and ``where`` it stands.
    """
    names = []
    for text in texts:
        try:
            names.append(relative_name(text))
        except ValueError as error:
            raise DataError(f"{where}: the path {text!r} {error}; fetch the file again") from None
    return names


class FolderRoot:
    """A folder of files. Links inside it are followed: they are the owner's own doing."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def stamp(self, name: str) -> Stamp | None:
        """Return size and time of change (ns) of a file, ``None`` when there is no such file."""
        try:
            status = (self.path / name).stat()
        except OSError:
            return None
        return (status.st_size, status.st_mtime_ns) if stat.S_ISREG(status.st_mode) else None

    def files(self) -> Listing:
        """Return the stamp of every file below the folder by name, in order of names.

        Links to folders are followed, each folder is entered once: a link to a parent ends there.
        Hidden files and folders are left out.

        Raises:
            DataError: a folder cannot be listed.
        """
        names: list[str] = []
        numbers: list[int] = []
        try:
            self._walk(self.path, "", names, numbers, {_identity(self.path.stat())})
        except OSError as error:
            raise DataError(f"{error.filename} cannot be listed: {error.strerror}") from error
        return Listing.of(names, numbers[::2], numbers[1::2])

    def _walk(
        self, folder: Path, prefix: str, names: list[str], numbers: list[int], entered: set[tuple[int, int]]
    ) -> None:
        """Append the files' names, and size and time of change one after the other."""
        # Nearly all of the time goes to one system call a file: no other test of a file costs one.
        with _entries(folder) as entries:
            for entry in entries:
                name = entry.name
                if name[0] == ".":
                    continue
                try:
                    status = entry.stat()
                except OSError:  # a link to nowhere, or to itself
                    continue
                if entry.is_file():
                    names.append(prefix + name)
                    numbers += (status.st_size, status.st_mtime_ns)
                elif entry.is_dir() and _identity(status) not in entered:
                    entered.add(_identity(status))
                    self._walk(folder / name, f"{prefix}{name}/", names, numbers, entered)

    def read(self, name: str) -> bytes:
        """Return a file's bytes.

        Raises:
            ValueError: the file is larger than ``MAX_FILE_BYTES``.
        """
        file = self.path / name
        _check_size(file.stat().st_size)
        return file.read_bytes()

    def csv_names(self) -> list[str]:
        """Return the CSV files that lie directly in the folder."""
        return sorted(file.name for file in self.path.iterdir() if _is_csv(file.name) and file.is_file())

    def close(self) -> None:
        """Nothing to close."""


class ZipRoot:
    """A zip archive. One whose only top folder holds the CSV is read as if that folder were the root.

    An archive whose listing is kept and that has not changed since is opened only if a member is read; what is
    read comes from the archive's own list.

    Args:
        path: the archive.
        cache: folder in which its listing is kept; ``None``: it is listed now.

    Raises:
        DataError: no zip archive, a damaged or encrypted one, or a member would leave its root.
    """

    def __init__(self, path: Path, cache: Path | None = None) -> None:
        self.path = path
        self._stack = contextlib.ExitStack()
        kept = None if cache is None else archive_listing_path(path, cache)
        listing = None if kept is None else read_listing(kept)
        if listing is None:
            members = self._members
            listing = Listing.of(
                list(members), [m.file_size for m in members.values()], [m.CRC for m in members.values()]
            )
            if kept is not None:
                write_listing(kept, listing)
        self._listing = listing

    def stamp(self, name: str) -> Stamp | None:
        """Return size and CRC-32 of a member, ``None`` when there is no such member."""
        return self._listing.find(name)

    def files(self) -> Listing:
        """Return the stamp of every member by name, in order of names; hidden ones are left out."""
        return self._listing.shown()

    def read(self, name: str) -> bytes:
        """Return a member's bytes; several threads may read at once.

        Raises:
            ValueError: the member is larger than ``MAX_FILE_BYTES``.
        """
        member = self._members[name]
        _check_size(member.file_size)
        with self._archive.open(member) as file:
            # Without a number, all that a member holds is unpacked, whatever size it declares.
            return file.read(member.file_size)

    def csv_names(self) -> list[str]:
        """Return the CSV files that lie directly in the root."""
        return [name for name in self._listing if "/" not in name and _is_csv(name)]

    def close(self) -> None:
        """Close the archive."""
        self._stack.close()

    @functools.cached_property
    def _archive(self) -> zipfile.ZipFile:
        try:
            return self._stack.enter_context(zipfile.ZipFile(self.path))
        except (zipfile.BadZipFile, OSError) as error:
            raise DataError(
                f"{self.path} is neither a folder nor a zip archive that can be read ({error})"
            ) from error

    @functools.cached_property
    def _members(self) -> dict[str, zipfile.ZipInfo]:
        try:
            return self._unwrap(self._list())
        except DataError:
            self.close()
            raise

    def _list(self) -> dict[str, zipfile.ZipInfo]:
        members = {}
        for member in self._archive.infolist():
            try:
                name = relative_name(member.filename)
            except ValueError as error:
                raise DataError(
                    f"{self.path}: the member {member.filename!r} {error}; repack the archive"
                ) from None
            if member.flag_bits & 1:
                raise DataError(
                    f"{self.path}: the member {name!r} is encrypted; repack the archive without a password"
                )
            # __MACOSX holds Finder's metadata under the names of the real files.
            if not member.is_dir() and not name.startswith("__MACOSX/"):
                members[name] = member
        return members

    @staticmethod
    def _unwrap(members: dict[str, zipfile.ZipInfo]) -> dict[str, zipfile.ZipInfo]:
        tops = {name.split("/")[0] for name in members}
        inner = {name.partition("/")[2]: member for name, member in members.items()}
        if len(tops) == 1 and any("/" not in name and _is_csv(name) for name in inner):
            return inner
        return members


Root = FolderRoot | ZipRoot


def open_root(path: Path, cache: Path | None = None) -> Root:
    """Open a folder or a zip archive, whose listing is kept in the folder ``cache`` if there is one.

    Raises:
        DataError: there is nothing at ``path``, or it is neither.
    """
    if not path.exists():
        raise DataError(
            f"data_root {path} does not exist; set it to a folder or a zip archive with the images"
        )
    return FolderRoot(path) if path.is_dir() else ZipRoot(path, cache)


@contextlib.contextmanager
def _entries(folder: Path) -> Iterator[Iterator[os.DirEntry[str]]]:
    """List a folder by its descriptor where the system can: asking for a file's status is a sixth faster."""
    if os.scandir not in os.supports_fd:
        with os.scandir(folder) as entries:
            yield entries
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        with os.scandir(descriptor) as entries:
            yield entries
    finally:
        os.close(descriptor)


def _identity(status: os.stat_result) -> tuple[int, int]:
    return status.st_dev, status.st_ino


def _is_csv(name: str) -> bool:
    return name.lower().endswith(".csv") and not name.startswith(".")


def _check_size(num_bytes: int) -> None:
    if num_bytes > MAX_FILE_BYTES:
        raise ValueError(f"the file has {num_bytes:,} bytes, more than the {MAX_FILE_BYTES:,} that are read")
