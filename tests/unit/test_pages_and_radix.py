"""The page allocator and the prefix tree: what they give, keep and take back."""

from __future__ import annotations

import itertools
import random

import pytest

from agent_tts.cache.pages import PageAllocator
from agent_tts.cache.radix import Match, PrefixCache


def test_allocation_takes_all_or_nothing():
    pages = PageAllocator(4)
    assert pages.allocate(3) == [0, 1, 2]
    assert pages.allocate(2) is None
    assert pages.num_free == 1


def test_a_page_is_free_only_when_its_last_reference_goes():
    pages = PageAllocator(2)
    held = pages.allocate(1)
    pages.retain(held)
    pages.release(held)
    pages.check_invariants([held])
    pages.release(held)
    assert pages.num_free == 2


def test_releasing_twice_is_our_bug():
    pages = PageAllocator(1)
    held = pages.allocate(1)
    pages.release(held)
    with pytest.raises(AssertionError, match="released twice"):
        pages.release(held)


def test_match_returns_the_whole_pages_of_the_longest_prefix_and_where_the_rest_can_be_copied_from():
    pages = PageAllocator(8)
    cache = PrefixCache(pages, page_size=2)
    cache.insert("abcdef", pages.allocate(3))
    assert cache.match("abcdxx").num_tokens == 4
    inside = cache.match("abcde")
    assert (inside.pages, inside.num_tokens, inside.num_copied, inside.node.page) == ((0, 1), 5, 1, 2)
    assert cache.match("abcdef").num_copied == 0
    assert cache.match("xbcd").num_tokens == 0


def test_the_page_that_goes_on_alike_for_longest_is_copied_from():
    pages = PageAllocator(64)
    cache = PrefixCache(pages, page_size=4)
    texts = ["abcd" + "".join(rest) for rest in itertools.product("xyz", repeat=3)]
    owners = {}
    for text in texts:
        owners[text + "!"] = pages.allocate(2)
        cache.insert(text + "!", owners[text + "!"])
    for text in texts:
        match = cache.match(text + "?and so on")
        assert (match.num_tokens, match.num_copied) == (7, 3)
        assert match.node.page == owners[text + "!"][1]
    assert cache.match("abcdx").num_copied == 1
    assert cache.match("abcd?yz").num_copied == 0


def test_keys_that_only_share_a_hash_are_not_taken_for_each_other():
    assert hash(-1) == hash(-2)
    pages = PageAllocator(4)
    cache = PrefixCache(pages, page_size=4)
    cache.insert([5, -1, 5, 5], pages.allocate(1))
    match = cache.match([5, -2, 5])
    assert (match.num_tokens, match.num_copied) == (1, 1)


def test_a_page_that_is_to_be_copied_from_cannot_be_evicted():
    pages = PageAllocator(2)
    cache = PrefixCache(pages, page_size=2)
    held = pages.allocate(2)
    cache.insert("abcd", held)
    pages.release(held)
    match = cache.match("abc")
    cache.lock(match)
    assert cache.evict(2) == 0
    whole = match.without_copy()
    cache.lock(whole)
    cache.unlock(match)
    assert whole.pages == (0,)
    assert cache.evict(2) == 1
    cache.unlock(whole)
    assert cache.evict(2) == 1


def test_the_key_covers_all_codebooks():
    pages = PageAllocator(8)
    cache = PrefixCache(pages, page_size=1)
    cache.insert([(7, 1, 1)], pages.allocate(1))
    assert cache.match([(7, 1, 2)]).num_tokens == 0, "equal semantic code, another residual code: another voice"


def test_locked_pages_stay_and_the_oldest_unlocked_leaf_goes_first():
    pages = PageAllocator(4)
    cache = PrefixCache(pages, page_size=1)
    for text in ("ab", "ax"):
        held = pages.allocate(2)
        cache.insert(text, held)
        pages.release(held)
    kept = cache.match("ab")
    cache.lock(kept)
    assert cache.evict(9) == 1, "only x can go: a and b are locked"
    cache.unlock(kept)
    assert cache.evict(9) == 2
    assert pages.num_free == 4


def test_inserting_what_is_there_keeps_the_first_page():
    pages = PageAllocator(4)
    cache = PrefixCache(pages, page_size=2)
    first, second = pages.allocate(1), pages.allocate(1)
    cache.insert("ab", first)
    assert cache.insert("ab", second).pages == (first[0],)
    pages.check_invariants([first, second, cache.pages()])


def test_a_page_that_was_used_while_it_waited_for_eviction_goes_behind_the_others():
    pages = PageAllocator(3)
    cache = PrefixCache(pages, page_size=1)
    for text in "abc":
        held = pages.allocate(1)
        cache.insert(text, held)
        pages.release(held)
    cache.match("a")
    assert cache.evict(2) == 2
    assert cache.match("a").num_tokens == 1
    assert cache.match("b").num_tokens == cache.match("c").num_tokens == 0


class Contents:
    """What stands in each page, as a request of the engine would fill and read it."""

    def __init__(self, num_pages: int, size: int) -> None:
        self.size = size
        self.pages = [["?"] * size for _ in range(num_pages)]

    def copy(self, source: int, target: int, count: int) -> None:
        self.pages[target][:count] = self.pages[source][:count]

    def fill(self, pages: list[int], text: str, start: int) -> None:
        for position in range(start, len(text)):
            self.pages[pages[position // self.size]][position % self.size] = text[position]

    def read(self, pages: list[int], length: int) -> str:
        return "".join(self.pages[pages[at // self.size]][at % self.size] for at in range(length))


@pytest.mark.parametrize("size", [1, 2, 3, 5])
def test_random_use_keeps_the_books_balanced_and_every_context_whole(size: int):
    """Only what a match does not name is written; then every request must still read its own text, at any time."""
    generator = random.Random(7)
    pages, contents = PageAllocator(24), Contents(24, size)
    cache = PrefixCache(pages, page_size=size)
    held: list[tuple[str, list[int], Match]] = []
    num_copied = 0
    for _ in range(2000):
        move = generator.choice(["start", "start", "end", "evict"])
        if move == "start":
            text = "".join(generator.choice("ab") for _ in range(generator.randrange(2, 5 * size + 2)))
            match = cache.match(text[:-1])
            cache.lock(match)
            pages.retain(match.pages)
            missing = -(-len(text) // size) - len(match.pages)
            cache.evict(missing - pages.num_free)
            fresh = pages.allocate(missing)
            if fresh is None:
                cache.unlock(match)
                pages.release(match.pages)
                continue
            mine = [*match.pages, *fresh]
            if match.num_copied:
                contents.copy(match.node.page, fresh[0], match.num_copied)
                num_copied += 1
            contents.fill(mine, text, match.num_tokens)
            kept = cache.insert(text, mine)
            cache.lock(kept)
            cache.unlock(match)
            held.append((text, mine, kept))
        elif move == "end" and held:
            _, mine, match = held.pop(generator.randrange(len(held)))
            cache.unlock(match)
            pages.release(mine)
        else:
            cache.evict(generator.randrange(4))
        cache.check_invariants()
        pages.check_invariants([*(mine for _, mine, _ in held), cache.pages()])
        for text, mine, _ in held:
            assert contents.read(mine, len(text)) == text
    assert num_copied > 20 or size == 1
    for _, mine, match in held:
        cache.unlock(match)
        pages.release(mine)
    cache.evict(24)
    assert pages.num_free == 24
