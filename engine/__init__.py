"""What a meter is, how its usage is stored and asked for. Knows neither Kafka nor HTTP."""

__version__ = "0.1.0"
