"""How far the pseudo-labels of seeds agree, in the view ``agreement``."""

from __future__ import annotations

import itertools
from pathlib import Path

import pytest
from driver_place import Place
from roots import ROOT
from sklearn.metrics import adjusted_mutual_info_score

from harness.store.database import connect
from harness.store.rebuild import rebuild
from harness.store.tables.computed import label_agreement

PLAIN = "study: dice\nquestion: How good?\nworkload: dice\nseeds: 4\n"
AGREEMENT = "SELECT epoch, seed, other_seed, images, ami FROM agreement ORDER BY ALL"


@pytest.fixture
def place(tmp_path: Path) -> Place:
    place = Place(tmp_path)
    place.run(PLAIN)
    return place


def labels(place: Place) -> dict[int, list[int]]:
    """Seed -> the cluster of each image in epoch 0."""
    rows = place.ask(
        "SELECT seed, cluster, members FROM clusters JOIN member USING (run_id) WHERE epoch = 0"
    )
    found: dict[int, dict[int, int]] = {}
    for seed, cluster, members in rows:
        for image in members:  # type: ignore[attr-defined]  # a list of numbers
            found.setdefault(int(str(seed)), {})[image] = int(str(cluster))
    return {seed: [one[image] for image in range(12)] for seed, one in found.items()}


def test_every_pair_of_seeds_is_compared_in_every_epoch(place: Place) -> None:
    found = {tuple(row[:3]): row[3:] for row in place.ask(AGREEMENT)}
    pairs = list(itertools.combinations(range(4), 2))
    assert list(found) == [(epoch, *pair) for epoch in (0, 1) for pair in pairs]
    known = labels(place)
    for one, other in pairs:
        expected = adjusted_mutual_info_score(known[one], known[other])
        assert found[0, one, other] == (12, pytest.approx(expected, abs=1e-9))
        assert found[1, one, other] == (12, pytest.approx(1.0))


def test_a_further_seed_adds_its_own_pairs_only(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = place.ask(AGREEMENT)
    compared = []
    compute = label_agreement.adjusted_mutual_information
    monkeypatch.setattr(
        label_agreement,
        "adjusted_mutual_information",
        lambda *given: compared.append(given) or compute(*given),
    )
    place.run(PLAIN.replace("seeds: 4", "seeds: 5"), extend=True)
    assert len(compared) == 2 * 4
    after = place.ask(AGREEMENT)
    assert set(before) < set(after)
    assert len(after) == 2 * 10


def test_of_many_clusterings_some_are_compared_and_the_last_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(label_agreement, "MOST_EPOCHS", 1)
    place = Place(tmp_path)
    place.run(PLAIN)
    assert {row[0] for row in place.ask(AGREEMENT)} == {1}


def test_a_rebuilt_database_has_the_same(place: Place) -> None:
    before = place.ask(AGREEMENT)
    (place.results / "results.duckdb").unlink()
    rebuild(place.results)
    assert place.ask(AGREEMENT) == before


def recipe(title: str) -> str:
    readme = (ROOT / "harness" / "README.md").read_text(encoding="utf-8")
    sql = readme.partition(f"**{title}**")[2].partition("```sql\n")[2].partition("```")[0]
    return sql.replace("'momentum'", "'dice'")


def test_the_readme_asks_for_agreement_and_purity_by_size(place: Place) -> None:
    rows = place.ask(recipe("Do seeds find the same clusters?"))
    assert [row[:2] for row in rows] == [("base", 0), ("base", 1)]
    assert rows[1][2:] == (pytest.approx(1.0), pytest.approx(1.0), 6)
    # Four runs, each with three clusters of four images in its last clustering: twelve clusters.
    pure = tuple(pytest.approx(value) for value in (0.6, 0.5, 0.7))
    assert place.ask(recipe("Are large clusters less pure?")) == [("base", 4, 12, 4, *pure)]
    assert place.ask(recipe("Do clusters settle?")) == []  # dice reports no share


def test_sizes_are_classed_by_doubling(place: Place) -> None:
    with connect(place.results, read_only=False) as con:
        con.execute("UPDATE clusters SET size = [0, 7, 8][cluster + 1], purity = cluster / 2")
    found = place.ask("SELECT from_size, clusters, purity FROM purity_by_size ORDER BY ALL")
    assert found == [(4, 4, 0.5), (8, 4, 1.0)]  # an empty cluster is in no class
