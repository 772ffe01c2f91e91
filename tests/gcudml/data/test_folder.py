"""Image folders: what counts as a class."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from gcudml.config import FolderData
from gcudml.data import folder


def save(path: Path, pixels: np.ndarray, **options: object) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path, **options)
    return path


def grey(value: int, size: int = 16) -> np.ndarray:
    return np.full((size, size), value, dtype=np.uint8)


def test_a_class_is_a_folder_that_directly_holds_images(tmp_path: Path) -> None:
    root = tmp_path / "images"
    for name in ("b/2.png", "b/1.PNG", "a/x/1.jpg", "a/y/1.bmp", "a/1.gif"):
        save(root / name, grey(9))
    assert folder.scan(FolderData(root=str(root))).files == {
        "a": ("a/1.gif",),
        "a/x": ("a/x/1.jpg",),
        "a/y": ("a/y/1.bmp",),
        "b": ("b/1.PNG", "b/2.png"),
    }


def test_hidden_and_other_files_and_images_in_the_root_are_left_out(tmp_path: Path) -> None:
    root = tmp_path / "images"
    for name in ("a/1.png", "a/.2.png", ".git/1.png", "overview.png"):
        save(root / name, grey(9))
    (root / "a" / "notes.txt").write_text("no image")
    (root / "a" / "png").write_text("no image either")
    (root / "empty").mkdir()
    assert folder.scan(FolderData(root=str(root))).files == {"a": ("a/1.png",)}


def test_a_linked_folder_is_a_class_and_a_circle_ends(tmp_path: Path) -> None:
    root = tmp_path / "images"
    save(root / "a" / "1.png", grey(9))
    save(tmp_path / "elsewhere" / "1.png", grey(9))
    (root / "b").symlink_to(tmp_path / "elsewhere", target_is_directory=True)
    (root / "a" / "circle").symlink_to(root, target_is_directory=True)
    assert list(folder.scan(FolderData(root=str(root))).files) == ["a", "b"]


def test_a_missing_folder_is_named_with_its_source(tmp_path: Path) -> None:
    config = FolderData(root=str(tmp_path / "nowhere"), source="see example.org")
    with pytest.raises(ValueError, match=r"^data\.root: no folder '.*nowhere'.*see example\.org$"):
        folder.scan(config)


def test_a_folder_without_class_folders_is_refused(tmp_path: Path) -> None:
    save(tmp_path / "images" / "1.png", grey(9))
    with pytest.raises(ValueError, match=r"^data\.root: no class folder with images in"):
        folder.scan(FolderData(root=str(tmp_path / "images")))
