"""Handshakes that fail. A certificate is chosen when the client has said hello."""

from __future__ import annotations

import ssl
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from fault_server.deck import Deck

if TYPE_CHECKING:
    import trustme

UNTRUSTED, WRONG_HOST, EXPIRED = "tls_untrusted", "tls_wrong_host", "tls_expired"
CUT = "tls_cut"  # asyncio closes the connection instead of sending the alert
TLS_FAULTS = (UNTRUSTED, WRONG_HOST, EXPIRED, CUT)
_HOST = "127.0.0.1"


class Handshakes:
    """Certificates, good and bad.

    Attributes:
        deck: Deals the faults.
        authority: PEM certificate of the authority that signs the good ones.
    """

    deck: Deck

    def __init__(self) -> None:
        self.authority = ""

    def context(self, hello: Callable[[], str | None]) -> ssl.SSLContext:
        """Make the context of a server.

        Args:
            hello: Called at each handshake; returns its fault, or None.
        """
        import trustme  # takes as long as the start of the server

        own, other = trustme.CA(), trustme.CA()
        past = datetime.now(UTC) - timedelta(days=1)
        contexts = {
            UNTRUSTED: _context(other.issue_cert(_HOST)),
            WRONG_HOST: _context(own.issue_cert("elsewhere.test")),
            EXPIRED: _context(
                own.issue_cert(_HOST, not_before=past - timedelta(days=1), not_after=past)
            ),
        }
        self.authority = own.cert_pem.bytes().decode()
        good = _context(own.issue_cert(_HOST))

        def choose(tls: ssl.SSLObject, _name: str | None, _context: ssl.SSLContext) -> int | None:
            kind = hello()
            if kind in contexts:
                tls.context = contexts[kind]
            return ssl.ALERT_DESCRIPTION_HANDSHAKE_FAILURE if kind == CUT else None

        good.sni_callback = choose  # also called for clients that send no name
        return good


def _context(certificate: trustme.LeafCert) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    certificate.configure_cert(context)
    return context
