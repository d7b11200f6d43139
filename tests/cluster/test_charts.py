"""The copies of the chart that `make cluster` installs differ from it in what they say. CI does not run the cluster."""

from pathlib import Path

import yaml

from tests.chart.schema import CHART
from tests.cluster import charts


def test_the_copy_with_a_surge_updates_ingest_as_api(tmp_path: Path) -> None:
    copy = charts.with_surge(CHART, tmp_path)

    lines = (copy / "templates" / "deployments.yaml").read_text().splitlines()
    assert [line.strip() for line in lines if "maxSurge" in line] == [
        "rollingUpdate: {maxSurge: 1, maxUnavailable: 0}",
        "rollingUpdate: {maxSurge: 1, maxUnavailable: 0}",
    ]


def test_the_older_chart_lacks_one_value_of_the_current_one(tmp_path: Path) -> None:
    old, new = (yaml.safe_load((chart / "values.yaml").read_text()) for chart in (charts.older(CHART, tmp_path), CHART))

    assert new.keys() - old.keys() == {charts.NEW}
