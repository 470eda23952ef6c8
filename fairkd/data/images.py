"""Image files to pixels: whatever Pillow reads, turned upright, as square RGB of one size."""

from __future__ import annotations

import contextlib
import io

import numpy as np
import simplejpeg
from PIL import Image, ImageOps

#: Raised by one whenever the pixels that a file gives may change.
DECODER_VERSION = 1
_MARKS = {b"\xff\xd8\xff": "JPEG", b"\x89PNG": "PNG", b"RIFF": "WEBP"}
_EXTRAS = ("exif", "xmp", "transparency")


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
    small = _decode_small_jpeg(data, size)
    if small is not None:
        return small
    with _open(data) as image:
        limit = Image.MAX_IMAGE_PIXELS
        if limit is not None and image.width * image.height > limit:
            raise ValueError(f"{image.width} x {image.height} pixels exceed the limit of {limit:,}")
        if image.mode == "RGB" and image.size == (size, size) and _has_no_extras(image):
            return np.asarray(image)
        # A JPEG can be decoded at a fraction of its size: many times faster for photographs.
        image.draft(None, (2 * size, 2 * size))
        upright = ImageOps.exif_transpose(image)
        return np.asarray(ImageOps.fit(_to_rgb(upright), (size, size), Image.Resampling.BICUBIC))


def _decode_small_jpeg(data: bytes, size: int) -> np.ndarray | None:
    """Decode a colour JPEG that has its size and orientation already, several times faster than Pillow.

    Both use libjpeg-turbo and give the same pixels. ``None`` for any other image, and for damaged ones: Pillow
    then says what is wrong.
    """
    if not data.startswith(b"\xff\xd8\xff") or b"Exif" in data:
        return None
    with contextlib.suppress(ValueError):
        height, width, colours, _ = simplejpeg.decode_jpeg_header(data)
        if (height, width, colours) == (size, size, "YCbCr"):
            return np.asarray(simplejpeg.decode_jpeg(data))
    return None


def _open(data: bytes) -> Image.Image:
    """Open an image; the format that its first bytes tell is tried first, not after half a dozen others."""
    kind = next((kind for mark, kind in _MARKS.items() if data.startswith(mark)), None)
    if kind is not None:
        with contextlib.suppress(OSError):
            return Image.open(io.BytesIO(data), formats=[kind])
    return Image.open(io.BytesIO(data))


def _has_no_extras(image: Image.Image) -> bool:
    """Whether an image surely has neither orientation nor transparency: those of other formats may come late."""
    return image.format in ("JPEG", "WEBP") and image.info.keys().isdisjoint(_EXTRAS)


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
