"""Training batches and tables: pointers move as the model may, packed rows hold what they should, tables learn."""

import numpy as np
import pytest
import torch

from agent_tts.codec.mel_encoder import LogMel, MelConfig
from agent_tts.codec.quantizer import ResidualQuantizer
from agent_tts.training.corpus import Shard, pointers
from agent_tts.training.data import _write_shard
from agent_tts.training.loop import AverageWeights, load_checkpoint, make_optimizer, save_checkpoint, schedule
from agent_tts.training.packing import PackShape, batches, packed_rows, shuffled_pieces
from agent_tts.training.rvq import QuantizerTraining
from agent_tts.training.teacher import F0_HOP, FRAME_SAMPLES, Utterance

SHAPE = PackShape(frames=30, tokens=40, start_code=16)


def utterance(frames, tokens):
    length = frames * FRAME_SAMPLES
    return Utterance(
        text="x",
        ids=np.arange(tokens, dtype=np.uint8),
        ends=np.linspace(length / tokens, length, tokens).astype(np.int32),
        audio=np.full(length, frames, np.int16),
        f0=np.zeros(length // F0_HOP, np.float16),
    )


@pytest.fixture
def shard(tmp_path):
    sizes = [(7, 9), (12, 20), (45, 30), (9, 12), (5, 3)]
    path = tmp_path / "shard-00000"
    _write_shard(path, [utterance(frames, tokens) for frames, tokens in sizes])
    total = sum(frames for frames, _ in sizes)
    codes = np.random.default_rng(0).integers(0, 16, (total, 4)).astype(np.uint16)
    codes.tofile(path / "codes.u16")
    return Shard(path)


def test_pointer_begins_at_the_start_token_and_ends_past_the_last():
    ends = np.array([0, 960, 1920, 1930, 4800], np.int32)
    moves = pointers(ends, 5, 3)
    assert moves[0] == 0
    assert moves[-1] == len(ends)
    assert set(np.diff(moves)) <= {0, 1, 2, 3}


def test_pointer_never_moves_further_than_allowed():
    ends = np.arange(1, 41, dtype=np.int32) * 100
    assert np.diff(pointers(ends, 10, 3)).max() == 3


def test_packed_rows_hold_every_target_of_their_utterances(shard):
    rng = np.random.default_rng(0)
    packed = list(batches(packed_rows(shuffled_pieces([shard], SHAPE, rng), SHAPE), 1, SHAPE))
    real = [batch.segment[0] >= 0 for batch in packed]
    assert sum(int(mask.sum()) for mask in real) == 7 + 12 + 30 + 9 + 5
    for batch, mask in zip(packed, real, strict=True):
        inside = batch.place[0][mask]
        assert batch.present[0][inside].all()
        begins = batch.previous[0, :, 0] == SHAPE.start_code
        follows = mask & ~begins & (torch.roll(batch.segment[0], 1) == batch.segment[0])
        follows[0] = False
        before = torch.roll(batch.codes[0], 1, 0)
        assert torch.equal(batch.previous[0][follows], before[follows])


def test_a_long_utterance_becomes_a_stretch_of_one_row(shard):
    pieces = list(shuffled_pieces([shard], SHAPE, np.random.default_rng(1)))
    assert max(len(piece.place) for piece in pieces) == SHAPE.frames
    assert all(piece.place.max() < len(piece.ids) for piece in pieces)


def test_quantizer_tables_follow_the_latents():
    torch.manual_seed(0)
    training = QuantizerTraining(ResidualQuantizer(3, 16, 4), dropout=0.0)
    latents = torch.randn(600, 4)
    training.initialise(latents)
    batch = latents.T.unsqueeze(0)
    first = (training(batch, revive=False)[0] - batch).square().mean()
    for _ in range(30):
        last = (training(batch, revive=True)[0] - batch).square().mean()
    assert last < first < latents.square().mean() / 3


def test_codes_decode_to_their_vectors():
    quantizer = ResidualQuantizer(3, 16, 4)
    quantizer.codebooks.normal_()
    codes = torch.randint(0, 16, (2, 3, 5))
    wanted = sum(quantizer.codebooks[book][codes[:, book]] for book in range(3))
    torch.testing.assert_close(quantizer.decode(codes), wanted.transpose(1, 2))


def test_log_mel_has_one_step_per_hop():
    config = MelConfig()
    assert LogMel(config)(torch.randn(2, 9_600)).shape == (2, config.num_bands, 9_600 // config.hop)


def test_schedule_rises_and_falls_to_nothing():
    values = [schedule(step, 100, 10) for step in range(101)]
    assert values[0] < values[9] == 1.0
    assert values[100] == pytest.approx(0.0)


def test_a_checkpoint_brings_everything_back(tmp_path):
    module = torch.nn.Linear(2, 2)
    optimizer, average = make_optimizer(module.parameters(), 0.1), AverageWeights(module, 0.9)
    module(torch.ones(1, 2)).sum().backward()
    optimizer.step()
    average.update(module)
    save_checkpoint(tmp_path / "x.pt", 7, module=module, average=average)
    other = torch.nn.Linear(2, 2)
    other_average = AverageWeights(other, 0.9)
    assert load_checkpoint(tmp_path / "x.pt", module=other, average=other_average) == 7
    assert torch.equal(other.weight, module.weight)
    other_average.copy_to(other)
    assert torch.equal(other.weight, average.values["weight"])
    assert load_checkpoint(tmp_path / "none.pt") == 0
