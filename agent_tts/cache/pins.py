"""Which prefixes stay in the cache whatever happens: one per voice, from its first use on. Locks and ints, no tensors.

    want(voice, keys) ─▶ (first use: its pages enter the tree) ─▶ settle(voice): locked ─▶ never evicted

A voice seldom ends where a page does. Its last positions are kept in the page that first went on behind them; others
copy them from there. All pins together take at most a share of the pool; a voice beyond that is cached like everything
else.
"""

from __future__ import annotations

import logging
from collections.abc import Hashable, Sequence

from agent_tts.cache.radix import Match, PrefixCache

logger = logging.getLogger(__name__)


class Pins:
    """Keeps the prefix of each wanted voice locked, as far as it is in the tree."""

    def __init__(self, cache: PrefixCache, max_pages: int) -> None:
        self._cache = cache
        self._max_pages = max_pages
        self._wanted: dict[str, tuple[Hashable, ...]] = {}
        self._held: dict[str, Match] = {}
        self.num_pages = 0
        """Pages that are pinned, each counted once however many voices begin with it."""

    def want(self, voice: str, keys: Sequence[Hashable]) -> None:
        """Pin this prefix when it is next used. No keys: nothing to pin. Any thread may call it."""
        if keys:
            self._wanted[voice] = tuple(keys)

    def settle(self, voice: str) -> None:
        """Its pages may have entered the tree: lock what is there and was not locked yet."""
        keys = self._wanted.get(voice)
        held = self._held.get(voice)
        if keys is None or (held is not None and held.num_tokens == len(keys)):
            return
        match = self._cache.match(keys)
        if match.num_tokens <= (held.num_tokens if held else 0):
            return
        pages = self._pages(except_for=voice) | set(match.needed_pages)
        if len(pages) > self._max_pages:
            logger.warning("voice %s is not pinned: %d pages of pins are the limit", voice, self._max_pages)
            del self._wanted[voice]
            return
        self._cache.lock(match)
        if held is not None:
            self._cache.unlock(held)
        self._held[voice] = match
        self.num_pages = len(pages)

    def drop(self, voice: str) -> None:
        """Pin it no longer; its pages stay cached until they are evicted. Harmless for an unknown voice."""
        self._wanted.pop(voice, None)
        held = self._held.pop(voice, None)
        if held is not None:
            self._cache.unlock(held)
            self.num_pages = len(self._pages())

    def num_tokens(self, voice: str) -> int:
        """Positions of this voice that are pinned now."""
        held = self._held.get(voice)
        return held.num_tokens if held else 0

    def check_invariants(self) -> None:
        """Every pinned page is in the tree and locked."""
        in_tree = set(self._cache.pages())
        assert self._pages() <= in_tree, "a pinned page was evicted"
        assert self.num_pages == len(self._pages())
        assert self.num_pages <= self._max_pages
        assert all(match.node.locks > 0 for match in self._held.values())

    def _pages(self, except_for: str | None = None) -> set[int]:
        return {page for voice, match in self._held.items() if voice != except_for for page in match.needed_pages}
