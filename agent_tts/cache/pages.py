"""The page allocator: which KV pages are free and how often each other one is referenced. Knows ints, no tensors.

A page is referenced by the requests that read it and by the prefix tree that keeps it for later ones:

    free         nobody refers to it
    held         at least one request refers to it
    cached       only the prefix tree refers to it (may be evicted)

    free + held + cached = total, at every moment
"""

from __future__ import annotations

import heapq
from collections import Counter
from collections.abc import Iterable, Sequence


class PageAllocator:
    """Counts references to `num_pages` pages. Hands out the lowest free pages first, so that runs stay contiguous."""

    def __init__(self, num_pages: int) -> None:
        self.num_pages = num_pages
        self._references = [0] * num_pages
        self._free = list(range(num_pages))  # a heap

    @property
    def num_free(self) -> int:
        return len(self._free)

    def allocate(self, count: int) -> list[int] | None:
        """Take `count` pages with one reference each, or None when there are not that many. Never takes some."""
        if count > len(self._free):
            return None
        pages = [heapq.heappop(self._free) for _ in range(count)]
        for page in pages:
            self._references[page] = 1
        return pages

    def retain(self, pages: Iterable[int]) -> None:
        """Add one reference to each page; all must be in use already."""
        for page in pages:
            assert self._references[page] > 0, f"page {page} is free and cannot be retained"
            self._references[page] += 1

    def release(self, pages: Iterable[int]) -> None:
        """Drop one reference of each page; a page that loses its last one is free."""
        for page in pages:
            assert self._references[page] > 0, f"page {page} was released twice"
            self._references[page] -= 1
            if self._references[page] == 0:
                heapq.heappush(self._free, page)

    def check_invariants(self, holders: Sequence[Sequence[int]]) -> None:
        """Compare the counts with the page lists of everyone who holds pages (each request, and the prefix tree)."""
        expected = Counter(page for pages in holders for page in pages)
        for page, references in enumerate(self._references):
            assert references == expected[page], f"page {page}: {references} references, {expected[page]} holders"
        free = set(self._free)
        assert len(free) == len(self._free), "a page is in the free list twice"
        assert free == {page for page, references in enumerate(self._references) if references == 0}
