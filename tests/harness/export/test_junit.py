"""JUnit XML of claims that no XML could hold as they are."""

from __future__ import annotations

from pathlib import Path
from xml.etree import ElementTree

from harness.export.junit import write_junit
from harness.records.studies.claims import Claim
from harness.report.data.evidence.claims import ClaimFinding
from harness.store.tables.claims import Pairs, judged


def test_control_characters_and_markup_in_labels_give_valid_xml(tmp_path: Path) -> None:
    claim = Claim("a\x01<b>&\ud800", "better_than", '"c"', "recall@1", 0.0)
    (result,) = judged([claim], [Pairs([0.1] * 8, 8, 8)])
    write_junit(tmp_path / "claims.xml", "s", [ClaimFinding(claim, None, result)])
    (case,) = ElementTree.parse(tmp_path / "claims.xml").getroot()[0]
    name = case.attrib["name"].replace("\N{REPLACEMENT CHARACTER}", "?")
    assert name.startswith(
        "\N{LEFT DOUBLE QUOTATION MARK}a?<b>&?\N{RIGHT DOUBLE QUOTATION MARK} is "
    )
    assert [child.tag for child in case] == ["system-out"]
