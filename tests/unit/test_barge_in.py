"""The barge-in state machine: stories of a caller and an agent, in events."""

from __future__ import annotations

import random
from dataclasses import replace

import pytest

from agent_tts.backchannels import is_backchannel
from agent_tts.barge_in import Action, BargeIn, Event, Policy, State, policy_of
from agent_tts.errors import ConfigError

SELECTIVE = policy_of("selective")
IMMEDIATE = policy_of("immediate")
assert SELECTIVE is not None
assert IMMEDIATE is not None


def story(policy: Policy, *events: tuple[float, Event] | tuple[float, Event, str]) -> list[tuple[float, Action]]:
    """Play events (ms, event, words) over a speaking agent, with every tick asked for; what was done, and when."""
    machine = BargeIn(policy)
    machine.handle(Event.AGENT_STARTED, 0.0)
    done: list[tuple[float, Action]] = []

    def note(at_ms: float, action: Action | None) -> None:
        if action is not None:
            done.append((at_ms, action))

    for at_ms, event, *words in events:
        while (wake := machine.wakes_at_s) is not None and 1000 * wake <= at_ms:
            note(round(1000 * wake), machine.handle(Event.TICK, wake))
        note(at_ms, machine.handle(event, at_ms / 1000, *words))
    while (wake := machine.wakes_at_s) is not None:
        note(round(1000 * wake), machine.handle(Event.TICK, wake))
    return done


def test_immediate_pauses_at_the_suspicion_and_cuts_at_the_vad() -> None:
    assert story(IMMEDIATE, (1000, Event.SUSPICION), (1090, Event.SPEECH_STARTED)) == [
        (1000, Action.PAUSE),
        (1090, Action.COMMIT),
    ]


def test_immediate_does_not_wait_for_a_slow_vad() -> None:
    assert story(IMMEDIATE, (1000, Event.SUSPICION), (1240, Event.NEAR), (1400, Event.SPEECH_STARTED)) == [
        (1000, Action.PAUSE),
        (1240, Action.COMMIT),
    ]


def test_immediate_needs_both_the_vad_and_the_suspicion_in_any_order() -> None:
    assert story(IMMEDIATE, (1000, Event.SPEECH_STARTED), (1300, Event.SPEECH_ENDED), (1400, Event.SUSPICION)) == [
        (1400, Action.PAUSE),
        (1900, Action.RESUME),
    ]
    assert story(IMMEDIATE, (1000, Event.SPEECH_STARTED), (1040, Event.SUSPICION)) == [(1040, Action.COMMIT)]


def test_selective_cuts_when_the_caller_goes_on_talking() -> None:
    assert story(SELECTIVE, (1000, Event.SUSPICION), (1240, Event.NEAR), (1850, Event.TALKING)) == [
        (1000, Action.PAUSE),
        (1850, Action.COMMIT),
    ]


@pytest.mark.parametrize("policy", [IMMEDIATE, SELECTIVE])
def test_a_sound_that_is_no_speech_costs_a_short_pause(policy: Policy) -> None:
    assert story(policy, (1000, Event.SUSPICION), (1250, Event.QUIET)) == [(1000, Action.PAUSE), (1250, Action.RESUME)]


@pytest.mark.parametrize("policy", [IMMEDIATE, SELECTIVE])
def test_a_noise_that_lasts_holds_the_agent_only_once(policy: Policy) -> None:
    assert story(
        policy,
        (1000, Event.SUSPICION),
        (1900, Event.SUSPICION),
        (2000, Event.QUIET),
        (3000, Event.SUSPICION),
        (3100, Event.QUIET),
    ) == [
        (1000, Action.PAUSE),
        (1500, Action.RESUME),
        (3000, Action.PAUSE),
        (3100, Action.RESUME),
    ]


def test_a_backchannel_pauses_and_goes_on_and_its_words_change_nothing() -> None:
    assert story(
        SELECTIVE,
        (1000, Event.SUSPICION),
        (1090, Event.SPEECH_STARTED),
        (1240, Event.NEAR),
        (1500, Event.QUIET),
        (1900, Event.SPEECH_ENDED),
        (2400, Event.WORDS, "Uh-huh, yeah."),
    ) == [(1000, Action.PAUSE), (1500, Action.RESUME)]


def test_one_short_word_that_is_no_backchannel_cuts_as_soon_as_it_is_known() -> None:
    assert story(
        SELECTIVE,
        (1000, Event.SUSPICION),
        (1240, Event.NEAR),
        (1500, Event.QUIET),
        (2400, Event.WORDS, "Stop!"),
    ) == [(1000, Action.PAUSE), (1500, Action.RESUME), (2400, Action.COMMIT)]


def test_partial_words_cut_while_the_caller_talks() -> None:
    assert story(
        SELECTIVE,
        (1000, Event.SUSPICION),
        (1240, Event.NEAR),
        (1300, Event.PARTIAL_WORDS, "yes"),
        (1500, Event.PARTIAL_WORDS, "yes but what"),
        (1600, Event.PARTIAL_WORDS, "yes but what about"),
    ) == [(1000, Action.PAUSE), (1600, Action.COMMIT)]


def test_a_guess_counts_when_the_next_one_has_the_word_too() -> None:
    spoken = ((1000, Event.SUSPICION), (1240, Event.NEAR), (1500, Event.PARTIAL_WORDS, "The tree."))
    assert story(SELECTIVE, *spoken, (1600, Event.PARTIAL_WORDS, "Uh-huh."), (1700, Event.QUIET)) == [
        (1000, Action.PAUSE),
        (1700, Action.RESUME),
    ]
    assert story(SELECTIVE, *spoken, (1600, Event.PARTIAL_WORDS, "The trains from"))[-1] == (1600, Action.COMMIT)
    assert story(SELECTIVE, *spoken, (1600, Event.WORDS, "Louder, please."))[-1] == (1600, Action.COMMIT)


def test_an_urgent_word_of_a_guess_waits_for_the_next_guess_too() -> None:
    """The first guess at "Oh, nice." was "Oh, no.", and ended the reply."""
    spoken = ((1000, Event.SUSPICION), (1240, Event.NEAR), (1400, Event.PARTIAL_WORDS, "Oh, no."))
    assert story(SELECTIVE, *spoken, (1600, Event.PARTIAL_WORDS, "Oh, nice."), (1700, Event.QUIET))[-1] == (
        1700,
        Action.RESUME,
    )
    assert story(SELECTIVE, *spoken, (1600, Event.PARTIAL_WORDS, "Oh, no, wait"))[-1] == (1600, Action.COMMIT)


def test_a_caller_who_talks_on_is_given_the_next_guess_but_no_more_than_a_second() -> None:
    near = ((1000, Event.SUSPICION), (1240, Event.NEAR))
    spoken = (*near, (1700, Event.PARTIAL_WORDS, "Oh, no."), (1850, Event.TALKING))
    nice = (1950, Event.PARTIAL_WORDS, "Oh, nice."), (2050, Event.QUIET)
    assert story(SELECTIVE, *spoken, *nice) == [(1000, Action.PAUSE), (2050, Action.RESUME)]
    assert story(SELECTIVE, *spoken, (2850, Event.TICK)) == [(1000, Action.PAUSE), (2850, Action.COMMIT)]
    silent = (*near, (1700, Event.PARTIAL_WORDS, " "), (1850, Event.TALKING))
    assert story(SELECTIVE, *silent) == [(1000, Action.PAUSE), (1850, Action.COMMIT)]


def test_one_word_ends_a_reply_only_when_it_is_urgent() -> None:
    """Recognisers made "Sore." and "Soy." of a short "Sure.", and each ended a reply."""
    spoken = ((1000, Event.SUSPICION), (1240, Event.NEAR))
    assert story(SELECTIVE, *spoken, (1600, Event.WORDS, "Stop."))[-1] == (1600, Action.COMMIT)
    assert story(SELECTIVE, *spoken, (1600, Event.WORDS, "Sore."), (1700, Event.QUIET))[-1] == (1700, Action.RESUME)


def test_words_of_an_earlier_turn_do_not_cut_the_reply() -> None:
    assert story(SELECTIVE, (1000, Event.WORDS, "what is the time")) == []


def test_side_talk_is_suspected_and_let_go_and_neither_the_vad_nor_its_words_cut() -> None:
    assert story(
        SELECTIVE,
        (1000, Event.SUSPICION),
        (1090, Event.SPEECH_STARTED),
        (1400, Event.WORDS, "did you feed the cat"),
        (2600, Event.QUIET),
        (3000, Event.SPEECH_ENDED),
        (3400, Event.WORDS, "did you feed the cat this morning"),
    ) == [(1000, Action.PAUSE), (1500, Action.RESUME)]


def test_speech_that_turns_out_to_be_near_is_heard_after_all() -> None:
    assert story(SELECTIVE, (1000, Event.SUSPICION), (1700, Event.NEAR), (2300, Event.TALKING)) == [
        (1000, Action.PAUSE),
        (1500, Action.RESUME),
        (1700, Action.PAUSE),
        (2300, Action.COMMIT),
    ]


def test_a_long_backchannel_is_given_time_once_its_words_are_known() -> None:
    told = ((1000, Event.SUSPICION), (1240, Event.NEAR), (1500, Event.WORDS, "yeah okay"), (1850, Event.TALKING))
    assert story(SELECTIVE, *told, (2200, Event.QUIET)) == [(1000, Action.PAUSE), (2200, Action.RESUME)]
    assert story(SELECTIVE, *told) == [(1000, Action.PAUSE), (2850, Action.COMMIT)]


def test_a_caller_who_is_heard_no_more_once_near_holds_the_agent_for_three_seconds_at_most() -> None:
    """Whoever muted the microphone in the middle of a word, or hung up, left the reply paused for ever."""
    near = ((1000, Event.SUSPICION), (1240, Event.NEAR))
    assert story(SELECTIVE, *near) == [(1000, Action.PAUSE), (4240, Action.RESUME)]
    assert story(replace(SELECTIVE, resume_on_quiet=False), *near, (1500, Event.QUIET))[-1] == (4240, Action.RESUME)
    assert story(SELECTIVE, *near, (4500, Event.TALKING))[-1] == (4500, Action.COMMIT), "talking still counts"
    assert story(SELECTIVE, *near, (5000, Event.WORDS, "No, the other one."))[-1] == (5000, Action.COMMIT)


def test_a_vad_that_never_ends_changes_nothing_for_a_reply_that_went_on() -> None:
    spoken = ((1000, Event.SUSPICION), (1090, Event.SPEECH_STARTED), (1240, Event.NEAR), (1500, Event.QUIET))
    assert story(SELECTIVE, *spoken) == [(1000, Action.PAUSE), (1500, Action.RESUME)]


def test_words_of_an_earlier_backchannel_give_the_next_talk_no_second_more() -> None:
    """After the first "yeah" of a call every interruption by length came a second later."""
    yeah = ((500, Event.SUSPICION), (590, Event.SPEECH_STARTED), (740, Event.NEAR), (900, Event.WORDS, "yeah"))
    quiet = ((1000, Event.QUIET), (1500, Event.SPEECH_ENDED))
    talks = ((3000, Event.SUSPICION), (3090, Event.SPEECH_STARTED), (3240, Event.NEAR), (3850, Event.TALKING))
    assert story(SELECTIVE, *yeah, *quiet, *talks)[-1] == (3850, Action.COMMIT)


# -- words that are no turn -------------------------------------------------------------------------------------------


def heard(*events: Event | str) -> BargeIn:
    """A machine that has seen these over a reply, a second apart; texts are what the STT settled on."""
    machine = BargeIn(SELECTIVE)
    for at_s, event in enumerate((Event.AGENT_STARTED, *events)):
        words = event if isinstance(event, str) else ""
        machine.handle(Event.WORDS if isinstance(event, str) else event, float(at_s), words)
    return machine


NEAR = (Event.SUSPICION, Event.SPEECH_STARTED, Event.NEAR)
OVER = (Event.QUIET, Event.SPEECH_ENDED)


def test_a_backchannel_over_a_reply_is_no_turn_also_when_its_words_come_after_the_reply() -> None:
    assert heard(*NEAR, "Yeah.").is_no_turn("Yeah.", knows_caller=True)
    assert heard(*NEAR, *OVER, "Yeah.").is_no_turn("Yeah.", knows_caller=True)
    assert heard(*NEAR, *OVER, Event.AGENT_STOPPED, "Yeah.").is_no_turn("Yeah.", knows_caller=True)


def test_a_yeah_into_the_last_word_of_a_question_is_an_answer() -> None:
    """Pipecat's binding let it fall: it had begun over the reply."""
    machine = heard(*NEAR, Event.AGENT_STOPPED, *OVER, "Yeah.")
    assert not machine.is_no_turn("Yeah.", knows_caller=True)


def test_what_somebody_far_away_says_over_a_reply_is_no_turn_once_the_caller_is_known() -> None:
    words = "Did you feed the cat?"
    for last in ((), (Event.AGENT_STOPPED,)):
        machine = heard(Event.SUSPICION, Event.SPEECH_STARTED, *OVER, *last, words)
        assert machine.is_no_turn(words, knows_caller=True)
        assert not machine.is_no_turn(words, knows_caller=False)
    assert not heard(*NEAR, *OVER, words).is_no_turn(words, knows_caller=True)


def test_what_was_said_before_the_reply_and_what_ended_it_are_turns() -> None:
    machine = BargeIn(SELECTIVE)
    for event in (Event.SPEECH_STARTED, Event.SPEECH_ENDED, Event.AGENT_STARTED):
        machine.handle(event, 1.0)
    assert not machine.is_no_turn("Yeah.", knows_caller=True)
    assert not heard(*NEAR, Event.TALKING, *OVER).is_no_turn("Yeah.", knows_caller=True)


def test_a_caller_who_still_talks_when_the_agent_begins_is_heard() -> None:
    machine = BargeIn(SELECTIVE)
    for event in (Event.SUSPICION, Event.NEAR, Event.AGENT_STARTED):
        assert machine.handle(event, 1.0) is None
    assert machine.handle(Event.TALKING, 1.5) is Action.COMMIT


def test_without_an_onset_test_the_vad_alone_decides() -> None:
    deaf = replace(SELECTIVE, onset_test=False)
    assert story(deaf, (1000, Event.SPEECH_STARTED)) == [(1000, Action.PAUSE), (1900, Action.COMMIT)]
    assert story(deaf, (1000, Event.SPEECH_STARTED), (1500, Event.SPEECH_ENDED), (2000, Event.WORDS, "wait")) == [
        (1000, Action.PAUSE),
        (1500, Action.RESUME),
        (2000, Action.COMMIT),
    ]
    assert story(replace(IMMEDIATE, onset_test=False), (1000, Event.SPEECH_STARTED)) == [(1000, Action.COMMIT)]


def test_nothing_happens_while_the_agent_is_silent() -> None:
    machine = BargeIn(IMMEDIATE)
    assert [machine.handle(event, 1.0) for event in (Event.SUSPICION, Event.SPEECH_STARTED, Event.QUIET)] == [None] * 3
    assert machine.state is State.IDLE


def test_the_next_reply_can_be_interrupted_again() -> None:
    machine = BargeIn(IMMEDIATE)
    for _ in range(2):
        machine.handle(Event.AGENT_STARTED, 0.0)
        assert machine.handle(Event.SUSPICION, 1.0) is Action.PAUSE
        assert machine.handle(Event.SPEECH_STARTED, 1.1) is Action.COMMIT
        machine.handle(Event.SPEECH_ENDED, 1.5)
        machine.handle(Event.AGENT_STOPPED, 2.0)


def test_any_order_of_events_keeps_pause_and_resume_in_pairs() -> None:
    for seed in range(300):
        dice, paused = random.Random(seed), False
        machine = BargeIn(dice.choice([IMMEDIATE, SELECTIVE, replace(SELECTIVE, onset_test=False)]))
        at_s = 0.0
        for _ in range(60):
            at_s += dice.random() / 2
            event = dice.choice(list(Event))
            action = machine.handle(event, at_s, dice.choice(["yeah", "wait a moment", ""]))
            if action is Action.PAUSE:
                assert not paused, f"seed {seed}: paused twice"
                paused = True
            elif action is Action.RESUME:
                assert paused, f"seed {seed}: resumed what was not paused"
                paused = False
            elif action is Action.COMMIT or event is Event.AGENT_STOPPED:
                paused = False
            assert paused == (machine.state in (State.SUSPECTED, State.OVERLAP)), f"seed {seed}"
            assert not paused or machine.wakes_at_s is not None, f"seed {seed}: paused with nothing that ends it"


@pytest.mark.parametrize(
    "words", ["", "Mm-hmm.", "Yeah, right, okay.", "I see.", "Oh, got it. Thank you.", "Mama.", "Mum, hmma"]
)
def test_backchannels(words: str) -> None:
    assert is_backchannel(words)


@pytest.mark.parametrize(
    "words", ["no", "Wait.", "yeah but", "okay stop", "no thanks", "I see a problem", "got", "a map", "move"]
)
def test_no_backchannels(words: str) -> None:
    assert not is_backchannel(words)


def test_an_unknown_preset_names_those_that_exist() -> None:
    with pytest.raises(ConfigError, match=r"'instant'.*'immediate', 'selective', 'framework'"):
        policy_of("instant")
