"""The page of the architecture shows the house as it is: layers, imports, rooms and their sentences."""

from __future__ import annotations

import ast
import importlib.util
import sys
from types import ModuleType

import pytest
from roots import ROOT

PAGE = ROOT / "docs" / "architecture.md"
REMEDY = "the house has changed: run python docs/draw_layers.py"


@pytest.fixture(scope="module")
def draw() -> ModuleType:
    path = ROOT / "docs" / "draw_layers.py"
    spec = importlib.util.spec_from_file_location("draw_layers", path)
    module = importlib.util.module_from_spec(spec)
    sys.modules["draw_layers"] = module  # its dataclasses look their annotations up there
    spec.loader.exec_module(module)
    return module


def test_the_picture_is_what_the_script_draws(draw: ModuleType) -> None:
    assert draw.picture(draw.read_house()) == draw.PICTURE.read_text(encoding="utf-8"), REMEDY


def test_the_tables_are_what_the_script_writes(draw: ModuleType) -> None:
    page = PAGE.read_text(encoding="utf-8")
    assert draw.filled(page, draw.read_house()) == page, REMEDY


def test_every_room_is_named_with_its_sentence() -> None:
    page = PAGE.read_text(encoding="utf-8")
    rooms = [
        init for name in ("harness", "gcudml") for init in (ROOT / name).glob("*/**/__init__.py")
    ]
    assert len(rooms) > 25
    for init in rooms:
        docstring = ast.get_docstring(ast.parse(init.read_text(encoding="utf-8"))) or ""
        sentence = " ".join(docstring.partition("\n\n")[0].split())
        path = init.parent.relative_to(ROOT).as_posix()
        assert f"](../{path}) | {sentence} |" in page, REMEDY


def test_no_arrow_leads_up_or_sideways(draw: ModuleType) -> None:
    house = draw.read_house()
    level = {
        room.name: number
        for layers in house.layers.values()
        for number, row in enumerate(layers)
        for room in row
    }
    assert house.imports
    assert all(level[source] < level[target] for source, target in house.imports)


def test_an_import_that_follows_from_others_is_left_out(draw: ModuleType) -> None:
    edges = {("a", "b"), ("b", "c"), ("a", "c"), ("a", "d")}
    assert draw.reduced(edges) == {("a", "b"), ("b", "c"), ("a", "d")}


def test_rooms_keep_their_order_and_do_not_touch(draw: ModuleType) -> None:
    widths = {"a": 100.0, "b": 60.0, "c": 80.0}
    x = draw.place(["a", "b", "c"], dict.fromkeys(widths, 300.0), widths)
    assert x["b"] - x["a"] == pytest.approx(80 + draw.GAP)
    assert x["c"] - x["b"] == pytest.approx(70 + draw.GAP)
    assert sum(x.values()) / 3 == pytest.approx(300)  # together they stay where they want to be
    far = draw.place(["a", "b", "c"], dict.fromkeys(widths, 10_000.0), widths)
    assert far["c"] + widths["c"] / 2 == pytest.approx(draw.RIGHT)
