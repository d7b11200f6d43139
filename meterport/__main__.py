"""`python -m meterport`."""

from meterport import main

main()
