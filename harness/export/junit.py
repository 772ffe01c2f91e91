"""Write the claims of a study as JUnit XML, which CI servers show as tests."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from xml.etree import ElementTree

from harness.records.plain_file import writing
from harness.report.data.evidence.claims import ClaimFinding
from harness.report.findings.claim_lines import claim_line

_NO_XML = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
"""Characters that XML cannot hold, even escaped."""


def write_junit(path: Path, study: str, found: Sequence[ClaimFinding]) -> None:
    """Write a test case per claim: refuted is a failure, undecided is skipped.

    Raises:
        StoreError: the file cannot be written.
    """
    verdicts = [each.result.verdict for each in found]
    suite = ElementTree.Element(
        "testsuite",
        name=study,
        tests=str(len(found)),
        failures=str(verdicts.count("refuted")),
        errors="0",
        skipped=str(verdicts.count("undecided")),
    )
    for each in found:
        case = ElementTree.SubElement(
            suite, "testcase", classname=study, name=_said(each.claim.text)
        )
        line = _said(claim_line(each))
        kind = {"refuted": "failure", "undecided": "skipped"}.get(each.result.verdict)
        if kind is None:
            ElementTree.SubElement(case, "system-out").text = line
        else:
            ElementTree.SubElement(case, kind, message=line)
    whole = ElementTree.Element("testsuites")
    whole.append(suite)
    ElementTree.indent(whole)
    with writing(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        ElementTree.ElementTree(whole).write(path, encoding="utf-8", xml_declaration=True)


def _said(text: str) -> str:
    return _NO_XML.sub("\N{REPLACEMENT CHARACTER}", text)
