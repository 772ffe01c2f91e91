"""Images and parameters of a run that cannot be used."""

from __future__ import annotations

import json
import os
import socket
import zlib
from collections.abc import Callable, Sequence
from pathlib import Path

from hostile_row import HostileRow
from PIL import Image

RUN = ("run", "study.yaml")
DATA = {
    "name": "folder",
    "root": "images",
    "image_size": 16,
    "color": "grey",
    "split": {"val": 2, "test": 2},
}
SECTIONS: dict[str, object] = {
    "data": DATA,
    "model": {"width": 8, "embedding_dim": 8, "wide_dim": 8},
    "method": {"name": "instance"},
    "train": {"epochs": 1, "batch_size": 8, "images_per_cluster": 2},
    "evaluate": {"k": [1]},
}


def study(folder: Path, **sections: object) -> Sequence[str]:
    """A study of six classes, with some sections of its base replaced."""
    content = {
        "study": "hostile",
        "question": "Is that one line?",
        "workload": "gcudml.workload",
        "seeds": [0],
        "base": SECTIONS | sections,
    }
    (folder / "study.yaml").write_text(json.dumps(content), encoding="utf-8")
    for place, name in enumerate("abcdef"):
        (folder / "images" / name).mkdir(parents=True)
        for number in range(3):
            image = Image.new("L", (16, 16), 40 * place + number)
            image.save(folder / "images" / name / f"{number}.png")
    return RUN


def with_images(spoil: Callable[[Path], object]) -> Callable[[Path], Sequence[str]]:
    """A study whose images are spoilt by ``spoil``, which gets the folder of class c."""

    def prepare(folder: Path) -> Sequence[str]:
        command = study(folder)
        spoil(folder / "images" / "c")
        return command

    return prepare


def with_sections(**sections: object) -> Callable[[Path], Sequence[str]]:
    """A study some of whose parameters are replaced."""
    return lambda folder: study(folder, **sections)


def _pipe(of: Path) -> None:
    os.mkfifo(of / "x.png")


def _socket(of: Path) -> None:
    here = Path.cwd()
    os.chdir(of)  # in full the path would be too long
    try:
        with socket.socket(socket.AF_UNIX) as listener:
            listener.bind("x.png")
    finally:
        os.chdir(here)


def _device(of: Path) -> None:
    (of / "x.png").symlink_to("/dev/zero")


def _latin(of: Path) -> None:
    of.rename(of.parent / os.fsdecode(b"caf\xe9"))


def _latin_file(of: Path) -> None:
    (of / "1.png").rename(of / os.fsdecode(b"\xe9.png"))


def _empty(of: Path) -> None:
    (of / "1.png").write_bytes(b"")


def _broken_link(of: Path) -> None:
    (of / "x.png").symlink_to(of / "nothing.png")


def _looping_link(of: Path) -> None:
    (of / "x.png").symlink_to(of / "x.png")


def _link_to_no_class(of: Path) -> None:
    (of.parent / "g").symlink_to(of.parent / "nothing")


def _terminal_escapes(of: Path) -> None:
    (of / "\x1b[2J\x1b]0;owned\x07.png").write_bytes(b"no image")


def _bomb(of: Path) -> None:
    """A PNG whose header announces 30,000 x 30,000 pixels."""
    content = bytearray((of / "1.png").read_bytes())
    content[16:24] = (30_000).to_bytes(4, "big") * 2
    content[29:33] = zlib.crc32(content[12:29]).to_bytes(4, "big")
    (of / "x.png").write_bytes(content)


def _named(name: str) -> Callable[[Path], object]:
    return lambda of: (of / name).write_bytes(b"%PDF-1.4")


def _broken(name: str, reason: str) -> list[str]:
    return [rf"data\.root: broken or missing images in 'images': c/{name} \({reason}\); replace"]


ROWS = [
    HostileRow("a named pipe", with_images(_pipe), _broken(r"x\.png", "a named pipe, no file")),
    HostileRow("a socket", with_images(_socket), _broken(r"x\.png", "a socket, no file")),
    HostileRow("a device", with_images(_device), _broken(r"x\.png", "a device, no file")),
    HostileRow("an empty image", with_images(_empty), _broken(r"1\.png", "not an image")),
    HostileRow(
        "a broken link", with_images(_broken_link), _broken(r"x\.png", "No such file or directory")
    ),
    HostileRow(
        "a link to itself",
        with_images(_looping_link),
        _broken(r"x\.png", "Too many levels of symbolic links"),
    ),
    HostileRow(
        "a link in place of a class",
        with_images(_link_to_no_class),
        [r"data\.root: g in 'images' is a link to nothing that can be reached; repair it"],
    ),
    HostileRow(
        "an image that is too large",
        with_images(_bomb),
        _broken(r"x\.png", "30000 x 30000 pixels; at most 178 million can be read"),
    ),
    HostileRow(
        "terminal escapes in a name",
        with_images(_terminal_escapes),
        _broken(r"\\x1b\[2J\\x1b\]0;owned\\x07\.png", "not an image"),
    ),
    HostileRow(
        "a class that is not named in UTF-8",
        with_images(_latin),
        [r"data\.root: the name of caf\\xe9 in 'images' is not in UTF-8; rename it"],
    ),
    HostileRow(
        "an image that is not named in UTF-8",
        with_images(_latin_file),
        [r"data\.root: the name of c/\\xe9\.png in 'images' is not in UTF-8; rename it"],
    ),
    *(
        HostileRow(
            f"a file called {name}",
            with_images(_named(name)),
            [rf"data\.root: 1 files in 'images' look like images .* such as c/{name}; convert"],
        )
        for name in ("x.eps", "x.svg", "x.PDF")
    ),
    *(
        HostileRow(
            f"{name} {section['epochs']!r}",
            with_sections(train=section),
            [
                rf"study\.yaml:\d+:\d+: .*train\.epochs: needs a number, .* got {section['epochs']!r}"
            ],
        )
        for name, section in [
            ("a truth value as a number", {"epochs": True}),
            ("a quoted number", {"epochs": "1_000"}),
            ("a quoted number", {"epochs": "3"}),
        ]
    ),
]
