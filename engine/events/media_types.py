"""The media types of CloudEvents in JSON. Source: CloudEvents 1.0.2, JSON event format and HTTP protocol binding."""

SINGLE = "application/cloudevents+json"


BATCH = "application/cloudevents-batch+json"
