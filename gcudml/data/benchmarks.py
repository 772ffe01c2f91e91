"""Readers for the standard benchmarks, in the file layouts their authors publish.

An archive may be unpacked into the root or into a folder of its own name below it. A copy may lack
classes: the half a class belongs to never depends on the other classes.
"""

import re
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from scipy.io import loadmat

from gcudml.config.data import (
    CarsData,
    CubData,
    InShopData,
    OmniglotData,
    ProductsData,
    StandardData,
)
from gcudml.data.folder import Listing, class_folders

CUB_TRAINING_CLASSES = 100
CARS_TRAINING_CLASSES = 98
# The official class numbers follow the makers' names: 98 is the last before Ferrari and FIAT.
CARS_TRAINING_NAMES_BEFORE = "F"
CARS_NAME = re.compile(r".+ (19|20)\d\d$")  # maker, model and year


def read(config: StandardData) -> Listing:
    """List the classes and files of a standard data set.

    Raises:
        ValueError: the folder or a file of the layout is missing, a list is damaged, or one of the
            halves has no class; ``data.root: what; remedy``.
    """
    if isinstance(config, CubData):
        return _read_cub(config)
    if isinstance(config, CarsData):
        return _read_cars(config)
    if isinstance(config, ProductsData):
        return _read_products(config)
    if isinstance(config, InShopData):
        return _read_inshop(config)
    assert isinstance(config, OmniglotData)
    return _read_omniglot(config)


def _read_cub(config: CubData) -> Listing:
    folder = _find(
        config,
        below=["CUB_200_2011"],
        needs=["images.txt", "image_class_labels.txt", "classes.txt", "images"],
        tree="CUB_200_2011/{images/001.Black_footed_Albatross/*.jpg, images.txt, "
        "image_class_labels.txt, classes.txt}",
    )
    names = _pairs(folder / "classes.txt", "class_id class_name")
    labels = _pairs(folder / "image_class_labels.txt", "image_id class_id")
    images: list[_Image] = []
    for number, path in _rows(folder / "images.txt", "image_id image_name"):
        name = names.get(labels.get(number, ""))
        if name is None:
            raise ValueError(
                f"data.root: {folder / 'images.txt'}: image {number} ({path}) has no class in "
                "image_class_labels.txt and classes.txt; repair the lists"
            )
        is_test = _number(labels[number], folder / "image_class_labels.txt") > CUB_TRAINING_CLASSES
        images.append(_Image(path, name, is_test))
    return _listing(folder / "images", images)


def _read_cars(config: CarsData) -> Listing:
    tree = "{cars_annos.mat, car_ims/000001.jpg, ...}, or one folder for each of the 196 classes"
    below = ["cars196", "CARS196", "Cars196", "cars", "stanford_cars"]
    folder = _first(config.path, below, ["cars_annos.mat"])
    if folder is None:
        found = class_folders(config.path) if config.path.is_dir() else {}
        if not found or not all(CARS_NAME.match(_last(name)) for name in found):
            raise _missing(config, "cars_annos.mat", tree)
        # Copies made for classification split every class into two folders; merge them again.
        images = [
            _Image(path, _last(name), is_test=_last(name) >= CARS_TRAINING_NAMES_BEFORE)
            for name, paths in sorted(found.items(), key=lambda item: (_last(item[0]), item[0]))
            for path in paths
        ]
        return _listing(config.path, images)
    if not (folder / "car_ims").is_dir():
        raise _missing(config, "car_ims", tree)
    return _listing(folder, _annotated_cars(folder / "cars_annos.mat"))


def _annotated_cars(path: Path) -> list["_Image"]:
    """Read the rows of ``cars_annos.mat``, sorted by class."""
    try:
        content = loadmat(path, squeeze_me=True)
        rows = np.atleast_1d(content["annotations"])
        names = [str(name) for name in np.atleast_1d(content["class_names"])]
        classes = [int(number) for number in rows["class"]]
        paths = [str(relative) for relative in rows["relative_im_path"]]
        # A slash in a name would look like a nested folder.
        titles = [f"{c:03d}.{names[c - 1].replace('/', '-')}" for c in classes]
    except Exception as error:  # a damaged file can raise any exception
        raise ValueError(
            f"data.root: {path}: not the published annotations ({type(error).__name__}: "
            f"{str(error)[:80]}); download the file again"
        ) from error
    found = [
        _Image(relative, title, is_test=number > CARS_TRAINING_CLASSES)
        for relative, title, number in zip(paths, titles, classes, strict=True)
    ]
    return sorted(found, key=lambda image: image.class_name)


def _read_products(config: ProductsData) -> Listing:
    lists = {"Ebay_train.txt": False, "Ebay_test.txt": True}
    folder = _find(
        config,
        below=["Stanford_Online_Products"],
        needs=list(lists),
        tree="Stanford_Online_Products/{Ebay_train.txt, Ebay_test.txt, bicycle_final/*.JPG, ...}",
    )
    columns = "image_id class_id super_class_id path"
    images = [
        # Prefixed with its super-class, so that a validation list can name a whole super-class.
        _Image(path, f"{path.rpartition('/')[0] or '.'}/{number}", is_test)
        for name, is_test in lists.items()
        for _, number, _, path in _rows(folder / name, columns, header_lines=1)
    ]
    return _listing(folder, images)


def _read_inshop(config: InShopData) -> Listing:
    tree = "{list_eval_partition.txt, img/WOMEN/Dresses/id_00000002/*.jpg, ...}"
    name = "list_eval_partition.txt"
    archives = ["In-shop Clothes Retrieval Benchmark", "inshop"]
    below = ["Eval", *archives, *(f"{archive}/Eval" for archive in archives)]
    base = _find(config, below=below, needs=[name], tree=tree)
    top = base.parent if base.name == "Eval" else base
    root = next((place for place in (top, top / "Img") if (place / "img").is_dir()), None)
    if root is None:
        raise _missing(config, "img", tree)
    images: list[_Image] = []
    queries: list[str] = []
    rows = list(_rows(base / name, "image_name item_id evaluation_status", header_lines=2))
    _check_count(base / name, len(rows))
    for path, item, status in rows:
        if status not in {"train", "query", "gallery"}:
            raise ValueError(
                f"data.root: {base / name}: image {path} has the status {status!r}; "
                "needs train, query or gallery"
            )
        images.append(_Image(path, item, is_test=status != "train"))
        if status == "query":
            queries.append(path)
    return _listing(root, images)._replace(queries=frozenset(queries))


def _read_omniglot(config: OmniglotData) -> Listing:
    parts = ["images_background", "images_evaluation"]
    folder = _find(
        config,
        below=["omniglot", "omniglot-py", "python"],
        needs=parts,
        tree="{images_background/Greek/character01/*.png, "
        "images_evaluation/Keble/character01/*.png}",
    )
    images = [
        _Image(f"{part}/{path}", f"{part}/{name}", is_test=part == parts[1])
        for part in parts
        for name, paths in class_folders(folder / part).items()
        for path in paths
    ]
    return _listing(folder, images)


class _Image(NamedTuple):
    """One row of a data set's list."""

    path: str
    class_name: str
    is_test: bool


def _listing(root: Path, images: Iterable[_Image]) -> Listing:
    """Group images by class, in the order in which the classes first appear."""
    files: dict[str, list[str]] = {}
    is_test: dict[str, bool] = {}
    seen: set[str] = set()
    for image in images:
        if is_test.setdefault(image.class_name, image.is_test) != image.is_test:
            raise ValueError(
                f"data.root: {str(root)!r}: class {image.class_name!r} is listed both for training "
                "and for test; repair the lists"
            )
        if image.path in seen:
            raise ValueError(
                f"data.root: {str(root)!r}: image {image.path!r} is listed twice; repair the lists"
            )
        seen.add(image.path)
        files.setdefault(image.class_name, []).append(image.path)
    return Listing(
        root,
        {name: tuple(paths) for name, paths in files.items()},
        tuple(name for name in files if not is_test[name]),
        tuple(name for name in files if is_test[name]),
    )


def _find(config: StandardData, *, below: Sequence[str], needs: Sequence[str], tree: str) -> Path:
    """Find the layout's folder: the root, or one of the folders in ``below``."""
    folder = _first(config.path, below, needs)
    if folder is not None:
        return folder
    # Report what is missing in the folder that comes closest to the layout.
    places = [config.path, *(config.path / name for name in below)]
    lacking = [[name for name in needs if not (place / name).exists()] for place in places]
    fewest = min(len(names) for names in lacking)
    raise _missing(config, ", ".join(next(n for n in lacking if len(n) == fewest)), tree)


def _first(root: Path, below: Sequence[str], needs: Sequence[str]) -> Path | None:
    places = [root, *(root / name for name in below)]
    return next((p for p in places if all((p / name).exists() for name in needs)), None)


def _missing(config: StandardData, what: str, tree: str) -> ValueError:
    root = config.path
    problem = f"{what} is missing in" if root.is_dir() else "no folder"
    return ValueError(
        f"data.root: {config.name}: {problem} {str(root)!r}; expected {tree}; {config.source}"
    )


def _rows(path: Path, columns: str, *, header_lines: int = 0) -> Iterator[tuple[str, ...]]:
    """Yield the rows of a list with columns separated by spaces, skipping empty lines.

    The last header line, if there are any, must hold the column names.
    """
    width = len(columns.split())
    if not path.is_file():  # reading a named pipe would block for ever
        raise ValueError(f"data.root: {path} is not a file; download it again")
    # Undecodable bytes in a name map back to the same bytes of the file system.
    with path.open(encoding="utf-8", errors="surrogateescape") as stream:
        for number, line in enumerate(stream, start=1):
            row = tuple(line.split())
            is_wrong = row != tuple(columns.split()) if number == header_lines else False
            if number > header_lines:
                is_wrong = bool(row) and len(row) != width
            if is_wrong:
                raise ValueError(
                    f"data.root: {path}, line {number}: needs {columns!r}, got "
                    f"{line.strip()[:80]!r}; repair the line or download the file again"
                )
            if number > header_lines and row:
                yield row


def _pairs(path: Path, columns: str) -> dict[str, str]:
    """Read a list of two columns as first column -> second column."""
    return {row[0]: row[1] for row in _rows(path, columns)}


def _check_count(path: Path, rows: int) -> None:
    """Reject a truncated list: its first line holds the number of rows."""
    with path.open(encoding="utf-8", errors="surrogateescape") as stream:
        first = stream.readline().strip()
    if first != str(rows):
        raise ValueError(
            f"data.root: {path}, line 1: says {first[:80]!r} images, but {rows} follow; "
            "correct the count or download the file again"
        )


def _number(text: str, path: Path) -> int:
    if not text.isdecimal():
        raise ValueError(
            f"data.root: {path}: {text!r} is not a class number; repair the line or download the "
            "file again"
        )
    return int(text)


def _last(name: str) -> str:
    return name.rpartition("/")[2]
