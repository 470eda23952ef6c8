"""A folder or a zip archive, read by relative names. An archive is never unpacked."""

from __future__ import annotations

import os
import re
import stat
import zipfile
from pathlib import Path, PurePosixPath

from fairkd.errors import DataError

#: A single image or CSV larger than this is refused: a zip bomb rather than data.
MAX_FILE_BYTES = 2**29

#: Size in bytes, and time of change (ns) of a file or CRC-32 of a zip's member: changes when the content does.
Stamp = tuple[int, int]


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

    def files(self) -> dict[str, Stamp]:
        """Return the stamp of every file below the folder by name, in natural order of folders.

        Links to folders are followed, each folder is entered once: a link to a parent ends there.
        Hidden files and folders are left out.

        Raises:
            DataError: a folder cannot be listed.
        """
        found: dict[str, Stamp] = {}
        try:
            self._walk(self.path, "", found, {_identity(self.path.stat())})
        except OSError as error:
            raise DataError(f"{error.filename} cannot be listed: {error.strerror}") from error
        return {name: found[name] for name in sorted(found)}

    def _walk(
        self, folder: Path, prefix: str, found: dict[str, Stamp], entered: set[tuple[int, int]]
    ) -> None:
        with os.scandir(folder) as entries:
            for entry in entries:
                if entry.name.startswith("."):
                    continue
                try:
                    status = entry.stat()
                except OSError:  # a link to nowhere, or to itself
                    continue
                if entry.is_file():
                    found[prefix + entry.name] = (status.st_size, status.st_mtime_ns)
                elif entry.is_dir() and _identity(status) not in entered:
                    entered.add(_identity(status))
                    self._walk(Path(entry.path), f"{prefix}{entry.name}/", found, entered)

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

    Raises:
        DataError: no zip archive, a damaged or encrypted one, or a member would leave its root.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            self._archive = zipfile.ZipFile(path)
        except (zipfile.BadZipFile, OSError) as error:
            raise DataError(
                f"{path} is neither a folder nor a zip archive that can be read ({error})"
            ) from error
        try:
            self._members = self._unwrap(self._list())
        except DataError:
            self.close()
            raise

    def stamp(self, name: str) -> Stamp | None:
        """Return size and CRC-32 of a member, ``None`` when there is no such member."""
        member = self._members.get(name)
        return None if member is None else (member.file_size, member.CRC)

    def files(self) -> dict[str, Stamp]:
        """Return the stamp of every member by name, in order of names; hidden ones are left out."""
        return {
            name: (member.file_size, member.CRC)
            for name, member in sorted(self._members.items())
            if not (name.startswith(".") or "/." in name)
        }

    def read(self, name: str) -> bytes:
        """Return a member's bytes; several threads may read at once.

        Raises:
            ValueError: the member is larger than ``MAX_FILE_BYTES``.
        """
        member = self._members[name]
        _check_size(member.file_size)
        return self._archive.read(member)

    def csv_names(self) -> list[str]:
        """Return the CSV files that lie directly in the root."""
        return sorted(name for name in self._members if "/" not in name and _is_csv(name))

    def close(self) -> None:
        """Close the archive."""
        self._archive.close()

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


def open_root(path: Path) -> Root:
    """Open a folder or a zip archive.

    Raises:
        DataError: there is nothing at ``path``, or it is neither.
    """
    if not path.exists():
        raise DataError(
            f"data_root {path} does not exist; set it to a folder or a zip archive with the images"
        )
    return FolderRoot(path) if path.is_dir() else ZipRoot(path)


def _identity(status: os.stat_result) -> tuple[int, int]:
    return status.st_dev, status.st_ino


def _is_csv(name: str) -> bool:
    return name.lower().endswith(".csv") and not name.startswith(".")


def _check_size(num_bytes: int) -> None:
    if num_bytes > MAX_FILE_BYTES:
        raise ValueError(f"the file has {num_bytes:,} bytes, more than the {MAX_FILE_BYTES:,} that are read")
