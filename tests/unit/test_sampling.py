"""The sampling rules, one by one, on logits small enough to work out by hand."""

import torch

from agent_tts.models import sampling
from agent_tts.models.numpy_sampling import RowChoice, draw_one

ONE = torch.ones(1)
LOGITS = torch.tensor([[0.15, 0.5, 0.05, 0.3]]).log()  # ranks: 1, 3, 0, 2


def kept(top_p: float, top_k: int | None = None, temperature: float = 1.0) -> int:
    limit = None if top_k is None else torch.tensor([top_k])
    probs = sampling.probabilities(sampling.rank(LOGITS), ONE * temperature, ONE * top_p, limit)
    torch.testing.assert_close(probs.sum(dim=-1), ONE)
    return int((probs > 0).sum())


def test_the_candidate_that_crosses_top_p_is_dropped_too() -> None:
    assert kept(0.85) == 2
    assert kept(0.75) == 1


def test_the_first_candidate_always_stays() -> None:
    assert kept(0.01) == 1
    assert kept(1.1, top_k=1) == 1


def test_top_p_looks_at_the_logits_before_temperature() -> None:
    assert kept(0.85, temperature=5.0) == kept(0.85, temperature=0.1) == 2


def test_each_row_has_its_own_parameters() -> None:
    ranked = sampling.rank(LOGITS.expand(2, -1))
    probs = sampling.probabilities(ranked, torch.ones(2), torch.tensor([0.1, 2.0]), torch.tensor([4, 2]))
    assert (probs > 0).tolist() == [[True, False, False, False], [True, True, False, False]]


def test_a_short_list_gives_what_the_full_one_gives() -> None:
    logits = torch.randn(50, 300, generator=torch.Generator().manual_seed(1))
    uniform = torch.rand(50, 300, generator=torch.Generator().manual_seed(2)).clamp(min=1e-7)
    rows = [0.7 * torch.ones(50), 0.9 * torch.ones(50), torch.full((50,), 30)]
    full, short = sampling.rank(logits), sampling.rank(logits, 30)
    expected = sampling.draw(full, sampling.by_rank(full, uniform), *rows)
    assert sampling.draw(short, sampling.by_rank(short, uniform), *rows).equal(expected)


def test_draws_follow_the_probabilities() -> None:
    noise = torch.rand(20_000, 4, generator=torch.Generator().manual_seed(0)).clamp(min=1e-7)
    ranked = sampling.rank(LOGITS.expand(20_000, -1))
    drawn = sampling.draw(ranked, noise, torch.ones(20_000), 2 * torch.ones(20_000))
    shares = torch.bincount(drawn, minlength=4) / 20_000
    torch.testing.assert_close(shares, LOGITS[0].exp(), atol=0.015, rtol=0)


def test_a_repeated_semantic_token_is_drawn_once_more() -> None:
    even = torch.full((1, 4), 0.5)
    second = torch.tensor([[0.5, 1 - 1e-6, 0.5, 0.5]])  # takes rank 1, candidate 3

    def run(window: list[int], *, enabled: bool = True, semantic: bool = True) -> list[int]:
        return sampling.draw_unless_repeated(
            sampling.rank(LOGITS),
            (even, second),
            torch.tensor([window]),
            torch.full((4,), semantic),
            ONE,
            ONE,
            torch.tensor([4]),
            torch.tensor([enabled]),
        ).tolist()

    assert run([-1, 3]) == [1]
    assert run([-1, 1]) == [3]
    assert run([-1, 1], enabled=False) == [1]
    assert run([-1, 1], semantic=False) == [1]


def test_a_penalty_counts_once_and_ignores_ids_that_are_no_candidates() -> None:
    logits = torch.tensor([[2.0, -2.0, 1.0]])
    result = sampling.penalize(logits, torch.tensor([[0, 1, 1, 0, 99, -1]]), torch.tensor([2.0]))
    assert result.tolist() == [[1.0, -4.0, 1.0]]


def test_one_row_on_numpy_draws_the_same() -> None:
    generator = torch.Generator().manual_seed(3)
    for top_k, top_p, temperature in ((30, 0.9, 0.7), (1, 0.9, 0.7), (5, 1.1, 2.0), (30, 0.05, 1.0), (30, 0.9, 0.0)):
        logits = 3 * torch.randn(60, 200, generator=generator)
        uniform = torch.rand(60, 30, generator=generator)
        uniform[0, 0] = 0.0
        each = [torch.full((60,), value) for value in (temperature, top_p)]
        expected = sampling.draw(sampling.rank(logits, 30), uniform, *each, torch.full((60,), top_k)).tolist()
        choice = RowChoice(temperature, top_p, top_k, limit=30)
        pairs = zip(logits.numpy(), uniform.numpy(), strict=True)
        assert [draw_one(row, noise, choice) for row, noise in pairs] == expected
