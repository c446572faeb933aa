"""The prefix tree: which pages already hold the KV of a prompt's beginning. Match, lock, insert, evict; no tensors.

A key is one position of a prompt, for all codebooks at once: two voices whose semantic codes agree and whose residual
codes differ are different voices. An edge is one full page of keys, so a node is a page and a path is a prefix:

    root ─[page_size keys]─▶ node(page 4) ─[page_size keys]─▶ node(page 9)
                                         └[other keys]──────▶ node(page 7)

A prompt seldom ends or branches off where a page does. Behind its whole pages a match therefore names the page that
goes on like it for the longest, and for how many positions: they are to be copied into a page of the request's own.

A node that is locked (by a running request) or pinned (a voice) is never evicted, and nor are its ancestors: locks are
counted along the whole path. Unlocked leaves go first, the least recently used one before the others.
"""

from __future__ import annotations

import bisect
import heapq
import itertools
from collections.abc import Hashable, Iterator, Sequence
from dataclasses import dataclass, field

from agent_tts.cache.pages import PageAllocator

Edge = tuple[Hashable, ...]


@dataclass(slots=True, eq=False)
class Node:
    """One cached page: the keys on the edge that leads here, and where the tree goes on."""

    page: int
    keys: Edge
    parent: Node | None
    children: dict[Edge, Node] = field(default_factory=dict)
    order: list[tuple[tuple[int, ...], Edge]] = field(default_factory=list)
    """The children's edges, sorted by their keys' hashes: whoever begins alike stands side by side."""
    locks: int = 0
    last_used: int = 0
    queued: bool = False
    """Stands in the queue of those that may be evicted."""


@dataclass(frozen=True, slots=True)
class Match:
    """A cached prefix: whole pages, and perhaps the first positions of one more. The nodes belong to the tree.

    Attributes:
        node: Where it ends; the last node of which anything is used.
        pages: Pages that are used as they are, in order.
        num_tokens: Positions of the prefix, copied ones included.
        num_copied: Positions behind those of `pages` that `node`'s page holds too, and that have to be copied.
    """

    node: Node
    pages: tuple[int, ...]
    num_tokens: int
    num_copied: int = 0

    @property
    def needed_pages(self) -> tuple[int, ...]:
        """Every page that has to stay for as long as the match is to be used."""
        return (*self.pages, self.node.page) if self.num_copied else self.pages

    def without_copy(self) -> Match:
        """The whole pages alone."""
        if not self.num_copied:
            return self
        assert self.node.parent is not None
        return Match(self.node.parent, self.pages, self.num_tokens - self.num_copied)


class PrefixCache:
    """Pages kept by token prefix. Holds one reference of its own on every page in the tree."""

    def __init__(self, pages: PageAllocator, page_size: int) -> None:
        self._pages = pages
        self.page_size = page_size
        self._root = Node(page=-1, keys=(), parent=None)
        self._clock = 0
        self._queue: list[tuple[int, int, Node]] = []  # a heap of (last used, tie-break, node)
        self._queued = itertools.count()
        self.evicted_tokens = 0

    def match(self, keys: Sequence[Hashable]) -> Match:
        """The longest cached prefix of `keys`. Marks it as used; locks nothing."""
        node, pages = self._root, []
        for edge in self._edges(keys):
            child = node.children.get(edge)
            if child is None:
                break
            node = child
            node.last_used = self._tick()
            pages.append(node.page)
        whole = len(pages) * self.page_size
        similar, common = _most_alike(node, tuple(keys[whole : whole + self.page_size]))
        if similar is None:
            return Match(node, tuple(pages), whole)
        similar.last_used = self._tick()
        return Match(similar, tuple(pages), whole + common, common)

    def lock(self, match: Match) -> None:
        """Keep a matched path from eviction until unlock()."""
        for node in self._path(match.node):
            node.locks += 1

    def unlock(self, match: Match) -> None:
        for node in self._path(match.node):
            assert node.locks > 0, "unlocked more often than locked"
            node.locks -= 1
        self._enqueue(match.node)

    def insert(self, keys: Sequence[Hashable], pages: Sequence[int]) -> Match:
        """Remember that `pages` hold the KV of `keys`; only whole pages are kept.

        Where the tree already has a page for the same keys, that one stays and the given one is not referenced.
        Returns the path, for a lock or a pin.
        """
        node = self._root
        path: list[int] = []
        for edge, page in zip(self._edges(keys), pages, strict=False):
            child = node.children.get(edge)
            if child is None:
                self._pages.retain([page])
                child = Node(page, edge, node)
                node.children[edge] = child
                bisect.insort(node.order, _place(edge), key=_hashes)
            child.last_used = self._tick()
            node = child
            path.append(node.page)
        self._enqueue(node)
        return Match(node, tuple(path), len(path) * self.page_size)

    def evict(self, count: int) -> int:
        """Give up to `count` unlocked pages back, least recently used leaves first. Returns how many."""
        evicted = 0
        while evicted < count and (leaf := self._oldest_free_leaf()) is not None:
            self._remove(leaf)
            self._pages.release([leaf.page])
            self.evicted_tokens += self.page_size
            evicted += 1
        return evicted

    def pages(self) -> list[int]:
        """All pages in the tree."""
        return [node.page for node in self._nodes()]

    def check_invariants(self) -> None:
        for node in self._nodes():
            assert node.parent is not None
            assert node.parent.children[node.keys] is node
            assert len(node.keys) == self.page_size
            assert node.parent is self._root or node.parent.locks >= node.locks, "a child is locked, its parent is not"
            assert node.queued or node.children or node.locks, "a page that may go is not in the queue"
            assert [_place(edge) for _, edge in node.order] == node.order
            assert {edge for _, edge in node.order} == set(node.children)
            assert [hashes for hashes, _ in node.order] == sorted(hashes for hashes, _ in node.order)
        pages = self.pages()
        assert len(pages) == len(set(pages)), "a page stands in the tree twice"

    # -----------------------------------------------------------------------------------------------------------------

    def _edges(self, keys: Sequence[Hashable]) -> Iterator[Edge]:
        for start in range(0, len(keys) - self.page_size + 1, self.page_size):
            yield tuple(keys[start : start + self.page_size])

    def _nodes(self) -> Iterator[Node]:
        stack = list(self._root.children.values())
        while stack:
            node = stack.pop()
            stack.extend(node.children.values())
            yield node

    def _path(self, node: Node) -> Iterator[Node]:
        current: Node | None = node
        while current is not None and current is not self._root:
            yield current
            current = current.parent

    def _enqueue(self, node: Node) -> None:
        """Let a node be evicted in its turn, if it may be. One that is used or locked later is sorted out there."""
        if node is not self._root and not (node.children or node.locks or node.queued):
            node.queued = True
            heapq.heappush(self._queue, (node.last_used, next(self._queued), node))

    def _oldest_free_leaf(self) -> Node | None:
        while self._queue:
            queued_at, _, node = heapq.heappop(self._queue)
            node.queued = False
            if node.last_used == queued_at and not (node.children or node.locks):
                return node
            self._enqueue(node)
        return None

    def _remove(self, leaf: Node) -> None:
        parent = leaf.parent
        assert parent is not None
        del parent.children[leaf.keys]
        place = _place(leaf.keys)
        del parent.order[parent.order.index(place, bisect.bisect_left(parent.order, place[0], key=_hashes))]
        self._enqueue(parent)

    def _tick(self) -> int:
        self._clock += 1
        return self._clock


def _place(edge: Edge) -> tuple[tuple[int, ...], Edge]:
    return tuple(map(hash, edge)), edge


def _hashes(place: tuple[tuple[int, ...], Edge]) -> tuple[int, ...]:
    return place[0]


def _most_alike(node: Node, keys: Edge) -> tuple[Node | None, int]:
    """The child whose edge begins like `keys` for the longest, and for how many keys; None when none does.

    In sorted order it stands directly before or behind the place of `keys`. Hashes only sort: equality decides.
    """
    at = bisect.bisect_left(node.order, tuple(map(hash, keys)), key=_hashes)
    best, longest = None, 0
    for _, edge in node.order[max(0, at - 1) : at + 1]:
        common = sum(1 for _ in itertools.takewhile(lambda pair: pair[0] == pair[1], zip(edge, keys, strict=False)))
        if common > longest:
            best, longest = node.children[edge], common
    return best, longest
