"""Whether tests run in their long form, for hours, with thousands of cases and hundreds of kills."""

import os

LONG = os.environ.get("METERPORT_TEST_LONG") == "1"
