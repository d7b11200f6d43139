"""The images that the node runs, as archives: those of deploy/Dockerfile, and the one that holds a pod's namespaces.

Source: the image format of `docker save`, which containerd takes: github.com/moby/moby image/spec.
"""

import hashlib
import io
import json
import tarfile
from pathlib import Path

from tests.cluster.node import PAUSE_IMAGE


def pause_archive(program: Path, path: Path) -> Path:
    """Write an image to `path` that contains nothing but this static program. Returns: path."""
    layer = io.BytesIO()
    with tarfile.open(fileobj=layer, mode="w") as files:
        files.addfile(_entry("pause", program.stat().st_size, 0o755), io.BytesIO(program.read_bytes()))
    content = layer.getvalue()
    config = {
        "architecture": "amd64",
        "os": "linux",
        "config": {"Entrypoint": ["/pause"], "User": "65535:65535"},
        "rootfs": {"type": "layers", "diff_ids": [f"sha256:{hashlib.sha256(content).hexdigest()}"]},
    }
    manifest = [{"Config": "config.json", "RepoTags": [PAUSE_IMAGE], "Layers": ["layer.tar"]}]
    with tarfile.open(path, "w") as archive:
        for name, data in (
            ("layer.tar", content),
            ("config.json", json.dumps(config).encode()),
            ("manifest.json", json.dumps(manifest).encode()),
        ):
            archive.addfile(_entry(name, len(data), 0o644), io.BytesIO(data))
    return path


def _entry(name: str, size: int, mode: int) -> tarfile.TarInfo:
    entry = tarfile.TarInfo(name)
    entry.size, entry.mode = size, mode
    return entry
