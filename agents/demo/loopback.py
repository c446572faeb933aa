"""WebRTC between two ends on one machine. Knows addresses, nothing of what is said over them."""

from __future__ import annotations

import aioice.ice

LOOPBACK = "127.0.0.1"
PATIENCE = 60


def use_loopback(*, only: bool) -> None:
    """Let WebRTC peers of this process meet on 127.0.0.1, which the ICE library leaves out of its candidates.

    Args:
        only: Offer no other address: the call then works without any network, and stays on this machine.
    """
    others = aioice.ice.get_host_addresses

    def host_addresses(use_ipv4: bool, use_ipv6: bool) -> list[str]:
        return [LOOPBACK] if only else [LOOPBACK, *others(use_ipv4, use_ipv6)]

    aioice.ice.get_host_addresses = host_addresses
    if only:  # here a peer that is slow to answer is a busy machine, not a lost line
        aioice.ice.CONSENT_FAILURES = PATIENCE
