"""Benchmarks. Compare the ratios of two times of one run: absolute times depend on the machine."""
