"""The border: what the harness asks of a workload, and which code of it counts."""

from harness.workload.border import JsonValue, Params, Report, Workload, load_workload

__all__ = ["JsonValue", "Params", "Report", "Workload", "load_workload"]
