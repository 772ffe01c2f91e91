"""The cache: made once, shared, whole or made anew."""

from __future__ import annotations

import contextlib
import errno
import random
import threading
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import torch
from flip import flip_byte

from gcudml.runtime import array_cache
from gcudml.runtime import files as files_module
from gcudml.runtime.array_cache import cached_array
from gcudml.runtime.files import (
    Stamp,
    cache_folder,
    digest,
    locked,
    read_sealed,
    replacing,
    write_sealed,
)

SHAPE = (5, 1, 3, 3)
PIXELS = np.arange(45, dtype=np.uint8).reshape(SHAPE)


class Maker:
    """Yields the pixels in two blocks and counts how often it was asked."""

    def __init__(self) -> None:
        self.calls = 0

    def __call__(self) -> Iterator[np.ndarray]:
        self.calls += 1
        yield PIXELS[:2]
        yield PIXELS[2:]


def cached_images(
    make: Callable[[], Iterable[np.ndarray]],
    *,
    shape: tuple[int, ...] = SHAPE,
    verify: bool = False,
) -> np.ndarray:
    return cached_array("images", "key", shape, make, dtype=np.uint8, verify=verify)


def files() -> list[str]:
    return sorted(path.name for path in (cache_folder() / "images").iterdir())


def test_images_are_made_once_and_then_mapped() -> None:
    maker = Maker()
    first, second = (cached_images(maker) for _ in range(2))
    assert maker.calls == 1
    assert np.array_equal(first, PIXELS)
    assert np.array_equal(second, PIXELS)
    assert isinstance(second, np.memmap)
    assert files() == ["key.lock", "key.npy"]


def test_images_that_are_written_to_change_neither_the_file_nor_another_reader() -> None:
    first, second = (cached_images(Maker()) for _ in range(2))
    first[:] = 99
    assert np.array_equal(second, PIXELS)
    assert np.array_equal(cached_images(Maker()), PIXELS)


def test_a_tensor_takes_the_images_without_a_copy() -> None:
    images = cached_images(Maker())
    tensor = torch.from_numpy(images)  # would warn of an array that cannot be written
    assert tensor.data_ptr() == images.ctypes.data


def test_the_file_is_an_ordinary_array() -> None:
    cached_images(Maker())
    assert np.array_equal(np.load(cache_folder() / "images" / "key.npy"), PIXELS)


@pytest.mark.parametrize("dtype", [np.float32, np.int64])
def test_other_numbers_come_back_as_they_were(dtype: type[np.generic]) -> None:
    numbers = np.linspace(-9, 9, 24).astype(dtype).reshape(4, 3, 2)
    blocks = [numbers[:3], numbers[3:].transpose(0, 2, 1).copy().transpose(0, 2, 1)]
    found = cached_array("numbers", "key", numbers.shape, lambda: blocks, dtype=dtype)
    assert found.dtype == dtype
    assert np.array_equal(found, numbers)
    assert np.array_equal(np.load(cache_folder() / "numbers" / "key.npy"), numbers)


def test_a_file_of_other_numbers_is_made_anew() -> None:
    cached_images(Maker())
    found = cached_array("images", "key", SHAPE, lambda: [PIXELS], dtype=np.int8)
    assert found.dtype == np.int8


def cut_short(whole: bytes) -> bytes:
    return whole[:-1]


def emptied(whole: bytes) -> bytes:
    return b""


def damaged_at_the_start(whole: bytes) -> bytes:
    return b"\0" * 20 + whole[20:]


def with_more_behind(whole: bytes) -> bytes:
    return whole + b"x"


@pytest.mark.parametrize("damage", [cut_short, emptied, damaged_at_the_start, with_more_behind])
def test_a_damaged_file_is_made_anew(damage: Callable[[bytes], bytes]) -> None:
    maker = Maker()
    cached_images(maker)
    path = cache_folder() / "images" / "key.npy"
    path.write_bytes(damage(path.read_bytes()))
    assert np.array_equal(cached_images(maker), PIXELS)
    assert maker.calls == 2


def test_flipped_bits_are_found_where_the_file_is_verified(
    capsys: pytest.CaptureFixture[str],
) -> None:
    maker, randomness = Maker(), random.Random(0)
    cached_images(maker)
    path = cache_folder() / "images" / "key.npy"
    whole = path.read_bytes()
    for position in range(len(whole)):
        flip_byte(path, position, randomness.randint(1, 255))
        assert np.array_equal(cached_images(maker, verify=True), PIXELS)
        assert path.read_bytes() == whole
        said = capsys.readouterr().err
        assert said.count("\n") == said.count(f"{path}: damaged") == 1
    assert maker.calls == 1 + len(whole)


def test_a_file_of_an_older_version_without_a_checksum_is_made_anew() -> None:
    path = cache_folder() / "images" / "key.npy"
    path.parent.mkdir(parents=True)
    np.save(path, PIXELS[::-1])
    maker = Maker()
    assert np.array_equal(cached_images(maker), PIXELS)
    assert maker.calls == 1


def test_a_file_is_verified_once_until_it_changes(monkeypatch: pytest.MonkeyPatch) -> None:
    read: list[str] = []
    is_sound = array_cache.is_sound
    monkeypatch.setattr(array_cache, "is_sound", lambda s: [read.append(s.name), is_sound(s)][1])
    monkeypatch.setattr(files_module, "SETTLED_S", 0.0)
    for _ in range(3):
        cached_images(Maker(), verify=True)
    assert len(read) == 1
    path = cache_folder() / "images" / "key.npy"
    path.write_bytes(path.read_bytes())
    cached_images(Maker(), verify=True)
    cached_images(Maker())
    assert len(read) == 2


@pytest.mark.parametrize(
    ("modified_s", "changed_s", "is_settled"),
    [
        (-60, -60, True),
        (-60, 0, False),
        (0, -60, False),
        (3600, -60, True),  # a camera's wrong clock, or an archive's
        (3600, 0, False),
        (3600, 3600, False),  # the clock was set back
        (-60, 3600, False),
    ],
)
def test_a_file_from_the_future_is_judged_by_when_it_was_changed(
    monkeypatch: pytest.MonkeyPatch, modified_s: int, changed_s: int, is_settled: bool
) -> None:
    now = 10**18
    monkeypatch.setattr(files_module.time, "time_ns", lambda: now)
    stamp = Stamp(9, now + modified_s * 10**9, now + changed_s * 10**9)
    assert stamp.is_settled == is_settled


def test_flipped_bits_of_a_record_are_named_and_count_as_none(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "value.json"
    write_sealed(path, {"chosen": 1, "é": [None, 0.5]})
    assert read_sealed(path) == {"chosen": 1, "é": [None, 0.5]}
    randomness = random.Random(0)
    whole = path.read_bytes()
    for position in range(len(whole)):
        flip_byte(path, position, randomness.randint(1, 255))
        assert read_sealed(path) is None
        assert f"{path}: damaged" in capsys.readouterr().err
        path.write_bytes(whole)
    assert read_sealed(tmp_path / "none.json") is None


def test_two_writers_of_one_process_number_have_drafts_of_their_own(tmp_path: Path) -> None:
    path = tmp_path / "value.txt"  # as in two containers on one folder
    with replacing(path) as one, replacing(path) as other:
        one.write_text("one")
        other.write_text("other")
        assert one != other
    assert path.read_text() == "one"


def test_images_in_use_stay_readable_when_the_file_is_made_anew() -> None:
    used = cached_images(Maker())
    cached_images(lambda: [PIXELS[:2]], shape=(2, 1, 3, 3))  # same key, other shape
    assert np.array_equal(used, PIXELS)


def test_one_of_many_makes_the_images_and_the_others_wait() -> None:
    maker, start = Maker(), threading.Barrier(4)

    def ask(_: int) -> np.ndarray:
        start.wait()
        return cached_images(maker)

    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(ask, range(4)))
    assert maker.calls == 1
    assert all(np.array_equal(each, PIXELS) for each in found)


def test_a_maker_that_fails_leaves_nothing_half_written() -> None:
    def make() -> Iterator[np.ndarray]:
        yield PIXELS[:2]
        raise ValueError("data.root: broken images")

    with pytest.raises(ValueError, match="broken images"):
        cached_images(make)
    assert files() == ["key.lock"]
    assert np.array_equal(cached_images(Maker()), PIXELS)


def test_too_few_images_are_never_stored() -> None:
    with pytest.raises(RuntimeError, match="2 rows were made where 5"):
        cached_images(lambda: [PIXELS[:2]])
    assert files() == ["key.lock"]


def test_a_full_disk_is_an_error_that_names_the_file(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(_: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")  # as write() does: without a name

    monkeypatch.setattr(array_cache.os, "fsync", fail)
    with pytest.raises(OSError, match="No space left") as caught:
        cached_images(Maker())
    assert caught.value.errno == errno.ENOSPC
    assert "key" in str(caught.value.filename)
    assert files() == ["key.lock"]


def test_drafts_of_killed_processes_are_swept_away() -> None:
    folder = cache_folder() / "images"
    folder.mkdir(parents=True)
    (folder / "key.4000000.draft").write_bytes(b"half")
    (folder / "other.4000000.draft").write_bytes(b"somebody is still writing this")
    cached_images(Maker())
    assert files() == ["key.lock", "key.npy", "other.4000000.draft"]


def test_the_lock_lets_one_in_at_a_time(tmp_path: Path) -> None:
    inside, seen = 0, []

    def enter(_: int) -> None:
        nonlocal inside
        with locked(tmp_path / "x" / "thing.json"):
            inside += 1
            seen.append(inside)
            inside -= 1

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(enter, range(40)))
    assert seen == [1] * 40


def test_a_replaced_file_is_old_or_new_and_never_half(tmp_path: Path) -> None:
    path = tmp_path / "value.txt"
    path.write_text("old")
    with contextlib.suppress(KeyError), replacing(path) as draft:
        draft.write_text("ne")
        raise KeyError
    assert path.read_text() == "old"
    with replacing(path) as draft:
        draft.write_text("new")
        assert path.read_text() == "old"
    assert path.read_text() == "new"
    assert list(tmp_path.iterdir()) == [path]


def test_the_folder_follows_the_environment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert cache_folder() == tmp_path / "cache"
    monkeypatch.delenv("GCUDML_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    assert cache_folder() == tmp_path / "xdg" / "gcudml"
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert cache_folder() == tmp_path / ".cache" / "gcudml"


def test_a_digest_ignores_the_order_of_keys_only() -> None:
    assert digest({"a": 1, "b": [1, 2]}) == digest({"b": [1, 2], "a": 1})
    assert digest([1, 2]) != digest([2, 1])
    assert digest(1) != digest("1")
