"""The border: what the harness asks of a workload, and which code is part of a run's identity."""

from harness.workload.border import JsonValue, Params, Report, Workload, load_workload

__all__ = ["JsonValue", "Params", "Report", "Workload", "load_workload"]
