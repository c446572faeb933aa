"""Training text: the grammar always ends, inflection follows its rules, held-out sentences stay out."""

import random

import pytest

from agent_tts.training.grammar import Grammar
from agent_tts.training.sentences import fingerprint, held_out_fingerprints, is_sane
from agent_tts.training.wordlists import WordLists, gerund, past, plural, third_person

WORDS = WordLists(
    classes={
        "noun": (["apple", "box", "city"], [1.0, 2.0, 3.0]),
        "verb": (["take", "make", "watch"], [1.0, 2.0, 3.0]),
        "adjective": (["old"], [1.0]),
        "adverb": (["often"], [1.0]),
    },
    irregular={"take": ["took"]},
    anything=["umbrella"],
)


def test_a_thousand_sentences_are_speakable():
    grammar = Grammar(WORDS, random.Random(0))
    sentences = [grammar.sentence() for _ in range(1000)]
    assert len(set(sentences)) > 800
    assert not any(set(text) & set("{}[]|") for text in sentences)
    assert all(text[0].isupper() or not text[0].isalpha() for text in sentences)
    assert sum(map(is_sane, sentences)) > 800


def test_the_same_seed_gives_the_same_sentences():
    first, second = (Grammar(WORDS, random.Random(3)) for _ in range(2))
    assert [first.sentence() for _ in range(50)] == [second.sentence() for _ in range(50)]


@pytest.mark.parametrize(
    ("made", "wanted"),
    [
        (plural("box"), "boxes"),
        (plural("city"), "cities"),
        (third_person("have"), "has"),
        (past("take", WORDS.irregular, random.Random(0)), "took"),
        (past("carry", {}, random.Random(0)), "carried"),
        (gerund("make"), "making"),
        (gerund("see"), "seeing"),
    ],
)
def test_inflection(made, wanted):
    assert made == wanted


def test_punctuation_makes_no_new_sentence():
    assert fingerprint("Yes, of course!") == fingerprint("yes of course")


def test_evaluation_sentences_are_known_to_be_left_out(tmp_path):
    (tmp_path / "plain_sentences.txt").write_text("Good morning, how are you?\n", encoding="utf-8")
    assert fingerprint("good morning how are you") in held_out_fingerprints(tmp_path)


@pytest.mark.parametrize("text", ["", "see http://x.y", "A" * 40, "THE NEWS IS ALL CAPS"])
def test_what_cannot_be_spoken_plainly_is_not_sane(text):
    assert not is_sane(text)
