"""Topics that are as docs/operations.md "The topic" wants them, on the broker of this folder."""

from tests.harness.broker import Broker, create_topic
from tests.harness.topics import Topic

DAY_MS = 86_400_000
ONE_BROKER = {"topic replicas"}  # there is only one broker, so that this warning is always given


def good_topic(process: Broker, partitions: int, **options: str) -> Topic:
    """Create a topic. Args: options: those that are not as they should be, with _ for a dot."""
    made = Topic(process.bootstrap, partitions)
    named = {name.replace("_", "."): value for name, value in options.items()}
    create_topic(process.bootstrap, made.name, partitions, {"retention.ms": str(8 * DAY_MS)} | named)
    return made
