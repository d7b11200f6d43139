"""Meters: their definitions, the tables and views behind each, and the life of a meter."""
