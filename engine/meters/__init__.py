"""Meters: how one is defined, which tables and views belong to it, and which states it goes through."""
