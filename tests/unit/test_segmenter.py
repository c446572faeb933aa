"""Where streamed text is cut, and that the cuts depend on the text alone."""

import random

import pytest

from agent_tts.text import segmenter as cutting
from agent_tts.text.segmenter import Segmenter
from agent_tts.text.units import Piece

STORY = (
    'Dr. Li, of the U.S. Army, paid $3.50 for it on Nov. 5, 2027 at 3 p.m. She said: "Wait here. I won\'t be long." '
    "Then...  she left; e.g. by car (approx. 5 km)!\n\n# Plan\n- first, call 555-123-4567\n- then [click here](http://x.y)\n"
    "1. Open the app. 2. Close it. No. I can't. No. 5 is alive, says J. K. Rowling Jr. <b>Really?</b> "
    "Is `a b` code? 😀 World War II ended in 1945. Bye"
)


def take(segmenter: Segmenter) -> list[Piece]:
    pieces = []
    while (piece := segmenter.next_piece()) is not None:
        pieces.append(piece)
    return pieces


def pieces_of(text: str, cuts: list[int] | None = None, flushes: tuple[int, ...] = ()) -> list[Piece]:
    segmenter, pieces, position = Segmenter(), [], 0
    for cut in sorted({*(cuts or []), *flushes, len(text)}):
        segmenter.push(text[position:cut])
        position = cut
        if cut in flushes:
            segmenter.flush()
        pieces += take(segmenter)
    segmenter.flush()
    return pieces + take(segmenter)


def segments_of(text: str) -> list[str]:
    return [text[piece.segment_start : piece.end] for piece in pieces_of(text) if piece.closes_segment]


def test_pushing_character_by_character_cuts_alike() -> None:
    assert pieces_of(STORY, list(range(len(STORY)))) == pieces_of(STORY)


@pytest.mark.parametrize("seed", range(20))
def test_any_chunking_cuts_alike(seed: int) -> None:
    cuts = random.Random(seed).sample(range(len(STORY)), 30)
    assert pieces_of(STORY, cuts) == pieces_of(STORY)


@pytest.mark.parametrize("seed", range(20))
def test_any_chunking_of_marks_and_spaces_cuts_alike(seed: int) -> None:
    generator = random.Random(seed)
    text = "".join(generator.choice("ab A.,!? \n1-—\"'()[]<>`*…") for _ in range(400))
    cuts = generator.sample(range(len(text)), 100)
    assert pieces_of(text, cuts) == pieces_of(text)


@pytest.mark.parametrize("seed", range(10))
def test_a_flush_is_part_of_the_text_wherever_it_was_pushed(seed: int) -> None:
    generator = random.Random(seed)
    flushes = tuple(generator.sample(range(1, len(STORY)), 3))
    cuts = generator.sample(range(len(STORY)), 40)
    assert pieces_of(STORY, cuts, flushes) == pieces_of(STORY, None, flushes)


def test_pieces_cover_every_word_once_and_in_order() -> None:
    joined = " ".join(STORY[piece.start : piece.end] for piece in pieces_of(STORY))
    assert joined.split() == STORY.split()


@pytest.mark.parametrize(
    ("text", "segments"),
    [
        ("One here. Two here! Three here? Four", ["One here.", "Two here!", "Three here?", "Four"]),
        ("Dr. Li met Mr. Poe. They left.", ["Dr. Li met Mr. Poe.", "They left."]),
        ("It is 3.5 km. Yes.", ["It is 3.5 km.", "Yes."]),
        ("We met at 3 p.m. The sun shone.", ["We met at 3 p.m.", "The sun shone."]),
        ("The U.S. Army came.", ["The U.S. Army came."]),
        ("I live in the U.S. It is big.", ["I live in the U.S.", "It is big."]),
        ("By J. K. Rowling. Read it.", ["By J. K. Rowling.", "Read it."]),
        ("No. I can't.", ["No.", "I can't."]),
        ("No. 5 is alive.", ["No. 5 is alive."]),
        ("On Nov. 5 we met.", ["On Nov. 5 we met."]),
        ("Wait... what is it?", ["Wait... what is it?"]),
        ("Nice!! Really.", ["Nice!!", "Really."]),
        ("a b c\n\nd e", ["a b c", "d e"]),
        ("A line\nthat was wrapped.", ["A line\nthat was wrapped."]),
        ("# Title\nText here", ["# Title", "Text here"]),
        ("Do this:\n- one thing\n- another", ["Do this:", "- one thing", "- another"]),
        ("1. Open it. 2. Close it.", ["1. Open it.", "2. Close it."]),
        ('"Wait. I am here." He sat.', ['"Wait. I am here."', "He sat."]),
        ("See e.g. Paris. Go.", ["See e.g. Paris.", "Go."]),
    ],
)
def test_segments_are_sentences(text: str, segments: list[str]) -> None:
    assert segments_of(text) == segments


@pytest.mark.parametrize(
    "text",
    [
        "we met on March 5 with friends and family",
        "it was about 3 million dollars in all of it",
        "please do ask Dr. Smith for some more of it",
        "we all met around 5 p.m. near the old bridge",
        "they fought bitterly during World War II for years",
        "please press [this nice link](http://x.y) to go on",
        "type the word `ls -l` there in the window",
        "you see that 2 + 2 equals four for all of us",
    ],
)
def test_no_piece_ends_inside_what_is_read_as_one(text: str) -> None:
    whole = (
        "March 5",
        "3 million",
        "Dr. Smith",
        "5 p.m.",
        "War II",
        "[this nice link](http://x.y)",
        "`ls -l`",
        "2 + 2",
    )
    unit = next(part for part in whole if part in text)
    assert any(unit in text[piece.start : piece.end] for piece in pieces_of(text))


def test_the_first_piece_is_short_and_comes_before_the_sentence_is_complete() -> None:
    segmenter = Segmenter()
    segmenter.push("Good morning everyone who ")
    (piece,) = take(segmenter)
    assert segmenter.text(piece.start, piece.end) == "Good morning everyone"
    assert not piece.closes_segment


def test_a_piece_waits_until_the_next_word_is_complete() -> None:
    segmenter = Segmenter()
    segmenter.push("Good morning everyone wh")
    assert take(segmenter) == []


def test_no_piece_ends_behind_a_word_that_leans_on_the_next() -> None:
    assert not any(
        STORY[piece.start : piece.end].split()[-1].lower() in ("the", "a", "of") for piece in pieces_of(STORY)
    )


def test_a_long_sentence_becomes_segments_of_bounded_length() -> None:
    text = "so we went on and on through fields and woods, past rivers and hills " * 40
    assert max(len(segment) for segment in segments_of(text)) <= cutting.WORD_LENGTH + 80


def test_text_without_spaces_is_cut_and_forgotten() -> None:
    segmenter = Segmenter()
    for _ in range(50):
        segmenter.push("x" * 100)
        for piece in take(segmenter):
            if piece.closes_segment:
                segmenter.drop_before(piece.end)
    assert segmenter.num_characters == 5000
    assert len(segmenter._pushed._text) < 2000


@pytest.mark.parametrize("text", ["", " ", "\n\n", "\t"])
def test_white_space_gives_no_piece(text: str) -> None:
    assert pieces_of(text) == []


def test_the_first_pieces_of_an_utterance_are_short_and_only_those() -> None:
    """With six words behind a first piece of three, an LLM of 30 tokens a second left a gap behind the first word."""
    lengths = [
        len(piece_text.split())
        for text in ["Hello there, " + "red green blue " * 12 + "end. " + "one red blue " * 5]
        for piece in pieces_of(text)
        for piece_text in [text[piece.start : piece.end]]
    ]
    assert lengths[:5] == [2, 2, 2, 3, 6]
    assert min(lengths[4:-1]) >= 6, "long pieces read better, and by now there is sound enough to wait for them"
