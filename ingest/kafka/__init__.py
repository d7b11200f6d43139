"""The event log in production: a topic of Apache Kafka."""
