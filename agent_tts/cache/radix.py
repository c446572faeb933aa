"""The prefix tree: which pages already hold the KV of a prompt's beginning. Match, lock, insert, evict; no tensors.

A key is one position of a prompt, for all codebooks at once: two voices whose semantic codes agree and whose residual
codes differ are different voices. An edge is one full page of keys, so a node is a page and a path is a prefix:

    root ─[page_size keys]─▶ node(page 4) ─[page_size keys]─▶ node(page 9)
                                         └[other keys]──────▶ node(page 7)

A node that is locked (by a running request) or pinned (a voice) is never evicted, and nor are its ancestors: locks are
counted along the whole path. Unlocked leaves go first, the least recently used one before the others.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Sequence
from dataclasses import dataclass, field

from agent_tts.cache.pages import PageAllocator


@dataclass(slots=True, eq=False)
class Node:
    """One cached page: the keys on the edge that leads here, and where the tree goes on."""

    page: int
    keys: tuple[Hashable, ...]
    parent: Node | None
    children: dict[tuple[Hashable, ...], Node] = field(default_factory=dict)
    locks: int = 0
    last_used: int = 0


@dataclass(frozen=True, slots=True)
class Match:
    """A cached prefix: its pages in order and the node it ends in. The nodes belong to the tree."""

    node: Node
    pages: tuple[int, ...]
    num_tokens: int


class PrefixCache:
    """Pages kept by token prefix. Holds one reference of its own on every page in the tree."""

    def __init__(self, pages: PageAllocator, page_size: int) -> None:
        self._pages = pages
        self.page_size = page_size
        self._root = Node(page=-1, keys=(), parent=None)
        self._clock = 0
        self.evicted_tokens = 0

    def match(self, keys: Sequence[Hashable]) -> Match:
        """The longest cached prefix of `keys` in whole pages. Marks it as used; locks nothing."""
        node, pages = self._root, []
        for edge in self._edges(keys):
            child = node.children.get(edge)
            if child is None:
                break
            node = child
            node.last_used = self._tick()
            pages.append(node.page)
        return Match(node, tuple(pages), len(pages) * self.page_size)

    def lock(self, match: Match) -> None:
        """Keep a matched path from eviction until unlock()."""
        for node in self._path(match.node):
            node.locks += 1

    def unlock(self, match: Match) -> None:
        for node in self._path(match.node):
            assert node.locks > 0, "unlocked more often than locked"
            node.locks -= 1

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
            child.last_used = self._tick()
            node = child
            path.append(node.page)
        return Match(node, tuple(path), len(path) * self.page_size)

    def evict(self, count: int) -> int:
        """Give up to `count` unlocked pages back, least recently used leaves first. Returns how many."""
        evicted = 0
        while evicted < count and (leaf := self._oldest_free_leaf()) is not None:
            assert leaf.parent is not None
            del leaf.parent.children[leaf.keys]
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
        pages = self.pages()
        assert len(pages) == len(set(pages)), "a page stands in the tree twice"

    def _edges(self, keys: Sequence[Hashable]) -> Iterator[tuple[Hashable, ...]]:
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

    def _oldest_free_leaf(self) -> Node | None:
        leaves = (node for node in self._nodes() if not node.children and node.locks == 0)
        return min(leaves, key=lambda node: node.last_used, default=None)

    def _tick(self) -> int:
        self._clock += 1
        return self._clock
