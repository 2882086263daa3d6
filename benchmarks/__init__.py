"""Benchmarks: the cost of a call and the effect of faults, compared with other clients."""
