"""Connections to a host: what exactly fails, from the name to the certificate.

Owns: the words for it, with what to do. Nothing is sent but a TLS handshake.
Source: OpenSSL's X509_V_ERR codes (x509_vfy.h).
"""

import socket
import ssl

from meterport.doctor.report import Fault

_EXPIRED, _NOT_YET_VALID = 10, 9
_WRONG_HOST = {62, 64}  # HOSTNAME_MISMATCH, IP_ADDRESS_MISMATCH
_UNKNOWN_CA = {18, 19, 20, 21}  # self-signed, or no certificate of the issuer


def connect(host: str, port: int, seconds: float, setting: str) -> socket.socket:
    """Return a connection. Raises: Fault.

    Args: setting: the name of the setting that has this address.
    """
    address = f"{host}:{port}"
    try:
        return socket.create_connection((host, port), seconds)
    except socket.gaierror as error:
        raise Fault(
            f"{setting}: no address is known for the host {host} ({error.strerror}): correct the host name, or "
            "its DNS entry"
        ) from None
    except ConnectionRefusedError:
        raise Fault(
            f"{setting}: {address} refuses the connection: nothing listens there: correct the address, or start the "
            "server"
        ) from None
    except TimeoutError:
        raise Fault(
            f"{setting}: {address} did not answer in {seconds:g} seconds: look for a firewall, a network policy or a "
            "wrong address"
        ) from None
    except (OSError, UnicodeError) as error:
        raise Fault(f"{setting}: {address} cannot be reached: {error}") from None


def check_tls(connection: socket.socket, host: str, context: ssl.SSLContext, ca_setting: str, setting: str) -> None:
    """Check the certificate of the other side. Raises: Fault.

    Args: ca_setting: the setting that names the CA. setting: the setting that has the address.
    """
    try:
        with context.wrap_socket(connection, server_hostname=host):
            pass
    except ssl.SSLCertVerificationError as error:
        raise Fault(_certificate_fault(error, host, ca_setting, setting)) from None
    except ssl.SSLError as error:
        raise Fault(
            f"{setting}: {host} does not speak TLS as expected ({error.reason}): is it a port without TLS?"
        ) from None
    except OSError as error:
        raise Fault(f"{setting}: {host} ended the TLS handshake: {error}: is it a port without TLS?") from None


def _certificate_fault(error: ssl.SSLCertVerificationError, host: str, ca_setting: str, setting: str) -> str:
    code, said = error.verify_code, error.verify_message
    if code == _EXPIRED:
        return f"{setting}: the certificate of {host} has expired: renew it on the server, or correct this clock"
    if code == _NOT_YET_VALID:
        return f"{setting}: the certificate of {host} is not valid yet: correct the clock of this machine"
    if code in _WRONG_HOST:
        return (
            f"{setting}: the certificate is not for {host} ({said}): use a name that is in it, or get a certificate "
            "for this name"
        )
    if code in _UNKNOWN_CA:
        return f"{ca_setting}: the certificate of {host} is signed by an unknown CA ({said}): name the file of its CA"
    return f"{ca_setting}: the certificate of {host} is not accepted: {said}"
