"""The certificates of the cluster, and the kubeconfig files that name them: one authority for everything.

Source: kubernetes.io/docs "PKI certificates and requirements": the names and groups that the programs must have.
"""

import base64
import json
from pathlib import Path

import trustme
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

_NO_HOST = "client.invalid"  # of a client: Go refuses a certificate with an empty list of host names


class Authority:
    """A certificate authority, whose files are in one directory."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        directory.mkdir(parents=True, exist_ok=True)
        self._authority = trustme.CA()
        self.certificate = directory / "ca.crt"
        self._authority.cert_pem.write_to_path(self.certificate)

    def issue(self, name: str, common_name: str, group: str, *addresses: str) -> tuple[Path, Path]:
        """Return the files of a certificate and its key. `addresses`: host names and IP addresses of a server."""
        hosts = addresses or (_NO_HOST,)
        issued = self._authority.issue_cert(*hosts, common_name=common_name, organization_name=group)
        certificate, key = (self._directory / f"{name}.{ending}" for ending in ("crt", "key"))
        certificate.write_bytes(b"".join(blob.bytes() for blob in issued.cert_chain_pems))
        issued.private_key_pem.write_to_path(key)
        return certificate, key

    def signing_key(self, name: str) -> Path:
        """Return the file of a private key that signs the tokens of service accounts."""
        path = self._directory / name
        key = ec.generate_private_key(ec.SECP256R1())
        path.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.TraditionalOpenSSL, NoEncryption()))
        return path

    def kubeconfig(self, name: str, server: str, common_name: str, group: str) -> Path:
        """Return the file with which a client of this name reaches the API server at the URL `server`."""
        certificate, key = (_base64(path) for path in self.issue(name, common_name, group))
        user = {"client-certificate-data": certificate, "client-key-data": key}
        cluster = {"server": server, "certificate-authority-data": _base64(self.certificate)}
        path = self._directory / f"{name}.kubeconfig"
        path.write_text(
            json.dumps(
                {
                    "apiVersion": "v1",
                    "kind": "Config",
                    "clusters": [{"name": "tests", "cluster": cluster}],
                    "users": [{"name": name, "user": user}],
                    "contexts": [{"name": "tests", "context": {"cluster": "tests", "user": name}}],
                    "current-context": "tests",
                }
            )
        )
        return path


def _base64(path: Path) -> str:
    return base64.b64encode(path.read_bytes()).decode()
