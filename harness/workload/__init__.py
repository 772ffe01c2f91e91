"""The interface between the harness and a workload, and the version of the workload's code."""

from harness.workload.border import JsonValue, Params, Report, Workload, load_workload

__all__ = ["JsonValue", "Params", "Report", "Workload", "load_workload"]
