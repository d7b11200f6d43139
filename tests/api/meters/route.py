"""The tests of meters share the route, and the form of instants in its answers."""

import re

URL = "/api/v1/meters"
RFC3339 = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d*[1-9])?Z\Z")
