"""The files and variables that a pod's process finds, made in a directory as the kubelet makes them.

Owns: the variables of the image, the ConfigMap's file, and the projected volume with its links: `NAME` leads to
`..data/NAME`, and `..data` to a directory named after an instant.
Source: kubelet's atomic writer of volumes.
"""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from engine.config.files import ENV_PREFIX
from engine.config.settings import setting_names, variable_name
from tests.chart.image import images
from tests.chart.rendering import Object, one

_STRONG_KEY = "q7Jm2-xV9s+Lr4Tb8Wd1"
_SPECIAL = {
    "api_key_sha256": "2c26b46b68ffc68ff99b453c1d30413413422d706483bfa0f98a5e886266e7ae",
    "api_keys": json.dumps([{"name": "producers", "key": _STRONG_KEY[::-1], "scopes": ["ingest"]}]),
    "portal.token_keys": json.dumps([_STRONG_KEY, _STRONG_KEY[::-1]]),
    "kafka.options": json.dumps({"ssl.key.pem": "-----BEGIN-----"}),
    "kafka.topic": "events",
    "kafka.dead_letter_topic": "dead_letters",
    "store.database": "usage",
    "kafka.brokers": "kafka-1:9092,kafka-2:9092",
    "store.url": "https://clickhouse:8443",
    "store.password": "p@:s%/#'\"",
}
SECRET_VALUES = {name: _SPECIAL.get(name, _STRONG_KEY) for name in setting_names()}


class Mounted:
    """What the process of a pod finds. `environment`, `arguments`: with paths into the directory."""

    def __init__(self, objects: list[Object], pod: Object, directory: Path) -> None:
        """Make the files. Args: objects: of the release; pod: the template. Each Secret's value ends in a newline."""
        self.directory = directory
        spec = pod["spec"]
        (container,) = spec["containers"]
        self._paths = {mount["name"]: directory / mount["mountPath"].lstrip("/") for mount in container["volumeMounts"]}
        self._mounts = {mount["name"]: mount["mountPath"] for mount in container["volumeMounts"]}
        for volume in spec["volumes"]:
            if "projected" in volume:
                self._project(volume)
            elif "emptyDir" in volume and volume["name"] in self._paths:
                self._paths[volume["name"]].mkdir(parents=True)
                self._paths[volume["name"]].chmod(0o2777)  # the kubelet's mode, and that of fsGroup
            elif volume["name"] == "config":
                self._write(self._paths["config"], one(objects, "ConfigMap", volume["configMap"]["name"])["data"])
        self.arguments = [self._located(argument) for argument in container["args"]]
        self.command, self.configuration = self.arguments[0], Path(self.arguments[2])
        target = "meterport-embedded" if "data" in self._mounts else "meterport"
        given = {entry["name"]: self._located(entry["value"]) for entry in container.get("env", []) if "value" in entry}
        of_image = {name: value for name, value in images()[target].variables.items() if name.startswith(ENV_PREFIX)}
        self.environment = {name: self._located(value) for name, value in of_image.items()} | given

    def run(self, *more: str) -> subprocess.CompletedProcess[str]:
        """Run what the pod runs until it ends. Args: more: further arguments."""
        kept = {name: value for name, value in os.environ.items() if not name.startswith(ENV_PREFIX)}
        return subprocess.run(
            [sys.executable, "-m", "meterport", *self.arguments, *more],
            env=kept | self.environment,
            capture_output=True,
            text=True,
            check=False,
        )

    def _located(self, value: str) -> str:
        inside = any(value.startswith(path) for path in self._mounts.values())
        return str(self.directory / value.lstrip("/")) if inside else value

    def _project(self, volume: dict[str, Any]) -> None:
        settings = {variable_name(name): name for name in setting_names()}
        self.keys = {
            item["path"]: (source["secret"]["name"], item["key"])
            for source in volume["projected"]["sources"]
            for item in source["secret"]["items"]
        }
        values = {path: SECRET_VALUES.get(settings.get(path, ""), "-----BEGIN-----") + "\n" for path in self.keys}
        self._write(self._paths[volume["name"]], values)

    @staticmethod
    def _write(directory: Path, files: dict[str, str]) -> None:
        of_instant = directory / "..2026_11_30_12_00_00.123456789"
        of_instant.mkdir(parents=True)
        (directory / "..data").symlink_to(of_instant.name)
        for name, text in files.items():
            (of_instant / name).write_text(text, encoding="utf-8")
            (directory / name).symlink_to(f"..data/{name}")
