"""Phoneme units: the same for any chunking, and every word knows its tokens and its characters."""

import itertools
import random

import pytest

from agent_tts.text.phonemes import START_ID, AlignedTextFrontEnd, shared_phonemizer
from agent_tts.text.units import TextUnit

STORY = (
    "Hello there, I'm fine. Dr. Li paid $3.50 for it on March 5, 2027, and left quickly; then she called the U.S. Army "
    'at 3:30 PM. Would you read it, or have you read it?\n- First item\n- Second 😀 item\n\nThe **LLM** said "wait" '
    "(maybe). Mail jane@example.com or call 555-123-4567. <|im_end|> Bye"
)


def units_of(text: str, cuts: list[int] | None = None) -> list[TextUnit]:
    front, units, position = AlignedTextFrontEnd(), [], 0
    for cut in sorted({*(cuts or []), len(text)}):
        front.push(text[position:cut])
        position = cut
        units += front.take()
    front.end()
    return units + front.take()


def segments_of(units: list[TextUnit]) -> list[list[TextUnit]]:
    segments: list[list[TextUnit]] = [[]]
    for unit in units:
        segments[-1].append(unit)
        if unit.closes_segment:
            segments.append([])
    assert segments.pop() == [], "the last unit closes its segment"
    return segments


def spelled(units: list[TextUnit]) -> str:
    characters = {number: character for character, number in shared_phonemizer()._ids.items()}
    return "".join(characters.get(token, "^") for unit in units for token in unit.token_ids)


def test_pushing_character_by_character_gives_the_same_units() -> None:
    assert units_of(STORY, list(range(len(STORY)))) == units_of(STORY)


@pytest.mark.parametrize("seed", range(10))
def test_any_chunking_gives_the_same_units(seed: int) -> None:
    assert units_of(STORY, random.Random(seed).sample(range(len(STORY)), 40)) == units_of(STORY)


def test_word_by_word_gives_the_same_units() -> None:
    cuts = [index + 1 for index, character in enumerate(STORY) if character.isspace()]
    assert units_of(STORY, cuts) == units_of(STORY)


def test_a_plain_sentence_has_the_tokens_the_voice_was_trained_with() -> None:
    from hibari.g2p import G2P

    sentence = "Thanks for waiting, your table by the window will be ready in a moment."
    phonemizer = shared_phonemizer()
    (segment,) = segments_of(units_of(sentence))
    assert spelled(segment) == "^" + G2P()(sentence)
    assert tuple(token for unit in segment for token in unit.token_ids)[1:] == phonemizer.ids(G2P()(sentence))


def test_each_segment_begins_with_the_start_token_and_ends_with_a_mark() -> None:
    ends = shared_phonemizer().ids(".!?")
    for segment in segments_of(units_of(STORY)):
        tokens = [token for unit in segment for token in unit.token_ids]
        assert tokens[0] == START_ID
        assert START_ID not in tokens[1:]
        assert tokens[-1] in ends


def test_words_are_the_pushed_words_in_order_without_overlap() -> None:
    words = [word for unit in units_of(STORY) for word in unit.words]
    assert all(word.text == STORY[word.text_start : word.text_end] for word in words)
    assert all(left.text_end <= right.text_start for left, right in itertools.pairwise(words))
    unread = {"-", "😀", "<|im_end|>"}
    assert " ".join(word.text for word in words).split() == [word for word in STORY.split() if word not in unread]


def test_word_tokens_lie_inside_their_unit_and_hold_no_space_around() -> None:
    space = shared_phonemizer().ids(" ")[0]
    for segment in segments_of(units_of(STORY)):
        offset = 0
        tokens = [token for unit in segment for token in unit.token_ids]
        for unit in segment:
            for word in unit.words:
                assert offset <= word.token_start < word.token_end <= offset + len(unit.token_ids)
                assert tokens[word.token_start] != space
                assert tokens[word.token_end - 1] != space
            offset += len(unit.token_ids)


def test_an_amount_is_one_word_over_all_its_tokens() -> None:
    words = [word for unit in units_of("It costs $3.50 today.") for word in unit.words]
    amount = words[2]
    assert amount.text == "$3.50"
    assert amount.token_end - amount.token_start > 20


def test_a_sentence_without_a_mark_gets_one() -> None:
    assert spelled(units_of("Good morning")).endswith(".")
    assert spelled(units_of("Good morning,")).endswith("ŋ.")


@pytest.mark.parametrize("text", ["", "  ", "...", "😀 😀", "***", "<|im_start|>", "—", "\n\n", '"', "> ", "🙂\n\n🙂"])
def test_text_with_nothing_to_say_gives_no_unit(text: str) -> None:
    assert units_of(text) == []


def test_a_segment_whose_end_is_silent_is_closed() -> None:
    units = units_of("Well then my friends 😀 😀 😀 😀 😀")
    assert [unit.closes_segment for unit in units][-1]


@pytest.mark.parametrize("seed", range(30))
def test_no_text_breaks_the_front_end(seed: int) -> None:
    generator = random.Random(seed)
    letters = "aAbB zZ  019.,;:!?-—–'\"’“”()[]{}<>|/\\@#$%^&*_+=~`€£°½²\n\t😀éß中אТ\u200b\u0301"
    text = "".join(generator.choice(letters) for _ in range(300))
    units = units_of(text)
    assert all(token < 178 for unit in units for token in unit.token_ids)
    assert units_of(text, generator.sample(range(300), 80)) == units


def test_the_first_unit_of_a_long_text_reads_no_further_than_that_of_a_short_one() -> None:
    """The time to the first frame must not grow with the text behind it."""

    class Counting:
        def __init__(self) -> None:
            self.num_chunks = 0

        def phonemes(self, chunks: list) -> list[str]:
            self.num_chunks += len(chunks)
            return shared_phonemizer().phonemes(chunks)

        def ids(self, phonemes: str) -> tuple[int, ...]:
            return shared_phonemizer().ids(phonemes)

    counts = []
    for repeats in (1, 100):
        counting = Counting()
        front = AlignedTextFrontEnd(counting)
        front.push("Good morning everyone, this is a test of the text. " * repeats)
        assert front.next_unit() is not None
        counts.append(counting.num_chunks)
    assert counts[0] == counts[1]
