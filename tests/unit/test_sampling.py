"""The sampling rules, one by one, on logits small enough to work out by hand."""

import torch

from agent_tts.models import sampling

ONE = torch.ones(1)
LOGITS = torch.tensor([[0.5, 0.3, 0.15, 0.05]]).log()


def kept(top_p: float, top_k: int | None = None, temperature: float = 1.0) -> list[bool]:
    limit = None if top_k is None else torch.tensor([top_k])
    return (sampling.filtered_probs(LOGITS, ONE * temperature, ONE * top_p, limit) > 0)[0].tolist()


def test_the_candidate_that_crosses_top_p_is_dropped_too() -> None:
    assert kept(0.85) == [True, True, False, False]
    assert kept(0.75) == [True, False, False, False]


def test_the_first_candidate_always_stays() -> None:
    assert kept(0.01) == [True, False, False, False]
    assert kept(1.0, top_k=1) == [True, False, False, False]


def test_top_p_looks_at_the_logits_before_temperature() -> None:
    assert kept(0.85, temperature=5.0) == kept(0.85, temperature=0.1) == [True, True, False, False]


def test_each_row_has_its_own_parameters() -> None:
    rows = LOGITS.expand(2, -1)
    probs = sampling.filtered_probs(rows, torch.ones(2), torch.tensor([0.1, 2.0]), torch.tensor([4, 2]))
    assert (probs > 0).tolist() == [[True, False, False, False], [True, True, False, False]]


def test_draws_follow_the_probabilities() -> None:
    noise = torch.rand(20_000, 4, generator=torch.Generator().manual_seed(0)).clamp(min=1e-7)
    rows = LOGITS.expand(20_000, -1)
    drawn = sampling.draw(rows, noise, torch.ones(20_000), 2 * torch.ones(20_000))
    shares = torch.bincount(drawn, minlength=4) / 20_000
    torch.testing.assert_close(shares, LOGITS[0].exp(), atol=0.015, rtol=0)


def test_a_repeated_semantic_token_is_drawn_once_more() -> None:
    uniform = torch.full((1, 2, 4), 0.5)
    uniform[0, 1, 1] = 1 - 1e-6  # the second draw takes candidate 1

    def run(window: list[int], *, enabled: bool = True, semantic: bool = True) -> int:
        return sampling.draw_unless_repeated(
            LOGITS,
            uniform,
            torch.tensor([window]),
            torch.full((4,), semantic),
            ONE,
            ONE,
            torch.tensor([4]),
            torch.tensor([enabled]),
        ).item()  # type: ignore[return-value]

    assert run([-1, 3]) == 0
    assert run([-1, 0]) == 1
    assert run([-1, 0], enabled=False) == 0
    assert run([-1, 0], semantic=False) == 0


def test_a_penalty_counts_once_and_ignores_ids_that_are_no_candidates() -> None:
    logits = torch.tensor([[2.0, -2.0, 1.0]])
    result = sampling.penalize(logits, torch.tensor([[0, 1, 1, 0, 99, -1]]), torch.tensor([2.0]))
    assert result.tolist() == [[1.0, -4.0, 1.0]]
