"""The workloads, as `orch` runs them. ``python -m benchmarks.workloads NAME`` runs one in this process."""
