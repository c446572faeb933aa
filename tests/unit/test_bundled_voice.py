"""The weights in the package: they load, decode in any chunking alike, and a sentence ends."""

from pathlib import Path

import pytest
import torch

import agent_tts
from agent_tts import Engine, EngineConfig
from agent_tts.codec.source_filter_checkpoint import load_source_filter
from agent_tts.errors import ConfigError
from agent_tts.models.aligned_checkpoint import load_aligned
from agent_tts.runtime.aligned_runner import most_pages, require_pages
from agent_tts.training.synthesis import speak

FOLDER = Path(agent_tts.__file__).parent / "assets" / "bundled"
HELLO = [0, 50, 83, 54, 156, 31, 16, 81, 156, 86, 123, 4]
"""The start token and "həlˈO ðˈɛɹ." in hibari's phoneme ids."""


@pytest.fixture(scope="module")
def decoder():
    return load_source_filter(FOLDER)


@pytest.fixture(scope="module")
def spoken(decoder):
    return speak(load_aligned(FOLDER), decoder, [HELLO], seed=0)[0]


def test_files_fit_in_the_package():
    assert sum(path.stat().st_size for path in FOLDER.iterdir()) <= 20_000_000
    assert {path.name for path in FOLDER.iterdir()} == {"MODEL_CARD.md", "config.json", "model.safetensors"}


def test_a_greeting_ends_in_time_and_is_heard_at_once(spoken):
    assert spoken.stopped
    seconds = len(spoken.audio) / 24_000
    assert 0.4 < seconds < 1.5
    loud = (torch.from_numpy(spoken.audio).abs() > 0.01).nonzero()
    assert int(loud[0]) / 24 <= 80, "first audible sample, in milliseconds"
    assert 0.1 < abs(spoken.audio).max() < 1.2


async def test_more_slots_than_there_are_pages_for_are_refused_before_anybody_speaks():
    """The youngest utterance failed in mid-speech."""
    with pytest.raises(ConfigError, match="num_pages to 518 or more, or max_slots to 36 or less"):
        await Engine.load(config=EngineConfig(max_slots=37))


@pytest.mark.parametrize(("page_size", "pages"), [(1, 201), (16, 14), (50, 5), (199, 3), (200, 2), (512, 2)])
def test_the_least_number_of_pages_is_taken(page_size, pages):
    assert most_pages(200, page_size) == pages
    for slots in (1, 8):
        require_pages(200, EngineConfig(max_slots=slots, page_size=page_size, num_pages=slots * pages))
        with pytest.raises(ConfigError, match=f"num_pages to {slots * pages} or more"):
            require_pages(200, EngineConfig(max_slots=slots, page_size=page_size, num_pages=slots * pages - 1))


@torch.no_grad()
@pytest.mark.parametrize("size", [1, 5])
def test_chunked_decoding_equals_the_whole(decoder, spoken, size):
    codes = spoken.codes[None]
    whole = decoder.step(codes, decoder.init_state(1))
    state = decoder.init_state(1)
    parts = [decoder.step(part, state) for part in codes.split(size, dim=-1)]
    assert (torch.cat(parts, -1) - whole).abs().max() < 1e-3


@torch.no_grad()
def test_a_neighbour_changes_next_to_nothing(decoder, spoken):
    codes = spoken.codes[None]
    alone = decoder.step(codes, decoder.init_state(1))
    both = decoder.step(torch.cat([codes.flip(-1), codes]), decoder.init_state(2))
    assert (both[1:] - alone).abs().max() < 1e-4
