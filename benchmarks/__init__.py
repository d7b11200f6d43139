"""Ratios of two things timed in one run, never absolute promises: the machine is shared and noisy."""
