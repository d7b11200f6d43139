"""The composition root and the command line."""


def main() -> None:
    raise SystemExit(0)
