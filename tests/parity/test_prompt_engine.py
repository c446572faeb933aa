"""A whole engine on the tiny checkpoint: the loop says what the reference says, however its text arrives."""

from __future__ import annotations

import dataclasses
import itertools
import math
import random
import re
import shutil
import zlib
from pathlib import Path

import numpy as np
import pytest
import torch

from agent_tts.codec.dac_config import read_codec_config
from agent_tts.config import EngineConfig
from agent_tts.models import presets
from agent_tts.models.checkpoint_config import read_model_config
from agent_tts.models.frame_sampler import FrameSampler, Noise, RowSampling
from agent_tts.runtime import prompt_text
from agent_tts.runtime.prompt_runner import PromptRunner, load_prompt_runner
from agent_tts.runtime.request import Request
from agent_tts.runtime.step import RowResult, StepPlan, StepResult
from agent_tts.text import clauses
from agent_tts.text.prompt import Reference
from agent_tts.types import FinishReason
from tests.bench import Bench
from tests.parity import fixtures

CONFIG = {"max_slots": 3, "num_pages": 160, "page_size": 16}
WHOLE_TEXT = clauses._Least(10_000, 10_000, 10_000)


class Recorder:
    """A PromptRunner that remembers its results and its plans."""

    def __init__(self, runner: PromptRunner) -> None:
        self._runner = runner
        self.plans: list[StepPlan] = []
        self.results: dict[str, list[RowResult]] = {}

    def __getattr__(self, name: str) -> object:
        return getattr(self._runner, name)

    def run(self, plan: StepPlan) -> StepResult:
        self.plans.append(plan)
        result = self._runner.run(plan)
        for row in result.rows:
            self.results.setdefault(row.request_id, []).append(row)
        return result

    def columns(self, name: str) -> np.ndarray:
        """[codebooks + 1, frames] that a request spoke."""
        return np.array([(row.progress, *row.codes) for row in self.results[name] if row.codes]).T

    def audio(self, name: str) -> np.ndarray:
        return np.concatenate([row.pcm for row in self.results[name]])


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    target = tmp_path_factory.mktemp("checkpoint") / "s2"
    shutil.copytree(fixtures.folder("s2_tiny"), target)
    target.chmod(0o755)
    for name in ("codec.pth", "codec_config.json"):
        shutil.copy(fixtures.folder("codec_tiny") / name, target / name)
    num_codebooks = read_codec_config(target / "codec_config.json").num_codebooks
    if num_codebooks != read_model_config(target).num_codebooks:
        pytest.skip(f"s2_tiny and codec_tiny in {target} have different numbers of codebooks")
    return target


@pytest.fixture
def make(folder: Path, monkeypatch: pytest.MonkeyPatch):
    """A bench over the tiny checkpoint with greedy sampling and the voice `clone`."""
    greedy = presets.Sampling(1.0, 1.0, 1, 1.0, 1.0, 1.0)
    monkeypatch.setattr(presets, "preset", lambda layout: greedy)
    data = fixtures.arrays("s2_tiny")

    def build(references: dict[str, Reference] | None = None, **config) -> Bench:
        (reference,), _, _ = fixtures.prompt_parts("s2_tiny", "clone", data)
        engine = EngineConfig(**{**CONFIG, **config})
        runner = load_prompt_runner(folder, engine, {"clone": reference, **(references or {})})
        bench = Bench(Recorder(runner), **{**CONFIG, **config})
        for voice in runner.voices:
            bench.loop.scheduler.pins.want(voice, runner.voice_keys(voice))
        return bench

    return build


@pytest.fixture
def short_clauses(monkeypatch: pytest.MonkeyPatch) -> None:
    """Random weights seldom end a clause by themselves: end it after five frames."""
    monkeypatch.setattr(prompt_text, "SPARE_FRAMES", 5)
    monkeypatch.setattr(prompt_text, "FRAMES_PER_CHARACTER", 0)


def text_of(prompt: str) -> str:
    return fixtures.prompt_parts("s2_tiny", prompt, fixtures.arrays("s2_tiny"))[2]


def test_the_engine_speaks_what_the_reference_speaks(make, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(clauses, "_LEAST", (WHOLE_TEXT,))
    bench, data = make(), fixtures.arrays("s2_tiny")
    cloned = bench.open("cloned", text_of("clone"), voice="clone")
    bench.step(3)
    bench.open("plain", text_of("plain"))
    bench.step(60)
    bench.abort(cloned)
    for name, expected in (("cloned", data["clone_greedy"]), ("plain", data["plain_greedy"])):
        spoken = bench.runner.columns(name)[:, : expected.shape[1]]
        np.testing.assert_array_equal(spoken, expected[:, : spoken.shape[1]])
        assert spoken.shape[1] >= 20


@pytest.mark.parametrize("step", ["dynamic", "static"])
def test_a_prompt_that_goes_on_inside_a_page_of_another_speaks_what_the_reference_speaks(
    make, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    monkeypatch.setattr(clauses, "_LEAST", (WHOLE_TEXT,))
    bench, data = make(step=step), fixtures.arrays("s2_tiny")
    prompt_of(bench, "before", "Other words.", "clone")
    bench.open("cloned", text_of("clone"), voice="clone")
    bench.step(60)
    (first,) = [row for plan in bench.runner.plans for row in plan.rows if row.request_id == "cloned" and row.opens]
    assert first.copy is not None
    assert first.num_past == len(bench.runner.voice_keys("clone"))
    np.testing.assert_array_equal(bench.runner.columns("cloned"), data["clone_greedy"][:, :60])


@torch.inference_mode()
def test_audio_goes_on_across_clauses_as_one_stream(make, short_clauses) -> None:
    bench = make()
    bench.open("one", "Hello there, friend. How are you today, my dear old friend of mine?")
    bench.run_dry()
    columns = bench.runner.columns("one")
    assert columns.shape[1] == 10
    whole = bench.runner.parts.codec.decode(torch.from_numpy(columns[1:]).unsqueeze(0))
    fixtures.close(torch.from_numpy(bench.runner.audio("one")), whole[0].numpy(), fixtures.AUDIO_ATOL)


@torch.inference_mode()
def test_a_later_clause_continues_the_live_context(make, short_clauses) -> None:
    bench = make()
    request = bench.open("one", "Hello there, friend. How are you today, my dear old friend of mine?", voice="clone")
    bench.step(7)
    context = np.array(request.source.prefix_keys())[: request.position]
    model = bench.runner.parts.model
    x = model.slow(torch.from_numpy(context.T).unsqueeze(0))[:, -1]
    one = torch.ones(1)
    sampling = RowSampling(one, one, one.long(), one, one, one, 1)
    noise = Noise(torch.full((1, 2, 1), 0.5), torch.full((1, model.config.num_codebooks - 1, 1), 0.5))
    bench.runner.parts.sampler.state.reset(torch.tensor([1]))
    expected = FrameSampler(model, 1).sample(x, torch.tensor([0]), sampling, noise)
    np.testing.assert_array_equal(bench.runner.columns("one")[:, -1], expected[0].numpy())
    assert len(bench.runner.columns("one").T) > 5, "the second clause is being spoken"


def test_the_first_audio_takes_one_step_however_long_the_text(make) -> None:
    for text in ("Hello there.", "Hello there, " + "and so on and on, " * 40):
        bench = make()
        bench.open("one", text)
        bench.step()
        assert [len(row.pcm) for row in bench.runner.results["one"]] == [bench.runner.frame_samples]


def random_reference(text: str, num_frames: int, num_codebooks: int) -> Reference:
    frames = np.random.default_rng(0).integers(0, 64, (num_frames, num_codebooks))
    return Reference(text, [tuple(frame) for frame in frames.tolist()])


def with_voice(bench: Bench, name: str, reference: Reference) -> None:
    """One more voice, and contexts as long as the released model's, whatever this checkpoint says of itself."""
    inner = bench.runner._runner
    inner._max_context = 2000
    inner._voices.update(inner._prompts({name: (reference,)}))
    bench.loop.scheduler.pins.want(name, bench.runner.voice_keys(name))


def prompt_of(bench: Bench, name: str, text: str, voice: str) -> Request:
    """An utterance that is aborted a few frames behind its prompt."""
    request = bench.open(name, text, voice=voice)
    bench.step(4)
    bench.abort(request)
    bench.step()
    return request


def computed(bench: Bench, name: str) -> int:
    """Positions that the first step of a request fed into the model."""
    rows = [row for plan in bench.runner.plans for row in plan.rows if row.request_id == name and row.opens]
    return sum(row.work.num_positions for row in rows)


NEW_SENTENCE = "We will send the parcel to your new address by Friday morning, and you can follow it on our page."
OTHERS = (
    "My colleague has already looked at the invoice, so there is nothing left for you to do this week.",
    "Please hold the line for a moment.",
)


def test_a_cached_voice_leaves_only_the_words_and_what_closes_them_to_compute(make, folder: Path) -> None:
    bench, codebooks = make(), read_model_config(folder).num_codebooks
    with_voice(bench, "long", random_reference("Grey gulls circle over the harbour wall.", 431, codebooks))
    layout = bench.runner._layout
    around = len(layout.ask("")) - len(layout.opening())  # what closes a sentence
    first = prompt_of(bench, "first", OTHERS[0], "long")
    assert first.cached_tokens == 0
    for number, text in enumerate((OTHERS[1], NEW_SENTENCE)):
        request = prompt_of(bench, f"next-{number}", text, "long")
        words = len(layout.ask(request.source._speaking.clause.text)) - len(layout.ask(""))
        assert request.prompt_tokens - request.cached_tokens == computed(bench, request.id) == words + around
    bench.loop.scheduler.cache.evict(1000)
    bench.loop.check_invariants()
    again = prompt_of(bench, "again", NEW_SENTENCE[::-1], "long")
    assert again.cached_tokens == len(bench.runner.voice_keys("long")), "all of the pinned voice, its last page too"


class WordTokenizer:
    """A token for each word and mark: about what the released tokenizer makes of plain English sentences.

    S2-Pro's vocabulary is Qwen's; its ranks give 22 tokens for NEW_SENTENCE (20 words), 1.15 a word over the 160
    sentences of configs/evals/plain_sentences.txt and 1.20 over LJSpeech's prose. This one gives 22, 1.16 and 1.13.
    """

    def __init__(self, inner: object) -> None:
        self.control = inner.control

    def encode(self, text: str) -> list[int]:
        return [zlib.crc32(piece.encode()) % 250 for piece in re.findall(r" ?\w+| ?[^\w\s]+[\r\n]*|\s+", text)]


TWENTY_SECONDS = math.ceil(20 * 44_100 / 2_048)
SPOKEN = (
    "The harbour was quiet when we came down to it that morning, and the boats lay one beside the other without a "
    "sound. An old man sat on the wall with his pipe and told us that the wind would turn before noon, so we should "
    "not go out too far."
)
"""51 words: what is said in twenty seconds at the pace of LJSpeech."""


@pytest.fixture
def released(make, folder: Path) -> Bench:
    """A bench whose prompts are as long as S2-Pro's: its tokenizer's rate, and a voice of twenty seconds."""
    bench = make()
    bench.runner._layout._columns._tokenizer = WordTokenizer(bench.runner._layout._columns._tokenizer)
    with_voice(bench, "long", random_reference(SPOKEN, TWENTY_SECONDS, read_model_config(folder).num_codebooks))
    for number, text in enumerate(OTHERS):
        prompt_of(bench, f"other-{number}", text, "long")
    return bench


def test_ninety_five_percent_of_the_prompt_come_from_the_cache(released: Bench) -> None:
    """20 s of reference, a new sentence of 20 words as the engine speaks it: its first clause is what has to wait."""
    request = prompt_of(released, "new", NEW_SENTENCE, "long")
    assert computed(released, "new") == request.prompt_tokens - request.cached_tokens
    assert request.cached_tokens >= 0.95 * request.prompt_tokens


def test_twenty_words_in_one_prompt_fall_just_short_of_that(released: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """22 tokens of text and 6 that close the turn are new by S2-Pro's prompt format; the cache has everything else."""
    monkeypatch.setattr(clauses, "_LEAST", (WHOLE_TEXT,))
    request = prompt_of(released, "new", NEW_SENTENCE, "long")
    assert len(NEW_SENTENCE.split()) == 20
    assert request.prompt_tokens - request.cached_tokens == 22 + 6
    assert 0.945 < request.cached_tokens / request.prompt_tokens < 0.95


def test_a_long_reference_is_computed_in_bounded_steps(make, monkeypatch: pytest.MonkeyPatch) -> None:
    bench, data = make(), fixtures.arrays("s2_tiny")
    monkeypatch.setattr(prompt_text, "MAX_PREFILL", -(-data["prompt_clone"].shape[1] // 4))
    monkeypatch.setattr(clauses, "_LEAST", (WHOLE_TEXT,))
    bench.open("one", text_of("clone"), voice="clone")
    bench.step(8)
    assert [row.codes != () for row in bench.runner.results["one"]] == [
        False,
        False,
        False,
        True,
        True,
        True,
        True,
        True,
    ]
    np.testing.assert_array_equal(bench.runner.columns("one"), data["clone_greedy"][:, :5])


def test_old_turns_are_dropped_and_the_voice_stays(make, short_clauses) -> None:
    bench = make()
    request = bench.open("one", "This sentence is as long as any other sentence here. " * 14, voice="clone")
    bench.run_dry()
    assert request.finish_reason is FinishReason.COMPLETED
    positions = [row.position + row.work.num_positions for plan in bench.runner.plans for row in plan.rows]
    assert max(positions) <= bench.runner._max_context
    restarts = [after for before, after in itertools.pairwise(positions) if after < before]
    assert restarts, "the conversation never outgrew its context"
    voice = bench.runner.voice_keys("clone")
    assert request.cached_tokens >= len(restarts) * len(voice)
    assert tuple(request.source.prefix_keys()[: len(voice)]) == tuple(voice)


def test_clauses_can_be_spoken_each_by_itself(make, short_clauses) -> None:
    bench, text = make(condition_on_previous=False), "This sentence is as long as any other sentence here. " * 4
    request = bench.open("one", text, voice="clone")
    bench.run_dry()
    assert request.finish_reason is FinishReason.COMPLETED
    gate = clauses.ClauseGate()
    gate.push(text)
    gate.flush()
    asks = [len(bench.runner._layout.ask(clause.text)) for clause in iter(gate.next_clause, None)]
    longest = max(row.position + row.work.num_positions for plan in bench.runner.plans for row in plan.rows)
    assert len(asks) >= 3
    assert longest < len(bench.runner.voice_keys("clone")) + max(asks) + 5


def test_words_are_reported_once_in_order_and_to_the_end(make, short_clauses) -> None:
    bench, text = make(), "Hello there, friend. How are you today, my dear old friend of mine?"
    request = bench.open("one", end=False)
    words = []
    accept = request.source.accept
    request.source.accept = lambda *args: words.extend(found := accept(*args)) or found
    for at in range(0, len(text), 7):
        part = text[at : at + 7]
        bench.loop.post(request, lambda part=part: request.source.push(part))
        bench.step(2)
    bench.loop.post(request, request.source.end)
    bench.run_dry()
    assert [text[word.text_start : word.text_end] for word in words] == text.split()
    assert all(before.end_ms <= after.end_ms for before, after in itertools.pairwise(words))


@pytest.mark.parametrize("seed", range(3))
def test_aborts_at_any_moment_leave_the_books_balanced(make, short_clauses, seed: int) -> None:
    pick = random.Random(seed)
    bench = make(num_pages=60)
    requests = []
    for number in range(60):
        move = pick.random()
        if move < 0.15:
            voice = pick.choice(["clone", "default"])
            requests.append(bench.open(f"r{number}", "This is what is said here. " * pick.randint(1, 9), voice=voice))
        elif move < 0.25 and requests:
            bench.abort(pick.choice(requests))
        bench.step()
    for request in requests:
        bench.abort(request)
    bench.run_dry()
    books = bench.loop.scheduler.books()
    assert books.held_pages == 0
    assert books.free_slots == books.total_slots
    assert not bench.runner.parts.slots


def test_neighbours_do_not_change_what_is_said(make, short_clauses, monkeypatch: pytest.MonkeyPatch) -> None:
    sampled = dataclasses.replace(presets._PRESETS["fish_qwen3_omni", "default"])
    monkeypatch.setattr(presets, "preset", lambda layout: sampled)
    alone = make()
    alone.open("one", "Hello there, friend. How are you today, my dear old friend of mine?", voice="clone")
    alone.run_dry()
    batch = make()
    batch.open("zero", "This is something else that is being said all the while. " * 3)
    batch.step(2)
    batch.open("one", "Hello there, friend. How are you today, my dear old friend of mine?", voice="clone")
    batch.step(4)
    batch.open("two", "And one more.", voice="clone")
    batch.run_dry()
    np.testing.assert_array_equal(batch.runner.columns("one"), alone.runner.columns("one"))
    np.testing.assert_allclose(batch.runner.audio("one"), alone.runner.audio("one"), atol=fixtures.AUDIO_ATOL)
