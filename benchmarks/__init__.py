"""Workloads measured in fresh processes, as ratios against a floor and other engines in the same run: `make bench`."""
