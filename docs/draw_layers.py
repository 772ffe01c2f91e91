"""Draw the layers and rooms of both packages, from the contracts and from the imports.

    python docs/draw_layers.py

writes ``docs/layers.svg`` and the tables of rooms in ``docs/architecture.md``. Layers are those of
the import-linter contracts in ``pyproject.toml``, arrows are imports as import-linter sees them,
sentences are the docstrings of the rooms: nothing in the picture is written by hand, so that it
cannot become wrong. The same code gives the same bytes.

The layout is that of Sugiyama: an arrow over several layers keeps a lane of its own in each of
them, the order within a layer is the one with the fewest crossings that a few sweeps find, and
every layer is then placed as near to its neighbours as its widths allow.
"""

from __future__ import annotations

import ast
import random
import re
import sys
import tomllib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from xml.sax.saxutils import escape

import grimp

ROOT = Path(__file__).resolve().parent.parent
PICTURE = ROOT / "docs" / "layers.svg"
PAGE = ROOT / "docs" / "architecture.md"
PACKAGES = ("harness", "gcudml")
BORDER = ("harness.workload", "gcudml.workload")
"""The two modules that meet without an import: a study names the second, the first loads it."""

WIDTH = 720
LEFT, RIGHT = 56, WIDTH - 32
"""Between them lie rooms and lanes."""
MIDDLE = (LEFT + RIGHT) / 2
TO_THE_MIDDLE = 0.3
"""How much a neighbour's pull the middle of the picture has: else it leans to one side."""
PITCH = 80
"""From one layer to the next, in pixels."""
HEIGHT = 46
"""Of a room, in pixels."""
LANE = 12
"""Width of an arrow that passes a layer, in pixels."""
GAP = 22
"""Between neighbours in a layer, in pixels."""
HEADING = 40
"""Above the first layer of a package, in pixels."""
BETWEEN = 64
"""From one package's last layer to the frame of the next package, in pixels."""
STARTS = 60
"""Orders that the sweeps start from."""

Edge = tuple[str, str]


@dataclass(frozen=True, slots=True)
class Room:
    """A room, or a module that is one by itself."""

    name: str
    """Dotted, with the package."""
    sentence: str
    inner: tuple[Room, ...] = ()
    """The rooms within it."""

    @property
    def title(self) -> str:
        """Its name inside its package."""
        return self.name.partition(".")[2]

    @property
    def width(self) -> float:
        """Of its box, in pixels: as wide as its longest line."""
        return max(84.0, 11.5 * len(self.title) + 30, 7.4 * len(self.inner_names) + 26)

    @property
    def inner_names(self) -> str:
        """The rooms within it, as its second line."""
        return " · ".join(room.title.rpartition(".")[2] for room in self.inner)


@dataclass(frozen=True, slots=True)
class House:
    """What is drawn."""

    layers: Mapping[str, Sequence[Sequence[Room]]]
    """Package -> its layers from the top, each with its rooms."""
    imports: frozenset[Edge]
    """Which room imports which; what follows from other imports is left out."""


def read_house(root: Path = ROOT) -> House:
    """The rooms by layer, and what they import from each other."""
    settings = tomllib.loads((root / "pyproject.toml").read_text(encoding="utf-8"))
    contracts = settings["tool"]["importlinter"]["contracts"]
    layers, imports = {}, set()
    for package in PACKAGES:
        (written,) = [c["layers"] for c in contracts if c.get("containers") == [package]]
        names = [re.findall(r"\w+", layer) for layer in written]
        layers[package] = [
            [read_room(root, f"{package}.{name}") for name in layer]
            for layer in names
            if not layer[0].startswith("_")  # __main__ is an entry, no room
        ]
        rooms = {room.name for layer in layers[package] for room in layer}
        imports |= reduced(imports_between(package, rooms))
    return House(layers, frozenset(imports))


def read_room(root: Path, name: str) -> Room:
    """A room with its sentence and the rooms within it."""
    folder = root.joinpath(*name.split("."))
    file = folder / "__init__.py" if folder.is_dir() else folder.with_suffix(".py")
    docstring = ast.get_docstring(ast.parse(file.read_text(encoding="utf-8"))) or ""
    inner = sorted(path.parent.name for path in folder.glob("*/__init__.py"))
    return Room(
        name,
        " ".join(docstring.partition("\n\n")[0].split()),
        tuple(read_room(root, f"{name}.{each}") for each in inner),
    )


def imports_between(package: str, rooms: Iterable[str]) -> set[Edge]:
    """Which room of a package imports which other."""
    graph = grimp.build_graph(package, cache_dir=None)
    rooms = set(rooms)
    for room in rooms:
        if graph.find_children(room):
            graph.squash_module(room)
    return {
        (room, imported)
        for room in rooms
        for imported in graph.find_modules_directly_imported_by(room)
        if imported in rooms and imported != room
    }


def reduced(edges: set[Edge]) -> set[Edge]:
    """The edges that do not follow from others: a picture of all of them shows none."""

    def leads(start: str, end: str, without: Edge) -> bool:
        return any(
            target == end or leads(target, end, without)
            for source, target in edges
            if source == start and (source, target) != without
        )

    return {edge for edge in edges if not leads(*edge, without=edge)}


# Layout


@dataclass(slots=True)
class Plan:
    """Where each room and each lane of an arrow lies."""

    rows: list[list[str]]
    """Rooms and lanes by layer, from left to right."""
    widths: Mapping[str, float]
    chains: Mapping[Edge, Sequence[str]]
    """Arrow -> its rooms and the lanes between them."""
    x: dict[str, float]
    """The middle of each."""


def lay_out(rows: Sequence[Sequence[Room]], edges: Iterable[Edge]) -> Plan:
    """Order and place all rooms so that few arrows cross and most are straight."""
    level = {room.name: number for number, row in enumerate(rows) for room in row}
    widths = {room.name: room.width for row in rows for room in row}
    names = [[room.name for room in row] for row in rows]
    chains = {}
    for source, target in sorted(edges, key=lambda e: (level[e[0]], e)):
        lanes = [
            f"{source}>{target}@{number}" for number in range(level[source] + 1, level[target])
        ]
        for number, lane in enumerate(lanes, level[source] + 1):
            widths[lane] = LANE
            names[number].append(lane)
        chains[source, target] = [source, *lanes, target]
    return min(
        (sweep(Plan(shuffled(names, start), widths, chains, {})) for start in range(STARTS)),
        key=cost,
    )


def shuffled(rows: Sequence[Sequence[str]], start: int) -> list[list[str]]:
    """The rows in an order to start from; the same number gives the same order."""
    chance = random.Random(start)
    return [chance.sample(row, len(row)) for row in rows]


def sweep(plan: Plan) -> Plan:
    """Sort each row by its neighbours above, then below, a few times, and place it."""
    above: dict[str, list[str]] = {name: [] for row in plan.rows for name in row}
    below: dict[str, list[str]] = {name: [] for row in plan.rows for name in row}
    for chain in plan.chains.values():
        for upper, lower in pairwise(chain):
            below[upper].append(lower)
            above[lower].append(upper)
    for row in plan.rows:
        plan.x |= place(row, dict.fromkeys(row, MIDDLE), plan.widths)
    for turn in range(12):
        down = turn % 2 == 0
        for row in plan.rows if down else reversed(plan.rows):
            wanted = {name: mean_x(plan, name, (above if down else below)[name]) for name in row}
            row.sort(key=wanted.__getitem__)
            plan.x |= place(row, wanted, plan.widths)
    for _ in range(12):  # the order stands: now straighten
        for row in plan.rows:
            wanted = {name: mean_x(plan, name, above[name] + below[name]) for name in row}
            plan.x |= place(row, wanted, plan.widths)
    return plan


def mean_x(plan: Plan, name: str, neighbours: Sequence[str]) -> float:
    """Where something would lie best: amid its neighbours, a room a little towards the middle."""
    found = [plan.x[each] for each in neighbours or [name]]
    pull = 0.0 if plan.widths[name] == LANE else TO_THE_MIDDLE
    return (sum(found) + pull * MIDDLE) / (len(found) + pull)


def place(
    row: Sequence[str], wanted: Mapping[str, float], widths: Mapping[str, float]
) -> dict[str, float]:
    """The places nearest to the wanted ones that keep the order and the gaps of a row.

    Least squares under an order is isotonic regression, once widths are taken off.
    """
    offsets = [0.0]
    for left, right in pairwise(row):
        offsets.append(offsets[-1] + (widths[left] + widths[right]) / 2 + GAP)
    blocks: list[tuple[float, int]] = []  # mean of what lies side by side, and how many
    for name, offset in zip(row, offsets, strict=True):
        value, count = wanted[name] - offset, 1
        while blocks and blocks[-1][0] > value:
            other, size = blocks.pop()
            value = (value * count + other * size) / (count + size)
            count += size
        blocks.append((value, count))
    least = LEFT + widths[row[0]] / 2
    most = RIGHT - widths[row[-1]] / 2 - offsets[-1]
    flat = [min(max(value, least), most) for value, count in blocks for _ in range(count)]
    return {name: at + off for name, at, off in zip(row, flat, offsets, strict=True)}


def cost(plan: Plan) -> tuple[int, float]:
    """Crossings, and how far arrows go sideways."""
    segments: dict[int, list[tuple[float, float]]] = {}
    level = {name: number for number, row in enumerate(plan.rows) for name in row}
    for chain in plan.chains.values():
        for upper, lower in pairwise(chain):
            segments.setdefault(level[upper], []).append((plan.x[upper], plan.x[lower]))
    crossings = sum(
        (a[0] - b[0]) * (a[1] - b[1]) < 0
        for row in segments.values()
        for number, a in enumerate(row)
        for b in row[:number]
    )
    sideways = sum(abs(upper - lower) for row in segments.values() for upper, lower in row)
    return crossings, round(sideways, 3)


# Drawing

STYLE = """
svg { font-family: system-ui, -apple-system, "Segoe UI", "DejaVu Sans", sans-serif; }
.ground { fill: #ffffff; } .frame { fill: #f3f5f8; }
.room { fill: #ffffff; stroke-width: 2; }
.harness .room { stroke: #0072b2; } .gcudml .room { stroke: #009e73; }
.name { font-size: 20px; font-weight: 600; fill: #14181d; text-anchor: middle; }
.inner { font-size: 14px; fill: #56606b; text-anchor: middle; }
.number { font-size: 16px; fill: #8b95a1; text-anchor: middle; }
.package { font-size: 20px; font-weight: 700; }
.harness .package { fill: #0072b2; } .gcudml .package { fill: #007a59; }
.import { fill: none; stroke: #8b95a1; stroke-width: 2; } .head { fill: #8b95a1; }
.border { fill: none; stroke: #d55e00; stroke-width: 2.5; stroke-dasharray: 3 5;
  stroke-linecap: round; }
.said { font-size: 16px; fill: #b84f00; }
@media (prefers-color-scheme: dark) {
.ground { fill: #0d1117; } .frame { fill: #161b22; } .room { fill: #0d1117; }
.name { fill: #f0f3f6; } .inner { fill: #9aa5b1; } .number { fill: #7d8793; }
.harness .room { stroke: #56b4e9; } .gcudml .room { stroke: #3fbf95; }
.harness .package { fill: #56b4e9; } .gcudml .package { fill: #3fbf95; }
.said { fill: #ff9a52; } .border { stroke: #ff9a52; }
}
"""


def picture(house: House) -> str:
    """The house as SVG."""
    rows = [row for package in PACKAGES for row in house.layers[package]]
    plan = lay_out(rows, [*house.imports, BORDER])
    tops, end = heights(house)
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {end}" width="{WIDTH}" '
        f'height="{end}" role="img" aria-labelledby="title">',
        '<title id="title">Layers and rooms of harness and gcudml</title>',
        f"<style>{STYLE}</style>",
        '<defs><marker id="head" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="9" '
        'markerHeight="9" markerUnits="userSpaceOnUse" orient="auto">'
        '<path class="head" d="M0 0.5 8 4 0 7.5Z"/></marker></defs>',
        f'<rect class="ground" width="{WIDTH}" height="{end}"/>',
    ]
    first = 0
    for package in PACKAGES:
        count = len(house.layers[package])
        top, bottom = tops[first] - HEADING, tops[first + count - 1] + HEIGHT + 18
        parts.append(
            f'<g class="{package}"><rect class="frame" x="8" y="{top}" width="{WIDTH - 16}" '
            f'height="{bottom - top}" rx="12"/>'
            f'<text class="package" x="22" y="{top + 28}">{package}</text></g>'
        )
        first += count
    parts += arrows(plan, tops)
    said = tops[len(house.layers["harness"])] - HEADING - (BETWEEN - 18) / 2 + 5
    lane = plan.x[plan.chains[BORDER][-2]]
    side, anchor = (-14, "end") if lane > MIDDLE else (14, "start")
    parts.append(
        f'<text class="said" x="{lane + side:.0f}" y="{said:.0f}" text-anchor="{anchor}">'
        "the border: plain values and files, no import</text>"
    )
    first = 0
    for package in PACKAGES:
        layers = house.layers[package]
        parts.append(f'<g class="{package}">')
        for number, row in enumerate(layers):
            top = tops[first + number]
            parts.append(
                f'<text class="number" x="30" y="{top + HEIGHT / 2 + 6:.0f}">{number + 1}</text>'
            )
            parts += [box(room, plan.x[room.name], top) for room in row]
        parts.append("</g>")
        first += len(layers)
    return "\n".join([*parts, "</svg>"]) + "\n"


def heights(house: House) -> tuple[list[int], int]:
    """The top of each layer, and the height of the whole picture."""
    tops, y = [], 8
    for package in PACKAGES:
        y += HEADING
        for _ in house.layers[package]:
            tops.append(y)
            y += PITCH
        y += BETWEEN - (PITCH - HEIGHT)
    return tops, tops[-1] + HEIGHT + 26


def box(room: Room, x: float, top: int) -> str:
    """A room with its name, the names of the rooms within it, and its sentence as a tooltip."""
    inner = room.inner_names
    line = top + (21 if inner else 30)
    second = f'<text class="inner" x="{x:.0f}" y="{line + 17}">{escape(inner)}</text>'
    return (
        f"<g><title>{escape(room.sentence)}</title>"
        f'<rect class="room" x="{x - room.width / 2:.0f}" y="{top}" width="{room.width:.0f}" '
        f'height="{HEIGHT}" rx="8"/>'
        f'<text class="name" x="{x:.0f}" y="{line}">{escape(room.title)}</text>'
        f"{second if inner else ''}</g>"
    )


def arrows(plan: Plan, tops: Sequence[int]) -> list[str]:
    """A line for each import, and the border."""
    level = {name: number for number, row in enumerate(plan.rows) for name in row}
    starts = ports(plan, [(chain[0], chain[1], edge) for edge, chain in plan.chains.items()])
    ends = ports(plan, [(chain[-1], chain[-2], edge) for edge, chain in plan.chains.items()])
    drawn = []
    for edge, chain in plan.chains.items():
        x, y = starts[edge], tops[level[chain[0]]] + HEIGHT
        path = f"M{x:.0f} {y}"
        for name in chain[1:]:
            top = tops[level[name]]
            is_end = name == chain[-1]
            to_x, to_y = (ends[edge], top - 1) if is_end else (plan.x[name], top)
            middle = (y + to_y) / 2
            path += f"C{x:.0f} {middle:.0f} {to_x:.0f} {middle:.0f} {to_x:.0f} {to_y}"
            x, y = to_x, top + HEIGHT
            if not is_end:
                path += f"V{y}"
        if edge == BORDER:
            drawn.append(f'<path class="border" d="{path}"/>')
        else:
            drawn.append(f'<path class="import" d="{path}" marker-end="url(#head)"/>')
    return drawn


def ports(plan: Plan, leaving: Iterable[tuple[str, str, Edge]]) -> dict[Edge, float]:
    """Where arrows touch a room: side by side, in the order of where they go."""
    by_room: dict[str, list[tuple[float, Edge]]] = {}
    for room, towards, edge in leaving:
        by_room.setdefault(room, []).append((plan.x[towards], edge))
    found = {}
    for room, touching in by_room.items():
        step = min(22.0, (plan.widths[room] - 24) / max(1, len(touching) - 1))
        for place_of, (_, edge) in enumerate(sorted(touching)):
            found[edge] = plan.x[room] + step * (place_of - (len(touching) - 1) / 2)
    return found


# The page


def with_inner(room: Room) -> list[Room]:
    """The room and those within it, at any depth."""
    return [room, *(each for inner in room.inner for each in with_inner(inner))]


def table(layers: Sequence[Sequence[Room]]) -> str:
    """The rooms of a package by layer, in Markdown."""
    lines = ["| layer | room | what it is for |", "| --- | --- | --- |"]
    for number, row in enumerate(layers, 1):
        for room in row:
            path = ROOT.joinpath(*room.name.split("."))
            suffix = "" if path.is_dir() else ".py"
            lines += [
                f"| {number} | [`{each.title.replace('.', '/')}{suffix}`]"
                f"(../{each.name.replace('.', '/')}{suffix}) | {each.sentence} |"
                for each in with_inner(room)
            ]
    return "\n".join(lines)


def filled(page: str, house: House) -> str:
    """The page with its tables as the house is."""
    for package, layers in house.layers.items():
        start, end = f"<!-- rooms: {package} -->\n", "\n<!-- end -->"
        before, _, rest = page.partition(start)
        page = before + start + table(layers) + end + rest.partition(end)[2]
    return page


def main() -> None:
    """Write the picture and the tables of the page."""
    house = read_house()
    PICTURE.write_text(picture(house), encoding="utf-8")
    PAGE.write_text(filled(PAGE.read_text(encoding="utf-8"), house), encoding="utf-8")


if __name__ == "__main__":
    sys.path.insert(0, str(ROOT))  # the packages of this checkout, wherever it is called from
    main()
