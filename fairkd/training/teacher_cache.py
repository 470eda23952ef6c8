"""A teacher's outputs for augmented training images: computed once, kept on disk, shared by all its students.

What an image looks like in an epoch is a function of (seed, epoch, index), and the teacher never changes. Its outputs
for a whole epoch are computed in batches of one size and order, whatever the student's batches are: read from
the cache they are bit for bit what the teacher would compute, and a training does not depend on whether there was a
cache. Only where the outputs of one epoch do not fit into memory does the teacher answer batch by batch.
"""

from __future__ import annotations

import contextlib
import hashlib
import math
import os
import shutil
import warnings
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Literal, NamedTuple

import torch
from filelock import FileLock
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor

from fairkd.data.batches import AugmentedImages, Batch
from fairkd.errors import ArtifactError, FairkdWarning, TrainingError
from fairkd.inference import inference_batch
from fairkd.models import Network, Outputs
from fairkd.own_networks import own_layers
from fairkd.progress import ProgressBar
from fairkd.reproducibility import version_of
from fairkd.store import SEAL_BYTES, digest, read_sealed, write_sealed
from fairkd.training.precision import Precision, autocast, device_name

OutputType = Literal["float32", "float16", "bfloat16"]

#: Outputs of one epoch of up to so many bytes are computed at once and kept in memory.
TABLE_BYTES = 2 * 2**30


class CacheSize(NamedTuple):
    """Bytes that a teacher's outputs take: of one epoch, and of a training of some epochs."""

    epoch: int
    training: int


class CacheFolder:
    """Bounded storage: one folder a teacher and look of the data; the least recently used ones make room.

    Args:
        path: where the folders lie.
        limit: bytes that they may take together.
    """

    def __init__(self, path: Path, limit: int) -> None:
        self.path, self.limit = path, limit

    def read(self, key: str, name: str) -> dict[str, Tensor] | None:
        """Return what is stored, or ``None`` where there is nothing.

        Warns:
            FairkdWarning: what is stored cannot be read; ``None`` is returned.
        """
        file = self.path / key / name
        if not file.is_file():
            return None
        try:
            tensors = load(read_sealed(file))
        except (ArtifactError, SafetensorError) as error:
            reason = error if isinstance(error, ArtifactError) else f"{file} is damaged: {error}"
            warnings.warn(f"{reason}: the teacher's outputs are computed again", FairkdWarning, stacklevel=4)
            return None
        with contextlib.suppress(OSError):
            os.utime(file.parent)
        return tensors

    def write(self, key: str, name: str, tensors: dict[str, Tensor]) -> None:
        """Store tensors if they have room within the limit, whole or not at all.

        Warns:
            FairkdWarning: there is no room, or nothing can be written.
        """
        file, content = self.path / key / name, save(tensors)
        try:
            # What lies there is damaged, or it would have been read.
            file.unlink(missing_ok=True)
            if not self._make_room(key, len(content) + SEAL_BYTES):
                self._warn(key, f"the limit of {self.limit / 1e9:g} GB is reached; raise teacher_cache_gb")
                return
            write_sealed(file, content)
        except (ArtifactError, OSError) as error:
            self._warn(key, str(error))

    @contextlib.contextmanager
    def lock(self, key: str, name: str) -> Iterator[None]:
        """Let one process at a time compute something; where nothing can be locked, each computes its own."""
        with contextlib.ExitStack() as held:
            with contextlib.suppress(OSError, NotImplementedError):
                (self.path / key).mkdir(parents=True, exist_ok=True)
                held.enter_context(FileLock(self.path / key / f"{name}.lock"))
            yield

    def _make_room(self, key: str, size: int) -> bool:
        sizes = {folder: _size(folder) for folder in self._folders()}
        if sizes.get(self.path / key, 0) + size > self.limit:
            return False
        used = sum(sizes.values())
        for folder in sizes:
            if used + size <= self.limit:
                break
            if folder.name != key:
                shutil.rmtree(folder, ignore_errors=True)
                used -= sizes[folder]
        return used + size <= self.limit

    def _folders(self) -> list[Path]:
        """Return the folders, the least recently used first."""
        times = {}
        for folder in self.path.iterdir() if self.path.is_dir() else []:
            with contextlib.suppress(OSError):
                if folder.is_dir():
                    times[folder] = folder.stat().st_mtime_ns
        return sorted(times, key=lambda folder: times[folder])

    def _warn(self, key: str, reason: str) -> None:
        warnings.warn(
            f"the teacher's outputs are not kept in {self.path / key} and will be computed again: {reason}",
            FairkdWarning,
            stacklevel=4,
        )


class TeacherOutputs:
    """Answers for a teacher, batch by batch, from the outputs of whole epochs.

    Args:
        network: the teacher; it is put into evaluation mode on the images' device.
        images: the training images, with their augmentation.
        reads: the fields of :class:`~fairkd.models.Outputs` that are read; the others are empty.
        cache: where the outputs are kept; ``None``, or images without a fingerprint: nowhere.
        output_type: ``"float16"`` rounds what is kept, to half the size; with ``"bfloat16"`` the network also computes
            in it. :attr:`rounding_error` is the largest difference from the float32 outputs: over all that was
            kept, of what was computed in bfloat16 over the first batch.
    """

    def __init__(
        self,
        network: Network,
        images: AugmentedImages,
        reads: Collection[str] = ("logits",),
        *,
        cache: CacheFolder | None = None,
        output_type: OutputType = "float32",
    ) -> None:
        self.network, self.images = network.to(images.device).eval(), images
        self.cache = cache if images.fingerprint else None
        self.reads, self.output_type = sorted(reads), output_type
        self.rounding_error = self._deviation = 0.0
        self._look, self._tables = -1, dict[str, Tensor]()
        self._size = self.size(1).epoch
        self._fits = self._size <= TABLE_BYTES
        self._key = self._identity() if self.cache and self._fits else ""

    def size(self, epochs: int) -> CacheSize:
        """Return the bytes that the outputs take, for a training of ``epochs``."""
        outputs = self._run(torch.arange(1), 0)
        epoch = len(self.images) * sum(self._rounded(getattr(outputs, kind)).nbytes for kind in self.reads)
        return CacheSize(epoch, epoch * len({self.images.look_of(number) for number in range(epochs)}))

    def __call__(self, batch: Batch) -> Outputs:
        """Return the teacher's outputs for a batch of the training images."""
        if not self._fits or batch.rows is None:
            return self._live(batch)
        look = self.images.look_of(batch.epoch)
        if look != self._look:
            self._tables, self._look = self._table(look), look
        empty = torch.empty(0, device=self.images.device)
        answers = {kind: table.index_select(0, batch.rows).float() for kind, table in self._tables.items()}
        return Outputs(*(answers.get(kind, empty) for kind in Outputs._fields))

    def _live(self, batch: Batch) -> Outputs:
        outputs = self._answer(batch.images, self._precision)
        return Outputs(*(self._rounded(tensor).float() for tensor in outputs))

    def _table(self, look: int) -> dict[str, Tensor]:
        found = self._stored(look)
        if self.reads == sorted(found):
            return found
        with self.cache.lock(self._key, f"{look:05}") if self.cache else contextlib.nullcontext():
            # Another process may have computed them in the meantime.
            found |= self._stored(look)
            missing = [kind for kind in self.reads if kind not in found]
            for kind, table in self._computed(look, missing).items() if missing else ():
                found[kind] = self._keep(look, kind, table)
        return found

    def _stored(self, look: int) -> dict[str, Tensor]:
        found = {}
        for kind in self.reads if self.cache else ():
            tensors = self.cache.read(self._key, self._file(look, kind))  # type: ignore[union-attr]
            if tensors is not None:
                self.rounding_error = max(self.rounding_error, float(tensors["rounding_error"]))
                found[kind] = tensors[kind].to(self.images.device)
        return found

    def _keep(self, look: int, kind: str, table: Tensor) -> Tensor:
        kept = self._rounded(table)
        error = (kept.float() - table.float()).abs().max().clamp_min(self._deviation)
        self.rounding_error = max(self.rounding_error, float(error))
        if math.isinf(self.rounding_error):
            raise TrainingError(
                f"the teacher's {kind} exceed what float16 can hold (65,504); set teacher_outputs=float32"
            )
        if self.cache:
            tensors = {kind: kept.cpu(), "rounding_error": error.cpu()}
            self.cache.write(self._key, self._file(look, kind), tensors)
        return kept

    def _file(self, look: int, kind: str) -> str:
        return f"{look:05}-{kind}-{self.output_type}"

    def _computed(self, look: int, kinds: Collection[str]) -> dict[str, Tensor]:
        """Run the teacher over all training images as they look in an epoch."""
        batches = torch.arange(len(self.images)).split(inference_batch(self.images.device))
        if self._precision != "float32" and not self._deviation:
            self._deviation = self._deviation_of(batches[0], look, kinds)
        tables: dict[str, list[Tensor]] = {kind: [] for kind in kinds}
        size = f"{self._size / 1e6:,.1f} MB an epoch"
        with ProgressBar(f"teacher's outputs, epoch {look + 1} ({size})", len(batches)) as bar:
            for rows in batches:
                outputs = self._run(rows, look)
                for kind, parts in tables.items():
                    parts.append(getattr(outputs, kind))
                bar.update()
        # Read from a file they are contiguous, and sums over another layout differ in their last digits.
        return {kind: torch.cat(parts).contiguous() for kind, parts in tables.items()}

    def _run(self, rows: Tensor, look: int) -> Outputs:
        return self._answer(self.images.batch(rows, look).images, self._precision)

    @torch.no_grad()
    def _answer(self, images: Tensor, precision: Precision) -> Outputs:
        with autocast(images.device, precision):
            outputs: Outputs = self.network(images)
        return outputs

    def _deviation_of(self, rows: Tensor, look: int, kinds: Collection[str]) -> float:
        """Return how far the outputs of some images are from those that the network computes in float32."""
        images = self.images.batch(rows, look).images
        exact, short = (self._answer(images, precision) for precision in ("float32", self._precision))
        pairs = [(getattr(exact, kind), self._rounded(getattr(short, kind)).float()) for kind in kinds]
        return max(float((one - other).abs().max()) for one, other in pairs)

    @property
    def _precision(self) -> Precision:
        return "bfloat16" if self.output_type == "bfloat16" else "float32"

    def _rounded(self, table: Tensor) -> Tensor:
        return table.to(getattr(torch, self.output_type))

    def _identity(self) -> str:
        """Return the hash of all that the outputs depend on but the epoch."""
        weights = hashlib.sha256(repr((self.network, own_layers(self.network))).encode())
        for name, tensor in self.network.state_dict().items():
            weights.update(name.encode() + tensor.cpu().contiguous().numpy().tobytes())
        images, versions = self.images, [version_of(name) for name in ("fairkd", "torch", "timm")]
        rows = hashlib.sha256(images.index.numpy().tobytes()).hexdigest()
        look = images.augmentation, images.seed if images.augmentation != "none" else None
        where = device_name(images.device), inference_batch(images.device)
        return digest([weights.hexdigest(), images.fingerprint, rows, look, where, versions], 24)


def _size(folder: Path) -> int:
    total = 0
    # Another process may delete the folder meanwhile.
    with contextlib.suppress(OSError):
        for file in folder.iterdir():
            total += file.stat().st_size
    return total
