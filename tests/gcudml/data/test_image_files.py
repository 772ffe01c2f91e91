"""Image files: how they become pixels, which errors name what, when they are read again."""

from __future__ import annotations

import contextlib
import json
import os
import random
import socket
import threading
import tracemalloc
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from flip import flip_byte
from PIL import Image
from waiting import DEADLINE_S

from gcudml.data import image_files
from gcudml.data.image_files import Appearance
from gcudml.runtime import files

PLAIN = Appearance(image_size=16, color="rgb", invert=False, fit="squeeze")
GREY = PLAIN._replace(color="grey")


def save(path: Path, pixels: np.ndarray, **options: object) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path, **options)
    return path


def grey(value: int, size: int = 16) -> np.ndarray:
    return np.full((size, size), value, dtype=np.uint8)


def pixels_of(path: Path, **parameters: object) -> np.ndarray:
    return image_files.decode_image(path, appearance=PLAIN._replace(**parameters))


# --- decode


def test_grey_and_rgb_have_the_asked_channels_and_size(tmp_path: Path) -> None:
    path = save(tmp_path / "1.png", np.zeros((40, 30, 3), np.uint8) + np.uint8([255, 0, 0]))
    assert pixels_of(path).shape == (3, 16, 16)
    assert pixels_of(path)[:, 5, 5].tolist() == [255, 0, 0]
    assert pixels_of(path, color="grey").shape == (1, 16, 16)
    assert pixels_of(path, color="grey")[0, 5, 5] == 76  # ITU-R 601 luma of red


def test_invert_swaps_dark_and_light(tmp_path: Path) -> None:
    path = save(tmp_path / "1.png", grey(250))
    assert (pixels_of(path, color="grey", invert=True) == 5).all()


def test_an_image_is_turned_as_its_exif_data_say(tmp_path: Path) -> None:
    pixels = grey(0)
    pixels[:, :8] = 255  # left half bright
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned by 90 degrees clockwise: left becomes top
    path = save(tmp_path / "1.png", pixels, exif=exif)
    found = pixels_of(path, color="grey")[0]
    assert found[2].mean() == 255
    assert found[-2].mean() == 0


def test_transparent_pixels_become_white(tmp_path: Path) -> None:
    pixels = np.zeros((16, 16, 4), np.uint8)
    pixels[:8, :, 3] = 255
    rgba = pixels_of(save(tmp_path / "1.png", pixels))
    assert rgba[:, 2].max() == 0
    assert rgba[:, -2].min() == 255
    path = tmp_path / "palette.gif"
    Image.fromarray(pixels).quantize().save(path, transparency=0)
    assert pixels_of(path, color="grey").max() == 255


def test_transparency_is_put_on_white_row_by_row_as_in_one_piece(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(image_files, "ROWS_AT_ONCE", 5)
    pixels = np.random.default_rng(0).integers(0, 256, (16, 16, 4), dtype=np.uint8)
    white = Image.new("RGBA", (16, 16), "white")
    expected = Image.alpha_composite(white, Image.fromarray(pixels)).convert("RGB")
    found = pixels_of(save(tmp_path / "1.png", pixels))
    assert np.array_equal(found.transpose(1, 2, 0), np.asarray(expected))


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGB", "RGBA", "CMYK", "YCbCr"])
@pytest.mark.parametrize("color", ["grey", "rgb"])
def test_any_mode_is_decoded(tmp_path: Path, mode: str, color: str) -> None:
    path = tmp_path / {"CMYK": "1.tif", "YCbCr": "1.tif"}.get(mode, "1.png")
    image = Image.fromarray(grey(255)).convert("RGB").convert("L" if mode == "LA" else "RGB")
    image.convert(mode).save(path)
    with Image.open(path) as stored:
        assert stored.mode == mode
    assert pixels_of(path, color=color).min() >= 253


def test_sixteen_bits_are_scaled_to_eight(tmp_path: Path) -> None:
    ramp = np.linspace(0, 65535, 256).astype(np.uint16).reshape(16, 16)
    found = pixels_of(save(tmp_path / "1.png", ramp), color="grey")[0]
    assert np.array_equal(found.ravel(), np.arange(256))


@pytest.mark.parametrize("top", [1.0, 255.0])
def test_floating_point_values_are_scaled(tmp_path: Path, top: float) -> None:
    values = np.linspace(0, top, 256, dtype=np.float32).reshape(16, 16)
    values[0, 0] = np.nan
    found = pixels_of(save(tmp_path / "1.tif", values), color="grey")[0]
    assert np.array_equal(found.ravel(), np.arange(256))


def eight_bits_in_one_piece(image: Image.Image) -> np.ndarray:
    values = np.nan_to_num(np.asarray(image, dtype=np.float64))
    if image.mode != "F":
        values = values / 257
    elif values.max() <= 1:
        values = values * 255
    return values.round().clip(0, 255).astype(np.uint8)


@pytest.mark.parametrize("kind", ["<u2", ">u2", "<i4", "<f4"])
@pytest.mark.parametrize("last", [0.5, 1.0, 1.5, 70_000.0, -3.0, np.nan])
def test_many_bits_are_scaled_row_by_row_as_in_one_piece(
    monkeypatch: pytest.MonkeyPatch, kind: str, last: float
) -> None:
    monkeypatch.setattr(image_files, "ROWS_AT_ONCE", 5)
    values = np.random.default_rng(0).random((16, 9)) * (1 if kind == "<f4" else 70_000)
    values[-1, -1] = last  # which alone may say that values are 0..255
    if kind != "<f4":
        values = np.nan_to_num(values).clip(0 if "u" in kind else None, 65_535)
    image = Image.fromarray(values.astype(kind))
    assert image.mode == {"<u2": "I;16", ">u2": "I;16B", "<i4": "I", "<f4": "F"}[kind]
    found = image_files._eight_bits(image)
    assert found.mode == "L"
    assert np.array_equal(np.asarray(found), eight_bits_in_one_piece(image))


@pytest.mark.parametrize("kind", ["<u2", "<i4", "<f4"])
def test_an_image_of_many_bits_is_never_held_in_wide_numbers_as_a_whole(
    monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    monkeypatch.setattr(image_files, "ROWS_AT_ONCE", 10)
    image = Image.fromarray(np.zeros((1000, 500), dtype=kind))
    tracemalloc.start()  # which sees NumPy's memory, not Pillow's
    try:
        image_files._eight_bits(image)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 2 * image.width * image.height


def test_a_large_image_is_averaged_not_sampled(tmp_path: Path) -> None:
    checkers = (np.indices((160, 160)).sum(0) % 2 * 255).astype(np.uint8)
    for name in ("1.png", "1.jpg"):
        found = pixels_of(save(tmp_path / name, checkers), color="grey").astype(int)
        assert abs(found - 127).max() <= 6


def test_files_come_in_order_across_blocks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(image_files, "BLOCK_IMAGES", 3)
    paths = [f"a/{i}.png" for i in range(8)]
    for i, path in enumerate(paths):
        save(tmp_path / path, grey(10 * i))
    blocks = list(image_files.decode(tmp_path, paths, appearance=GREY))
    assert [len(block) for block in blocks] == [3, 3, 2]
    assert np.concatenate(blocks)[:, 0, 0, 0].tolist() == [10 * i for i in range(8)]


def test_broken_files_are_named_with_the_reason(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    noise = rng.integers(0, 255, (64, 64), dtype=np.uint8)
    for name in ("a/good.jpg", "a/short.jpg", "a/cut.png"):
        save(tmp_path / name, noise)
    (tmp_path / "a/text.png").write_text("not an image")
    for name in ("a/short.jpg", "a/cut.png"):
        whole = (tmp_path / name).read_bytes()
        (tmp_path / name).write_bytes(whole[: len(whole) // 2])
    paths = ["a/cut.png", "a/good.jpg", "a/short.jpg", "a/text.png", "a/gone.png"]
    with pytest.raises(ValueError, match=r"^data\.root: broken or missing images in ") as caught:
        list(image_files.decode(tmp_path, paths, appearance=PLAIN))
    message = str(caught.value)
    assert "good" not in message
    assert "a/text.png (not an image)" in message
    assert "a/gone.png (No such file or directory)" in message
    assert "a/short.jpg (" in message
    assert "truncated" in message
    assert "a/cut.png (" in message
    assert "\n" not in message


def test_no_more_than_five_broken_files_are_named(tmp_path: Path) -> None:
    paths = [f"a/{i}.png" for i in range(7)]
    (tmp_path / "a").mkdir()
    for path in paths:
        (tmp_path / path).write_bytes(b"")
    with pytest.raises(ValueError, match=r"a/4\.png \(not an image\) and more; replace"):
        list(image_files.decode(tmp_path, paths, appearance=PLAIN))


def test_squeezing_keeps_the_edges_and_cropping_the_middle(tmp_path: Path) -> None:
    pixels = grey(0, 32)[:16]  # 32 wide, 16 high
    pixels[:, :8], pixels[:, 24:] = 255, 200
    path = save(tmp_path / "1.png", pixels)
    squeezed = pixels_of(path, color="grey")[0].astype(int)
    assert abs(squeezed[:, :3] - 255).max() <= 1
    assert abs(squeezed[:, 13:] - 200).max() <= 3
    cropped = pixels_of(path, color="grey", fit="crop")
    assert cropped.shape == (1, 16, 16)
    assert np.array_equal(cropped[0], pixels[:, 8:24])


@pytest.mark.parametrize("shape", [(90, 40), (40, 90)])
def test_a_crop_equals_scaling_the_short_side_and_cutting(
    tmp_path: Path, shape: tuple[int, int]
) -> None:
    rng = np.random.default_rng(0)
    smooth = Image.fromarray(rng.integers(0, 255, (9, 9), dtype=np.uint8))
    image = smooth.resize((shape[1], shape[0]), Image.Resampling.BICUBIC)
    path = save(tmp_path / "1.png", np.asarray(image))
    scaled = image.resize((36, 16) if shape[1] == 90 else (16, 36), Image.Resampling.BICUBIC)
    left, upper = (scaled.width - 16) // 2, (scaled.height - 16) // 2
    expected = np.asarray(scaled)[upper : upper + 16, left : left + 16].astype(int)
    found = pixels_of(path, color="grey", fit="crop")[0].astype(int)
    assert abs(found - expected).max() <= 2


def test_what_is_no_file_is_named_and_never_opened(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.png")
    (tmp_path / "folder.png").mkdir()
    (tmp_path / "device.png").symlink_to("/dev/zero")
    (tmp_path / "gone.png").symlink_to(tmp_path / "nothing")
    (tmp_path / "loop.png").symlink_to(tmp_path / "loop.png")
    reasons = {
        "pipe": "a named pipe, not a file",
        "folder": "a folder, not a file",
        "device": "a device, not a file",
        "gone": "No such file or directory",
        "loop": "Too many levels of symbolic links",
    }
    with socket.socket(socket.AF_UNIX) as listener, contextlib.chdir(tmp_path):
        listener.bind("socket.png")  # in full its path would be too long
    for name, reason in (reasons | {"socket": "a socket, not a file"}).items():
        match = rf"{name}\.png \({reason}\)"
        with pytest.raises(ValueError, match=match):
            image_files.content_digests(tmp_path, [f"{name}.png"])
        with pytest.raises(ValueError, match=match):
            list(image_files.decode(tmp_path, [f"{name}.png"], appearance=PLAIN))


def test_an_image_beyond_the_limit_is_named_and_a_jpeg_counts_as_it_is_decoded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(image_files, "MOST_PIXELS", 200 * 200)
    for name in ("1.png", "1.jpg"):
        save(tmp_path / name, grey(9, size=201))
    assert pixels_of(tmp_path / "1.jpg").shape == (3, 16, 16)
    with pytest.raises(ValueError, match=r"1\.png \(201 x 201 pixels; at most 0 million can be"):
        list(image_files.decode(tmp_path, ["1.png"], appearance=PLAIN))


def test_a_bomb_is_one_line(tmp_path: Path) -> None:
    path = save(tmp_path / "1.png", grey(9))
    whole = bytearray(path.read_bytes())
    whole[16:24] = (30_000).to_bytes(4, "big") * 2
    whole[29:33] = zlib.crc32(whole[12:29]).to_bytes(4, "big")
    path.write_bytes(whole)
    with pytest.raises(ValueError, match=r"30000 x 30000 pixels; at most 178 million can be read"):
        list(image_files.decode(tmp_path, ["1.png"], appearance=PLAIN))


def test_large_images_wait_for_each_other(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(image_files, "_ROOM", image_files._Room(2 * 40 * 40))
    monkeypatch.setattr(image_files.os, "cpu_count", lambda: 16)
    counted, calls, at_once, most = threading.Lock(), 0, 0, 0
    meeting = threading.Barrier(2)
    squared = image_files._squared

    def count(*arguments: Any) -> np.ndarray:
        nonlocal calls, at_once, most
        with counted:
            calls += 1
            at_once += 1
            most = max(most, at_once)
            is_early = calls <= 2
        if is_early:  # however busy the machine is, two have been at work at once
            meeting.wait(timeout=DEADLINE_S)
        found = squared(*arguments)
        with counted:
            at_once -= 1
        return found

    monkeypatch.setattr(image_files, "_squared", count)
    paths = [f"{number}.png" for number in range(40)]
    for path in paths:
        save(tmp_path / path, grey(9, size=40))
    save(tmp_path / "alone.png", grey(9, size=400))
    (images,) = image_files.decode(tmp_path, [*paths, "alone.png"], appearance=PLAIN)
    assert (len(images), most) == (41, 2)


def test_what_a_terminal_would_obey_is_shown(tmp_path: Path) -> None:
    name = "\x1b[2Jé.png"
    (tmp_path / name).write_text("no image")
    with pytest.raises(ValueError, match=r"\\x1b\[2Jé\.png \(not an image\)"):
        list(image_files.decode(tmp_path, [name], appearance=PLAIN))


# --- digests


def tick(folder: Path) -> None:
    """Wait for the file system's clock to go on: times of change come in steps of milliseconds."""
    probe = folder / "clock"
    probe.write_bytes(b"")
    start = probe.stat().st_ctime_ns
    while probe.stat().st_ctime_ns == start:
        probe.write_bytes(b"x")


def age(path: Path, seconds: int) -> None:
    status = path.stat()
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns - seconds * 10**9))


def test_a_digest_follows_the_content_and_not_the_place(tmp_path: Path) -> None:
    first = save(tmp_path / "one" / "a" / "1.png", grey(9))
    save(tmp_path / "two" / "a" / "1.png", grey(9))
    one, two = (
        image_files.content_digests(tmp_path / name, ["a/1.png"]) for name in ("one", "two")
    )
    assert one == two
    first.write_bytes(first.read_bytes()[:-1] + b"x")  # same size
    assert image_files.content_digests(tmp_path / "one", ["a/1.png"]) != two


def test_a_known_file_is_not_read_again_until_it_changes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(files, "SETTLED_S", 0.0)
    root = tmp_path / "images"
    for name in ("a/1.png", "a/2.png"):
        age(save(tmp_path / "images" / name, grey(9)), 60)
    before = image_files.content_digests(root, ["a/1.png", "a/2.png"])
    read: list[str] = []
    digest_file = image_files._digest_file
    monkeypatch.setattr(
        image_files, "_digest_file", lambda path: [read.append(path.name), digest_file(path)][1]
    )
    assert image_files.content_digests(root, ["a/1.png", "a/2.png"]) == before
    assert read == []
    age(save(tmp_path / "images" / "a/2.png", grey(77)), 30)
    after = image_files.content_digests(root, ["a/1.png", "a/2.png"])
    assert read == ["2.png"]
    assert after["a/1.png"] == before["a/1.png"]
    assert after["a/2.png"] != before["a/2.png"]


def test_a_file_written_this_very_moment_is_not_trusted_to_stay(tmp_path: Path) -> None:
    # A second write within the grain of its time stamp could not be told from the first.
    path = save(tmp_path / "images" / "a" / "1.png", grey(9))
    root = tmp_path / "images"
    before = image_files.content_digests(root, ["a/1.png"])
    stamp = path.stat()
    path.write_bytes(path.read_bytes()[:-1] + b"x")
    os.utime(path, ns=(stamp.st_atime_ns, stamp.st_mtime_ns))
    assert image_files.content_digests(root, ["a/1.png"]) != before


def test_an_edit_that_keeps_size_and_time_is_seen(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(files, "SETTLED_S", 0.0)
    path = save(tmp_path / "images" / "a" / "1.png", grey(9))
    age(path, 60)
    before = image_files.content_digests(tmp_path / "images", ["a/1.png"])
    tick(tmp_path)
    flip_byte(path, -1, 1)
    assert image_files.content_digests(tmp_path / "images", ["a/1.png"]) != before


def test_a_flipped_record_of_digests_is_never_believed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(files, "SETTLED_S", 0.0)
    for name in "abc":
        age(save(tmp_path / "images" / name / "1.png", grey(9)), 60)
    paths = [f"{name}/1.png" for name in "abc"]
    before = image_files.content_digests(tmp_path / "images", paths)
    (record,) = (tmp_path / "cache" / "digests").glob("*.json")
    whole = record.read_bytes()
    randomness = random.Random(0)
    for position in randomness.sample(range(len(whole)), 40):
        record.write_bytes(whole)
        flip_byte(record, position, randomness.randint(1, 255))
        assert image_files.content_digests(tmp_path / "images", paths) == before
        assert capsys.readouterr().err.count(f"{record}: damaged") == 1
        assert json.loads(record.read_bytes()) == json.loads(whole)


def test_a_damaged_record_of_digests_is_made_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(files, "SETTLED_S", 0.0)
    age(save(tmp_path / "images" / "a" / "1.png", grey(9)), 60)
    root = tmp_path / "images"
    before = image_files.content_digests(root, ["a/1.png"])
    (record,) = (tmp_path / "cache" / "digests").glob("*.json")
    for damage in ("", "[1]", '{"a/1.png": 3}', '{"a/1.png": [null, "x"]}'):
        record.write_text(damage)
        assert image_files.content_digests(root, ["a/1.png"]) == before


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"a/1\.png \(No such file or directory\)"):
        image_files.content_digests(tmp_path, ["a/1.png"])
