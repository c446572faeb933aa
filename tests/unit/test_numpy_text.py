"""A text that grows is encoded as the whole one is: however it is cut, beside others or alone, as soon as can be."""

import random

import numpy as np
import pytest
import torch

from agent_tts.models.aligned_text import REACH
from agent_tts.models.numpy_text import NumpyTextEncoder
from tests.toy import toy_parts

CLOSE = {"atol": 1e-5, "rtol": 1e-5}


@pytest.fixture(scope="module")
def model():
    return toy_parts()[0]


def whole(model, ids: list[int]) -> np.ndarray:
    with torch.inference_mode():
        return model.encode_text(torch.tensor([ids]))[0].numpy()


def random_ids(generator: random.Random, length: int) -> list[int]:
    return [generator.randrange(1, 30) for _ in range(length)]


@pytest.mark.parametrize("length", [1, 2, REACH, 7, 40])
def test_any_cut_gives_what_the_whole_text_gives(model, length: int) -> None:
    generator, encoder = random.Random(length), NumpyTextEncoder(model.text)
    ids = random_ids(generator, length)
    for portion in (1, 2, 3, 5, length):
        text = encoder.begin()
        for begin in range(0, length, portion):
            encoder.extend([text], [ids[begin : begin + portion]], [begin + portion >= length])
        np.testing.assert_allclose(text.vectors, whole(model, ids), **CLOSE)


def test_a_token_is_there_when_its_look_ahead_is_and_does_not_change_after(model) -> None:
    generator, encoder = random.Random(1), NumpyTextEncoder(model.text)
    ids = random_ids(generator, 30)
    text = encoder.begin()
    for number, token in enumerate(ids, start=1):
        encoder.extend([text], [[token]], [False])
        assert len(text.vectors) == max(0, number - model.look_ahead)
    before = text.vectors.copy()
    encoder.extend([text], [()], [True])
    assert len(text.vectors) == text.num_tokens == len(ids)
    assert np.array_equal(text.vectors[: len(before)], before)
    np.testing.assert_allclose(text.vectors, whole(model, ids), **CLOSE)


def test_texts_that_grow_together_do_not_see_each_other(model) -> None:
    generator, encoder = random.Random(2), NumpyTextEncoder(model.text)
    ids = [random_ids(generator, length) for length in (3, 25, 40, 60)]
    texts, sent = [encoder.begin() for _ in ids], [0] * len(ids)
    while not all(text.closed for text in texts):
        growing = [index for index, text in enumerate(texts) if not text.closed and generator.random() < 0.7]
        ends = [min(sent[index] + generator.randrange(0, 9), len(ids[index])) for index in growing]
        encoder.extend(
            [texts[index] for index in growing],
            [ids[index][sent[index] : end] for index, end in zip(growing, ends, strict=True)],
            [end == len(ids[index]) for index, end in zip(growing, ends, strict=True)],
        ) if growing else None
        for index, end in zip(growing, ends, strict=True):
            sent[index] = end
    for text, expected in zip(texts, ids, strict=True):
        np.testing.assert_allclose(text.vectors, whole(model, expected), **CLOSE)
