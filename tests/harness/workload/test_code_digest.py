"""The code version depends on what the code does, and not on layout, location or names of files."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest
from roots import FIXTURES, ROOT

from harness.errors import InputError
from harness.workload import code_digest
from harness.workload.code_digest import compiled_form, form_of
from harness.workload.code_version import CodeVersions

NASTY = FIXTURES / "nasty_syntax.txt"
NASTY_DIGEST = "66bd391c1f7c115d8c151e62dbb82b76"
OTHERS = [name for name in ("3.11", "3.12", "3.13", "3.14") if name != f"3.{sys.version_info[1]}"]

SOURCE = '''"""A workload."""
import math


def area(radius):
    """The area of a disc."""
    return math.pi * radius**2  # in square metres


class Disc:
    """Round."""

    unit = "m"
    """Of its radius."""

    async def roll(self):
        """Forward."""
'''
PACKAGE = {
    "balls/__init__.py": "",
    "balls/workload.py": (
        "from balls.red import colour as red\nfrom balls.blue import colour as blue\n"
        "from balls import sizes\nPAIR = red(), blue(), sizes.SMALL\n"
    ),
    "balls/red.py": "def colour(): return 'red'\n",
    "balls/blue.py": "def colour(): return 'blue'\n",
    "balls/sizes.py": "SMALL = 1\n",
}

Files = Mapping[str, str | bytes]
Version = Callable[..., str]


@pytest.fixture
def version_of(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Version:
    """Writes files, and these alone, and tells the version of the workload among them."""
    place = tmp_path / "place"
    monkeypatch.syspath_prepend(place)

    def version(
        files: Files, workload: str = "balls.workload", names: list[str] | None = None
    ) -> str:
        shutil.rmtree(place, ignore_errors=True)
        for name, content in files.items():
            path = place / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return CodeVersions(workload, lambda params: names).of({})

    return version


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("in square metres", "in acres"),
        ('"""A workload."""', '"""Another text."""'),
        ('"""The area of a disc."""', '"""Its area,\n\n    in two lines.\n    """'),
        ('"""The area of a disc."""\n', "\n"),
        ('"""Round."""', '"""Flat."""'),
        ('"""Forward."""', '"""Backward."""'),
        ('    """Of its radius."""\n', ""),
        ("math.pi * radius**2", "(math.pi   *   (radius ** 2))"),
        ('unit = "m"', "unit = u'm'"),
    ],
)
def test_comments_docstrings_and_layout_do_not_count(
    version_of: Version, old: str, new: str
) -> None:
    assert old in SOURCE
    before = version_of({"discs.py": SOURCE}, "discs")
    assert version_of({"discs.py": SOURCE.replace(old, new)}, "discs") == before


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("radius**2", "radius**3"),
        ("math.pi", "3.14"),
        ("def area", "def surface"),
        ("import math", "import math, os"),
        ("import math", "import cmath as math"),
        ("    return", "    f'{radius}'\n    return"),
        ('unit = "m"', 'unit = b"m"'),
    ],
)
def test_code_counts(version_of: Version, old: str, new: str) -> None:
    before = version_of({"discs.py": SOURCE}, "discs")
    assert version_of({"discs.py": SOURCE.replace(old, new)}, "discs") != before


def test_a_file_that_is_moved_or_renamed_changes_nothing(version_of: Version) -> None:
    before = version_of(PACKAGE)
    moved = {
        "balls/__init__.py": "",
        "balls/workload.py": (
            "from balls.paint.azure import colour as blue\n"
            "from balls.paint.red import colour as red\nfrom .paint import dimensions as sizes\n"
            "PAIR = red(), blue(), sizes.SMALL\n"
        ),
        "balls/paint/__init__.py": '"""Colours and sizes."""\n',
        "balls/paint/red.py": PACKAGE["balls/red.py"],
        "balls/paint/azure.py": PACKAGE["balls/blue.py"],
        "balls/paint/dimensions.py": PACKAGE["balls/sizes.py"],
    }
    assert version_of(moved) == before


def test_files_that_change_places_are_another_code(version_of: Version) -> None:
    swapped = PACKAGE | {
        "balls/red.py": PACKAGE["balls/blue.py"],
        "balls/blue.py": PACKAGE["balls/red.py"],
    }
    assert version_of(swapped) != version_of(PACKAGE)


@pytest.mark.parametrize(
    "line",
    [
        "import balls.red as a, balls.blue as b",
        "from balls import red as a, blue as b",
        "from . import red as a, blue as b",
        "from .red import colour",
        "from balls.red import *",
        "def run():\n    from balls.red import colour",
        "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from balls.red import colour",
        "try:\n    from balls.red import colour\nexcept ImportError:\n    pass",
        "from balls.paints import a, b",
        "from balls.paints import colour as c",
    ],
)
def test_in_whatever_way_a_file_is_imported_it_counts_and_its_name_does_not(
    version_of: Version, line: str
) -> None:
    files = PACKAGE | {
        "balls/workload.py": line,
        "balls/paints.py": "from balls import red as a, blue as b\nfrom .blue import colour\n",
    }
    before = version_of(files)
    red, blue = files["balls/red.py"], files["balls/blue.py"]
    assert version_of(files | {"balls/red.py": blue, "balls/blue.py": red}) != before
    renamed = {
        name.replace("red", "pink").replace("blue", "azure"): (
            text if text in (red, blue) else text.replace("red", "pink").replace("blue", "azure")
        )
        for name, text in files.items()
    }
    assert version_of(renamed) == before


@pytest.mark.parametrize(
    "line",
    [
        "import balls.red\nX = balls.red.colour()",
        "from importlib import import_module\nX = import_module('balls.red').colour()",
        "X = __import__('balls.red').red.colour()",
    ],
)
def test_files_that_change_places_count_where_the_name_is_part_of_the_code(
    version_of: Version, line: str
) -> None:
    files = PACKAGE | {"balls/workload.py": line}
    red, blue = files["balls/red.py"], files["balls/blue.py"]
    assert version_of(files | {"balls/red.py": blue, "balls/blue.py": red}) != version_of(files)


def test_an_import_through_the_package_is_one_of_the_file(version_of: Version) -> None:
    through = PACKAGE | {
        "balls/paints/__init__.py": "from balls.red import colour as red\nfrom ..blue import colour\n",
        "balls/workload.py": (
            "from balls.paints import red\nfrom balls.paints import colour as blue\n"
            "from balls import sizes\nPAIR = red(), blue(), sizes.SMALL\n"
        ),
    }
    direct = through | {"balls/workload.py": PACKAGE["balls/workload.py"]}
    assert version_of(through) == version_of(direct)


def test_names_count_where_the_code_composes_them(version_of: Version) -> None:
    files = PACKAGE | {
        "balls/workload.py": "import importlib\nX = importlib.import_module('balls.' + 'red')\n"
    }
    swapped = files | {
        "balls/red.py": PACKAGE["balls/blue.py"],
        "balls/blue.py": PACKAGE["balls/red.py"],
    }
    assert version_of(swapped) != version_of(files)


def test_modules_that_import_each_other_count_like_others(version_of: Version) -> None:
    ring = {
        "balls/workload.py": "from balls import a, c\n",
        "balls/a.py": "from balls import b\ndef f(): return 1\n",
        "balls/b.py": "def f():\n    from balls import c\n    return c\n",
        "balls/c.py": "from balls import a\ndef f(): return 2\n",
    }
    before = version_of(ring)
    renamed = {
        "balls/workload.py": "from balls import z as c, a\n",
        "balls/a.py": ring["balls/a.py"],
        "balls/b.py": "def f():\n    from balls import z as c\n    return c\n",
        "balls/z.py": ring["balls/c.py"],
    }
    assert version_of(renamed) == before
    assert (
        version_of(ring | {"balls/b.py": ring["balls/b.py"].replace("return c", "pass")}) != before
    )
    swapped = ring | {
        "balls/a.py": ring["balls/a.py"].replace("1", "2"),
        "balls/c.py": ring["balls/c.py"].replace("2", "1"),
    }
    assert version_of(swapped) != before


def test_a_compiled_module_counts_byte_by_byte(version_of: Version) -> None:
    files = PACKAGE | {
        "balls/fast.abi3.so": b"\x7fELF 1",
        "balls/workload.py": "from balls import fast\n",
    }
    before = version_of(files)
    assert version_of(files | {"balls/fast.abi3.so": b"\x7fELF 2"}) != before
    assert (
        version_of(files | {"balls/fast.py": "never imported: the compiled one comes first"})
        == before
    )


def test_a_workload_of_one_file_counts_with_what_it_imports_from_beside_it(
    version_of: Version,
) -> None:
    files = {
        "discs.py": "import json\nimport shapes\n",
        "shapes.py": "def area():\n    from tools.maths import pi\n    return pi\n",
        "tools/maths.py": "pi = 3\n",
        "tools/unused.py": "x = 1\n",
        "unrelated.py": "x = 1\n",
    }
    before = version_of(files, "discs")
    assert version_of(files | {"tools/maths.py": "pi = 3.1\n"}, "discs") != before
    assert version_of(files | {"unrelated.py": "x = 2\n", "tools/unused.py": ""}, "discs") == before


def test_a_workload_among_libraries_is_its_file_alone(
    version_of: Version, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr("sysconfig.get_paths", lambda: {"purelib": str(tmp_path / "place")})
    files = {"discs.py": "import shapes\n", "shapes.py": "x = 1\n"}
    before = version_of(files, "discs")
    assert version_of(files | {"shapes.py": "x = 2\n"}, "discs") == before


def test_what_a_setting_does_not_use_is_left_out(version_of: Version) -> None:
    files = PACKAGE | {
        "balls/workload.py": (
            "from balls import sizes\ndef run(name):\n    if name == 'red':\n"
            "        from balls.red import colour\n    else:\n        from balls.blue import colour\n"
        ),
        "balls/red.py": "from .shades import dark\ndef colour(): return dark\n",
        "balls/shades.py": "dark = 1\n",
    }
    red = version_of(files, names=["balls.red"])
    blue = version_of(files, names=["balls.blue"])
    assert red != blue
    edited = files | {"balls/shades.py": "dark = 2\n"}
    assert version_of(edited, names=["balls.red"]) != red
    assert version_of(edited, names=["balls.blue"]) == blue
    edited = files | {"balls/sizes.py": "SMALL = 2\n"}
    assert version_of(edited, names=["balls.red"]) != red
    assert version_of(edited, names=["balls.blue"]) != blue
    assert version_of(files) == version_of(files, names=["balls"])


def test_a_declared_module_that_is_none_is_refused(version_of: Version) -> None:
    says = (
        r"its function code\(\) names 'balls.green', and there is no such module; correct the name"
    )
    with pytest.raises(InputError, match=says) as caught:
        version_of(PACKAGE, names=["balls.red", "balls.green"])
    assert "\n" not in str(caught.value)


def test_a_workload_without_a_file_is_refused() -> None:
    with pytest.raises(InputError, match=r"workload 'nowhere.at_all': its file is not found; give"):
        CodeVersions("nowhere.at_all", lambda params: None).of({})


def test_code_that_does_not_parse_counts_as_it_is(version_of: Version) -> None:
    files = PACKAGE | {"balls/draft.py": "def (:"}
    assert version_of(files) != version_of(files | {"balls/draft.py": "def (;"})


def test_deep_code_is_read() -> None:
    deep = "x = " + " + ".join(["1"] * 3000)
    assert form_of(deep.encode()) != form_of(deep.replace("1 +", "2 +", 1).encode())


def test_each_python_gives_the_stored_digest() -> None:
    source = NASTY.read_bytes()
    assert form_of(source).by_name == NASTY_DIGEST
    assert form_of(source) != compiled_form(source)
    assert len(form_of(source).blocks) == 3


def digests_under(python: str) -> list[str]:
    code = (
        "import sys; sys.path.insert(0, sys.argv[1])  # the folder: the room needs libraries\n"
        "from pathlib import Path\n"
        "from code_digest import form_of\n"
        "for name in sys.argv[2:]:\n"
        "    print(form_of(Path(name).read_bytes()).by_name)\n"
    )
    files = [*(ROOT / "harness").rglob("*.py"), *(ROOT / "gcudml").rglob("*.py")]
    command = [
        python,
        "-I",
        "-c",
        code,
        str(Path(code_digest.__file__).parent),
        *map(str, [NASTY, *sorted(files)]),
    ]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.split()


def interpreter(name: str) -> str | None:
    """A Python of this version, from ``PATH`` or pyenv, that starts."""
    found = [shutil.which(f"python{name}")]
    found += [str(path) for path in Path.home().glob(f".pyenv/versions/{name}.*/bin/python")]
    for path in filter(None, found):
        done = subprocess.run([path, "-c", "import ast"], capture_output=True)
        if done.returncode == 0:
            return path
    return None


@pytest.mark.process
@pytest.mark.parametrize("name", OTHERS)
@pytest.mark.timeout(120)
def test_another_python_gives_the_same_digests(name: str) -> None:
    python = interpreter(name)
    if python is None:
        pytest.skip(f"no Python {name} on PATH or below ~/.pyenv")
    found = digests_under(python)
    assert found[0] == NASTY_DIGEST
    assert found == digests_under(sys.executable)
