"""Decoding: every mode against what its pixels mean, orientation, crop, and what is refused."""

import hashlib
import io
import subprocess
import sys
import warnings

import numpy as np
import pytest
from PIL import Image

from fairkd.data.decode import CHUNK, decode_files
from fairkd.data.images import decode_image


def encoded(image, kind="PNG", **options):
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def flat(mode, colour, size=(8, 8)):
    return Image.new(mode, size, colour)


def sixteen_bits(value, dtype=np.uint16):
    return Image.fromarray(np.full((8, 8), value, dtype=dtype))


def palette(transparent):
    image = flat("P", 1)
    image.putpalette([255, 0, 0, 10, 200, 30])
    if transparent:
        image.info["transparency"] = 1
    return image


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (encoded(flat("RGB", (10, 200, 30))), (10, 200, 30)),
        (encoded(flat("L", 77)), (77, 77, 77)),
        (encoded(flat("1", 1)), (255, 255, 255)),
        (encoded(flat("RGBA", (100, 200, 50, 255))), (100, 200, 50)),
        # Half transparent on black: half as bright.
        (encoded(flat("RGBA", (100, 200, 50, 128))), (50, 100, 25)),
        (encoded(flat("LA", (200, 0))), (0, 0, 0)),
        (encoded(palette(transparent=False)), (10, 200, 30)),
        (encoded(palette(transparent=True), transparency=1), (0, 0, 0)),
        # CMYK with no ink is white; full cyan leaves no red.
        (encoded(flat("CMYK", (0, 0, 0, 0)), "TIFF"), (255, 255, 255)),
        (encoded(flat("CMYK", (255, 0, 0, 0)), "TIFF"), (0, 255, 255)),
        (encoded(flat("CMYK", (255, 0, 0, 0)), "JPEG"), (0, 255, 255)),
        (encoded(flat("YCbCr", (120, 128, 128)), "TIFF"), (120, 120, 120)),
        # 16-bit grey by its full range: v / 257.
        (encoded(sixteen_bits(65535)), (255, 255, 255)),
        (encoded(sixteen_bits(25700)), (100, 100, 100)),
        (encoded(sixteen_bits(129)), (1, 1, 1)),
        (encoded(sixteen_bits(25700), "TIFF"), (100, 100, 100)),
        (encoded(sixteen_bits(25700, np.int32), "TIFF"), (100, 100, 100)),
    ],
)
def test_modes(data, expected):
    image = decode_image(data, 8)
    assert image.shape == (8, 8, 3)
    assert image.dtype == np.uint8
    assert np.abs(image.astype(int) - expected).max() <= 2


def test_exif_orientation():
    image = Image.new("RGB", (16, 16))
    image.paste((255, 255, 255), (0, 0, 16, 8))
    exif = Image.Exif()
    exif[0x0112] = 6  # shown upright when turned 90 degrees clockwise: the top goes to the right
    upright = decode_image(encoded(image, "JPEG", exif=exif.tobytes(), quality=95), 16)
    assert upright[:, 9:].mean() > 250
    assert upright[:, :7].mean() < 5


def test_centre_crop_and_resize():
    """A wide image: the middle square is kept, the sides are not."""
    image = Image.new("RGB", (120, 40), (255, 0, 0))
    image.paste((0, 0, 255), (40, 0, 80, 40))
    pixels = decode_image(encoded(image), 20)
    assert (pixels[:, 2:-2] == (0, 0, 255)).all()


def test_large_jpeg_keeps_its_content():
    """Decoding at a fraction of the size changes what is shown by next to nothing."""
    x = np.linspace(0, 255, 1024)
    gradient = np.stack([np.tile(x, (1024, 1)), np.tile(x[:, None], (1, 1024)), np.full((1024, 1024), 9)], -1)
    pixels = decode_image(encoded(Image.fromarray(gradient.astype(np.uint8)), "JPEG", quality=95), 16)
    expected = gradient.reshape(16, 64, 16, 64, 3).mean(axis=(1, 3))
    assert np.abs(pixels - expected).max() < 4


def test_first_frame_of_an_animation():
    frames = [flat("L", 200), flat("L", 20)]
    data = encoded(frames[0], "GIF", save_all=True, append_images=frames[1:])
    assert (decode_image(data, 8) == 200).all()


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (encoded(Image.fromarray(np.zeros((8, 8), np.float32)), "TIFF"), "floating-point brightness"),
        (encoded(sixteen_bits(70_000, np.int32), "TIFF"), "32-bit brightness"),
        (b"not an image", "cannot identify image file"),
        (b"", "cannot identify image file"),
        (encoded(Image.effect_noise((64, 64), 90))[:-1000], "truncated"),
    ],
)
def test_what_is_refused(data, message):
    with pytest.raises((ValueError, OSError), match=message):
        decode_image(data, 8)


def decode_all(names, read, size):
    chunks = list(decode_files(names, read, size))
    starts = np.cumsum([0] + [len(chunk.records) for chunk in chunks])
    errors = {
        int(start) + i: text
        for start, chunk in zip(starts, chunks, strict=False)
        for i, text in chunk.errors.items()
    }
    return np.concatenate([chunk.records for chunk in chunks]), errors


@pytest.mark.parametrize("limit", [63, 40, 10])
def test_decompression_bomb(monkeypatch, limit):
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", limit)
    _, errors = decode_all(["bomb"], lambda name: encoded(flat("L", 9)), 8)
    assert list(errors) == [0]
    assert "exceed" in errors[0]


def test_many_images_keep_their_order_and_report_their_errors():
    def read(name):
        if name == "gone":
            raise FileNotFoundError("no such file")
        return b"broken" if name == "broken" else encoded(flat("L", int(name)))

    names = [str(i) for i in range(150)]
    names[41], names[77] = "gone", "broken"
    records, errors = decode_all(names, read, 8)
    assert list(errors) == [41, 77]
    assert errors[41] == "no such file" and errors[77].startswith("cannot identify image file")
    values = records["pixels"][:, 0, 0, 0].tolist()
    assert values == [0 if i in errors else i for i in range(150)]
    expected = hashlib.blake2b(encoded(flat("L", 7)), digest_size=16).digest()
    assert records["hash"][7].tobytes() == expected


def test_no_warning_filter_is_left_behind():
    before = list(warnings.filters)
    decode_all(["1"], lambda name: encoded(flat("L", 1)), 8)
    assert list(warnings.filters) == before


def write_files(folder, n):
    names = [f"{i:03}.png" for i in range(n)]
    for i, name in enumerate(names):
        (folder / name).write_bytes(b"broken" if i == 70 else encoded(flat("L", i)))
    return names


def count_in_process(folder, monkeypatch):
    """Read in this process, counting: worker processes read by themselves."""
    counted = []

    def read(name):
        counted.append(name)
        return (folder / name).read_bytes()

    monkeypatch.setattr("fairkd.data.decode.PROCESSES_FROM", 1)
    return read, counted


def test_processes_give_what_threads_give(tmp_path, monkeypatch):
    names = write_files(tmp_path, 130)
    read, counted = count_in_process(tmp_path, monkeypatch)
    processes = list(decode_files(names, read, 8, root=tmp_path))
    assert counted == []
    threads = list(decode_files(names, read, 8))
    assert sorted(counted) == names
    for one, other in zip(processes, threads, strict=True):
        assert (one.records == other.records).all()
        assert one.errors.keys() == other.errors.keys()
    assert [list(chunk.errors) for chunk in processes] == [[], [70 - CHUNK], []]


def test_a_process_that_dies_is_stood_in_for(tmp_path, monkeypatch):
    names = write_files(tmp_path, 130)
    read, counted = count_in_process(tmp_path, monkeypatch)
    monkeypatch.setattr(sys, "executable", "/bin/false")
    chunks = list(decode_files(names, read, 8, root=tmp_path))
    assert sorted(counted) == names
    assert np.concatenate([chunk.records["pixels"] for chunk in chunks])[129, 0, 0, 0] == 129


def test_no_process_is_left_behind(tmp_path, monkeypatch):
    names = write_files(tmp_path, 130)
    read, _ = count_in_process(tmp_path, monkeypatch)
    started = []
    popen = subprocess.Popen

    def start(*arguments, **options):
        started.append(popen(*arguments, **options))
        return started[-1]

    monkeypatch.setattr(subprocess, "Popen", start)
    stream = decode_files(names, read, 8, root=tmp_path)
    next(stream)
    stream.close()
    assert started and all(process.poll() is not None for process in started)


@pytest.mark.parametrize("subsampling", [0, 1, 2])
@pytest.mark.parametrize("quality", [30, 75, 95])
@pytest.mark.parametrize("size", [17, 32])
def test_a_small_jpeg_gives_pillow_s_pixels(size, quality, subsampling):
    pixels = np.random.default_rng(size).integers(0, 256, (size, size, 3), dtype=np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "JPEG", quality=quality, subsampling=subsampling)
    with Image.open(io.BytesIO(buffer.getvalue())) as image:
        expected = np.asarray(image)
    np.testing.assert_array_equal(decode_image(buffer.getvalue(), size), expected)


def test_a_small_jpeg_that_is_cut_off_is_refused():
    buffer = io.BytesIO()
    Image.fromarray(np.zeros((32, 32, 3), dtype=np.uint8)).save(buffer, "JPEG")
    with pytest.raises(OSError, match=r"(?i)truncated"):
        decode_image(buffer.getvalue()[:-40], 32)
