"""Image files to pixels: whatever Pillow reads, turned upright, as square RGB of one size."""

from __future__ import annotations

import io
import os
import warnings
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import chain

import numpy as np
from PIL import Image, ImageOps

from fairkd.progress import track

_CHUNK = 32


def decode_image(data: bytes, size: int) -> np.ndarray:
    """Decode one image: turned as its EXIF says, made RGB, centre square, resized.

    16-bit grey is scaled by its full range (65,535 becomes 255), transparency is laid on black, of several
    frames the first is taken.

    Args:
        data: an encoded image.
        size: height and width of the result, pixels.

    Returns:
        Pixels ``(size, size, 3)``, uint8.

    Raises:
        ValueError: more than ``PIL.Image.MAX_IMAGE_PIXELS`` pixels, or values of no known range.
        OSError: the bytes are not an image, or damaged; Pillow may raise others.
    """
    with Image.open(io.BytesIO(data)) as image:
        limit = Image.MAX_IMAGE_PIXELS
        if limit is not None and image.width * image.height > limit:
            raise ValueError(f"{image.width} x {image.height} pixels exceed the limit of {limit:,}")
        # A JPEG can be decoded at a fraction of its size: many times faster for photographs.
        image.draft(None, (2 * size, 2 * size))
        upright = ImageOps.exif_transpose(image)
        return np.asarray(ImageOps.fit(_to_rgb(upright), (size, size), Image.Resampling.BICUBIC))


def decode_images(
    names: Sequence[str], read: Callable[[str], bytes], size: int
) -> tuple[np.ndarray, dict[int, Exception]]:
    """Decode many images in parallel threads, with a progress bar.

    Args:
        names: the files.
        read: returns a file's bytes; called from several threads.
        size: height and width of the result, pixels.

    Returns:
        Pixels ``(n, size, size, 3)`` uint8, and the error of each image that failed, by position.
    """
    images = np.zeros((len(names), size, size, 3), dtype=np.uint8)

    def decode_chunk(start: int) -> list[Exception | None]:
        return [_try(i) for i in range(start, min(start + _CHUNK, len(names)))]

    def _try(i: int) -> Exception | None:
        try:
            images[i] = decode_image(read(names[i]), size)
        except Exception as error:  # Pillow, zipfile and zlib raise many kinds on damaged bytes
            return error
        return None

    pool = ThreadPoolExecutor(min(16, os.cpu_count() or 1))
    try:
        with warnings.catch_warnings():
            # Set once here, not in the threads: warning filters belong to the whole process.
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            results = chain.from_iterable(pool.map(decode_chunk, range(0, len(names), _CHUNK)))
            errors = list(track(results, "reading images", len(names)))
    finally:
        pool.shutdown(cancel_futures=True)
    return images, {i: error for i, error in enumerate(errors) if error is not None}


def _to_rgb(image: Image.Image) -> Image.Image:
    if image.mode == "I" or image.mode.startswith("I;16"):
        return _from_sixteen_bits(image)
    if image.mode == "F":
        raise ValueError("floating-point brightness has no defined range; convert the image to 8 or 16 bits")
    if image.has_transparency_data:
        opaque = Image.new("RGBA", image.size, (0, 0, 0, 255))
        return Image.alpha_composite(opaque, image.convert("RGBA")).convert("RGB")
    return image.convert("RGB")


def _from_sixteen_bits(image: Image.Image) -> Image.Image:
    values = np.asarray(image).astype(np.int64)
    if values.min() < 0 or values.max() > 65_535:
        raise ValueError("32-bit brightness has no defined range; convert the image to 8 or 16 bits")
    return Image.fromarray(((values + 128) // 257).astype(np.uint8)).convert("RGB")
