"""Names and expressions of PromQL for the metrics in engine/metrics.py: a metric that is renamed fails the build."""

from prometheus_client.metrics import MetricWrapperBase

SELECTED = 'job=~"$job",instance=~"$instance"'  # what the variables of the dashboard select


def name(metric: MetricWrapperBase) -> str:
    """Return the name under which Prometheus stores a counter or a gauge, or the prefix of a histogram's names."""
    [family] = metric.describe()
    return f"{family.name}_total" if family.type == "counter" else family.name


def selected(metric: MetricWrapperBase, suffix: str = "") -> str:
    """Return the series of a metric on the selected instances. Args: suffix: of the name, for parts of a histogram."""
    return f"{name(metric)}{suffix}{{{SELECTED}}}"


def rate(metric: MetricWrapperBase, by: str = "") -> str:
    """Return the rate of a counter per second, summed over all instances but for the labels in `by`."""
    return f"{_sum(by)}(rate({selected(metric)}[$__rate_interval]))"


def increase(metric: MetricWrapperBase, by: str = "") -> str:
    """Return by how much a counter rises between two points of a panel, summed like in `rate`."""
    return f"{_sum(by)}(increase({selected(metric)}[$__rate_interval]))"


def total(metric: MetricWrapperBase, by: str = "") -> str:
    """Return the sum of a gauge over all instances but for the labels in `by`."""
    return f"{_sum(by)}({selected(metric)})"


def highest(metric: MetricWrapperBase, by: str) -> str:
    """Return the highest value of a gauge among the series that share the labels in `by`."""
    return f"max by ({by}) ({selected(metric)})"


def quantile(share: float, metric: MetricWrapperBase, by: str = "") -> str:
    """Return a quantile of a histogram, over all instances but for the labels in `by`."""
    grouped = ", ".join(filter(None, ("le", by)))
    rates = f"sum by ({grouped}) (rate({selected(metric, '_bucket')}[$__rate_interval]))"
    return f"histogram_quantile({share:g}, {rates})"


def _sum(by: str) -> str:
    return f"sum by ({by}) " if by else "sum"
