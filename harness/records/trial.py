"""Trials and runs, and their ids.

An id is derived from content: equal parameters, seed, code and data give the same run id in any
study.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from harness.workload import JsonValue

Phase = Literal["search", "confirm"]
Role = Literal["trial", "baseline", "control"]


@dataclass(frozen=True, slots=True)
class Trial:
    """One parameter setting of a study."""

    study: str
    number: int
    """Position in the study, from 0; controls come last."""
    label: str
    """Name in tables, such as ``teacher_momentum=0.9``, ``no-groups`` or ``raw pixels``."""
    phase: Phase
    """``search``: scored on validation classes only. ``confirm``: scored on test classes, too."""
    role: Role
    variant: str | None
    varied: Mapping[str, JsonValue]
    """Dotted key -> value of the parameters that differ between the trials of the study; of an
    ablation: component -> whether it is on."""
    params: Mapping[str, JsonValue]
    """All parameters, as the workload's ``check`` returned them."""

    @property
    def trial_id(self) -> str:
        """Twelve hex digits, equal for the same setting of the same study."""
        return digest([self.study, self.phase, self.params])[:12]


@dataclass(frozen=True, slots=True)
class Run:
    """One trial with one seed: the unit that is trained, cached and resumed."""

    workload: str
    params: Mapping[str, JsonValue]
    seed: int
    test: bool
    """Whether the run may be scored on the test classes."""
    code: str
    """Digest of the workload's code."""
    data: str
    """Digest of the data, as given by the workload."""

    @property
    def run_id(self) -> str:
        """Sixteen hex digits of the digest of all fields."""
        return digest([self.workload, self.params, self.seed, self.test, self.code, self.data])[:16]


def seed_text(seed: int, fold: int) -> str:
    """Name a seed for readers, with the fold if the training data are cut: ``3``, ``3, fold 2``."""
    return f"{seed}, fold {fold}" if fold else str(seed)


def flat(params: Mapping[str, JsonValue], prefix: str = "") -> dict[str, JsonValue]:
    """Nested parameters by their dotted keys; lists and empty mappings stay whole."""
    found: dict[str, JsonValue] = {}
    for key, value in params.items():
        if isinstance(value, dict) and value:
            found |= flat(value, f"{prefix}{key}.")
        else:
            found[prefix + key] = value
    return found


def flat_set(params: Mapping[str, JsonValue]) -> dict[str, JsonValue]:
    """``flat`` without what is null or an empty mapping: neither sets anything."""
    return {key: value for key, value in flat(params).items() if value is not None and value != {}}


def digest(value: object) -> str:
    """Compute the SHA-256 of the canonical JSON of ``value``, in which key order is irrelevant."""
    canonical = json.dumps(value, sort_keys=True, separators=(",", ":"), default=dict)
    return hashlib.sha256(canonical.encode()).hexdigest()
