"""The page allocator and the prefix tree: what they give, keep and take back."""

from __future__ import annotations

import random

import pytest

from agent_tts.cache.pages import PageAllocator
from agent_tts.cache.radix import PrefixCache


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


def test_match_returns_whole_pages_of_the_longest_prefix():
    pages = PageAllocator(8)
    cache = PrefixCache(pages, page_size=2)
    cache.insert("abcdef", pages.allocate(3))
    assert cache.match("abcdxx").num_tokens == 4
    assert cache.match("abcde").pages == (0, 1)
    assert cache.match("xbcd").num_tokens == 0


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


def test_random_use_keeps_the_books_balanced():
    generator = random.Random(7)
    pages = PageAllocator(24)
    cache = PrefixCache(pages, page_size=2)
    held: list[tuple[list[int], object]] = []
    for _ in range(2000):
        move = generator.choice(["start", "start", "end", "evict"])
        if move == "start":
            text = "".join(generator.choice("ab") for _ in range(generator.randrange(2, 10)))
            match = cache.match(text)
            cache.lock(match)
            pages.retain(match.pages)
            fresh = pages.allocate(len(text) // 2 - len(match.pages))
            mine = [*match.pages, *(fresh or [])]
            if fresh is not None:
                kept = cache.insert(text, mine)
                cache.lock(kept)
                cache.unlock(match)
                match = kept
            held.append((mine, match))
        elif move == "end" and held:
            mine, match = held.pop(generator.randrange(len(held)))
            cache.unlock(match)
            pages.release(mine)
        else:
            cache.evict(generator.randrange(4))
        cache.check_invariants()
        pages.check_invariants([*(mine for mine, _ in held), cache.pages()])
    for mine, match in held:
        cache.unlock(match)
        pages.release(mine)
    cache.evict(24)
    assert pages.num_free == 24
