"""The core: what a meter is, and how its usage is stored and queried. It knows neither the event log nor HTTP."""

__version__ = "0.1.0"
