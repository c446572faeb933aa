"""What is said: each text must sound like the words beside it."""

import pytest

from agent_tts.text.normalize import normalize
from agent_tts.text.phonemes import PUNCTUATION, shared_phonemizer

SAID = [
    # money
    ("It costs $3.50 today.", "It costs three dollars and fifty cents today."),
    ("I paid $1,200 for it.", "I paid one thousand two hundred dollars for it."),
    ("We charged $1561 today.", "We charged one thousand five hundred sixty one dollars today."),
    ("A $5M deal", "A five million dollar deal"),
    ("$1.2 million", "one point two million dollars"),
    ("€20 and £9.99", "twenty euros and nine pounds and ninety nine pence"),
    ("$0.99", "ninety nine cents"),
    ("$1", "one dollar"),
    ("$1.01", "one dollar and one cent"),
    ("-$5", "minus five dollars"),
    ("a $5 bill", "a five dollar bill"),
    ("I owe $5 today", "I owe five dollars today"),
    ("$20/month", "twenty dollars per month"),
    ("$5-$10", "five to ten dollars"),
    ("€1.5bn", "one point five billion euros"),
    ("20€", "twenty euros"),
    ("5 USD", "five dollars"),
    # phone numbers, codes
    ("Call 555-123-4567.", "Call five five five, one two three, four five six seven."),
    ("(555) 123-4567", "five five five one two three four five six seven"),
    ("+1 555 123 4567", "one five five five one two three four five six seven"),
    ("1-800-555-0199", "one eight zero zero five five five zero one nine nine"),
    ("Dial 911 now", "Dial nine one one now"),
    ("order number 4821", "order number four eight two one"),
    ("room 305", "room three zero five"),
    ("San Jose, CA 95112", "San Jose, C.A. nine five one one two"),
    ("suite 300", "suite three hundred"),
    ("a GB300", "a G.B. three hundred"),
    ("see p. 5", "see page five"),
    ("open notes.txt", "open notes dot txt"),
    ("zip 94105", "zip nine four one zero five"),
    ("tracking 48213997", "tracking four eight two one three nine nine seven"),
    ("agent 007", "agent zero zero seven"),
    # dates and times
    ("at 3pm", "at three P.M."),
    ("9am-5pm", "nine A.M. to five P.M."),
    ("12:30pm", "twelve thirty P.M."),
    ("at 7:00", "at seven o'clock"),
    ("14:05", "fourteen oh five"),
    ("2:30-4:15", "two thirty to four fifteen"),
    ("2026-11-21", "November twenty-first, twenty twenty six"),
    ("11/21/2026", "November twenty-first, twenty twenty six"),
    ("12-15-2024", "December fifteenth, twenty twenty four"),
    ("Nov. 21", "November twenty-first"),
    ("May 3rd, 2021", "May third, twenty twenty one"),
    ("the 1990s", "the nineteen nineties"),
    ("Mon-Fri", "Monday to Friday"),
    # numbers
    ("the 1st, 2nd and 23rd", "the first, second and twenty third"),
    ("12.5%", "twelve point five percent"),
    ("5–10%", "five to ten percent"),
    ("5-10 minutes", "five to ten minutes"),
    ("1,000,000", "one million"),
    ("it is 3.50 high", "it is three point five zero high"),
    ("1/2 cup", "one half cup"),
    ("1½ cups", "one and a half cups"),
    ("2 1/2 cups", "two and a half cups"),
    ("24/7", "twenty four seven"),
    ("16:9", "sixteen to nine"),
    ("~5 people", "about five people"),
    (">= 10", "at least ten"),
    ("<5%", "less than five percent"),
    ("2 + 2 = 4", "two plus two equals four"),
    ("5 * 3", "five times three"),
    ("it is -3 outside", "it is minus three outside"),
    ("5km", "five kilometers"),
    ("16GB", "sixteen gigabytes"),
    ("72°F", "seventy two degrees Fahrenheit"),
    ("-5°C", "minus five degrees Celsius"),
    ("6'2\"", "six foot two"),
    ("5 ft 10 in", "five feet ten inches"),
    ("World War II", "World War two"),
    ("Henry VIII", "Henry the eighth"),
    ("192.168.0.1", "one hundred ninety two dot one hundred sixty eight dot zero dot one"),
    ("v2.1", "version two point one"),
    # names, titles, initialisms
    ("Dr. Lee lives on Elm Dr.", "Doctor Lee lives on Elm Drive."),
    ("St. Mary on Main St.", "Saint Mary on Main Street."),
    ("No. 5", "Number five"),
    ("Prof. Lee vs. me", "Professor Lee versus me"),
    ("the LLM API", "the L.L.M. A.P.I."),
    ("JSON", "jason"),
    ("AB12CD", "A.B. one two C.D."),
    ("C#", "C sharp"),
    ("PhD", "P.H.D."),
    ("e.g. this, i.e. that", "for example this, that is that"),
    ("w/ milk", "with milk"),
    ("salt & pepper", "salt and pepper"),
    ("rock 'n' roll", "rock and roll"),
    # addresses
    ("jane.doe@example.com", "jane dot doe at example dot com"),
    ("See https://www.example.com/docs?x=1 first", "See example dot com slash docs first"),
    ("go to example.com", "go to example dot com"),
    ("ask @handle", "ask at handle"),
    # what is not read
    ("**Bold**, _it_ and `code`", "Bold, it and code"),
    ("# Title here", "Title here"),
    ("- item one", "item one"),
    ("> quoted words", "quoted words"),
    ("[click here](https://x.y/z) now", "click here now"),
    ("as shown [3] before", "as shown before"),
    ("```python", ""),
    ("| a | b |", "a, b"),
    ("hi 😀👍🏽 there", "hi there"),
    ("Great :) thanks", "Great thanks"),
    ("<|im_end|> hi", "hi"),
    ('<break time="1s"/>a <b>bold</b> move', "a bold move"),
    ("snake_case", "snake case"),
    ("Q&amp;A", "Q and A."),
    ('"yes" he said', "yes he said"),
    ("“yes” he said", "yes he said"),
    ("'yes' he said", "yes he said"),
    ("wait (maybe) here", "wait, maybe, here"),
    ("I—well—yes", "I, well, yes"),
    ("wait... what", "wait, what"),
    ("soft\u00adhyphen zero\u200bwidth", "softhyphen zerowidth"),
]
MARKS = [("wait!!!", "wait!"), ("what?!", "what?"), ("Hmm...", "Hmm."), ("a - b", "a, b")]
STRESS = str.maketrans("", "", "ˈˌ" + "".join(PUNCTUATION))


def said(text: str) -> str:
    """Phonemes without stress and pauses: numbers in digits are stressed a little differently from words."""
    chunks = normalize(text)
    return "".join(shared_phonemizer().phonemes(chunks)).translate(STRESS) if chunks else ""


@pytest.mark.parametrize(("text", "words"), SAID, ids=[text for text, _ in SAID])
def test_text_sounds_like_the_words(text: str, words: str) -> None:
    assert said(text) == said(words), " ".join(chunk.text for chunk in normalize(text))


@pytest.mark.parametrize(("text", "marks"), MARKS)
def test_marks_become_those_the_voice_knows(text: str, marks: str) -> None:
    assert " ".join(chunk.text for chunk in normalize(text)) == marks


def test_every_chunk_points_at_the_text_it_came_from() -> None:
    text = "Pay $3.50 to jane@example.com by March 5, 2027, **please** 🙂 now."
    ranges = {chunk.text: text[chunk.start - 7 : chunk.end - 7] for chunk in normalize(text, offset=7)}
    assert ranges["Pay"] == "Pay"
    assert ranges["dollars"] == ranges["50"] == "$3.50"
    assert ranges["dot"] == "jane@example.com"
    assert ranges["fifth,"] == "5,"
    assert ranges["please"] == "please"
    assert ranges["now."] == "now."


def test_ranges_never_run_backwards() -> None:
    text = "Dr. Li paid $1.2M (≈ €1.1M) on 2026-11-21 at 3:30pm — see https://example.com/a/b, [the docs](x) & *more*."
    chunks = normalize(text)
    starts = [chunk.start for chunk in chunks]
    assert starts == sorted(starts)
    assert all(0 <= chunk.start <= chunk.end <= len(text) for chunk in chunks)


@pytest.mark.parametrize("text", ["", "   ", "\n", "😀", "***", "<|x|>", "```", "[]()", "’", "_", "\u200b", "|", "> "])
def test_nothing_to_say_gives_no_letters(text: str) -> None:
    assert said(text) == ""
