"""A phone's parts: mu-law against the standard's values, what a jitter buffer plays, SIP messages as they come."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest

from evals.live.tracks import Pcm
from evals.phone.ear import BUFFER_S, RESTART, at_line_rate, play
from evals.phone.mulaw import decode, encode
from evals.phone.rtp import PACKET, PACKET_S, SILENCE, Packet, packed, unpacked
from evals.phone.sip import CallRefusedError, Message, answered_at, offer

LOUD = encode(np.full(PACKET, 5000, np.int16))

# -- mu-law -----------------------------------------------------------------------------------------------------------


def test_mu_law_has_the_values_of_the_standard() -> None:
    codes = {
        0x00: -32124,
        0x0F: -16764,
        0x10: -15996,
        0x7E: -8,
        0x7F: 0,
        0x80: 32124,
        0xA0: 7932,
        0xAF: 4092,
        0xB0: 3900,
        0xFE: 8,
        0xFF: 0,
    }
    assert {code: int(decode(bytes([code]))[0]) for code in codes} == codes


def test_every_code_comes_back_as_itself() -> None:
    codes = bytes(code for code in range(256) if code != 0x7F)  # minus zero is written as zero
    assert encode(decode(codes)) == codes
    assert encode(np.zeros(1, np.int16)) == b"\xff"


def test_every_sample_comes_back_within_half_a_step_of_its_segment() -> None:
    samples: Pcm = np.arange(-32768, 32768).astype(np.int16)
    wide = samples.astype(np.int64)
    step = 2.0 ** np.floor(np.log2(np.minimum(np.abs(wide), 32635) + 132)) / 16
    error = np.abs(decode(encode(samples)) - np.clip(wide, -32635, 32635))
    assert (error <= step / 2).all()


# -- RTP --------------------------------------------------------------------------------------------------------------


def test_a_packet_is_read_as_it_was_written_and_its_counters_wrap() -> None:
    data = packed(65_536 + 7, 2**32 + 9, 0xABCDEF, LOUD)
    assert unpacked(data, 5.0) == Packet(5.0, 7, 9, LOUD)


@pytest.mark.parametrize("data", [b"", b"\x80\xc8" + bytes(26), b"\x80\x65" + bytes(14), b"\x00\x01" + bytes(18)])
def test_what_is_not_pcmu_is_left_out(data: bytes) -> None:
    assert unpacked(data, 5.0) is None


# -- the ear ----------------------------------------------------------------------------------------------------------


def stream(came_s: Sequence[float], payload: bytes = LOUD, *, first: int = 0) -> list[Packet]:
    """Packets in the order in which they were sent, each with the moment when it came."""
    return [
        Packet(at_s, (first + index) % 2**16, (PACKET * (first + index)) % 2**32, payload)
        for index, at_s in enumerate(came_s)
    ]


def times(packets: list[Packet]) -> list[float]:
    return [round(frame.at_s, 6) for frame in play(packets).frames]


def steady(count: int, begin_s: float = 10.0) -> list[float]:
    return [begin_s + PACKET_S * index for index in range(count)]


def test_sound_is_played_a_buffer_after_it_came() -> None:
    assert times(stream(steady(4))) == pytest.approx([at_s + BUFFER_S for at_s in steady(4)])


def test_jitter_within_the_buffer_is_not_heard() -> None:
    jitter = [0.0, 0.03, 0.005, 0.039, 0.0]
    came = [at_s + late_s for at_s, late_s in zip(steady(5), jitter, strict=True)]
    packets = sorted(stream(came), key=lambda packet: packet.at_s)
    assert sorted(times(packets)) == pytest.approx([at_s + BUFFER_S for at_s in steady(5)])


def test_a_packet_after_its_turn_is_not_played_and_counted() -> None:
    came = steady(6)
    came[3] += BUFFER_S + 0.001
    played = play(stream(came))
    assert (played.received, played.late, played.lost) == (6, 1, 0)
    assert len(played.frames) == 5


def test_a_packet_that_never_came_leaves_a_hole_of_its_length() -> None:
    packets = stream(steady(5))
    del packets[2]
    assert times(packets) == pytest.approx([at_s + BUFFER_S for at_s in [*steady(2), *steady(5)[3:]]])
    assert play(packets).lost == 1


def test_packets_that_overtook_each_other_are_played_in_their_order() -> None:
    one, two, three = stream([10.0, 10.031, 10.03])
    played = play([one, three, two])
    assert (played.reordered, played.lost, played.late) == (1, 0, 0)
    assert sorted(frame.at_s for frame in played.frames) == pytest.approx([10.04, 10.06, 10.08])


def test_a_sender_that_stood_still_is_heard_again_after_some_packets() -> None:
    came = steady(5) + steady(20, begin_s=12.0)
    played = play(stream(came))
    assert played.late == RESTART
    assert len(played.frames) == 20
    assert played.frames[5].at_s == pytest.approx(12.0 + RESTART * PACKET_S + BUFFER_S)


def test_in_a_silence_the_clock_is_set_by_the_least_late_packet() -> None:
    late_at_first = [at_s + (0.03 if index == 0 else 0.0) for index, at_s in enumerate(steady(100))]
    packets = [
        Packet(packet.at_s, packet.sequence, packet.timestamp, SILENCE if index < 50 else LOUD)
        for index, packet in enumerate(stream(late_at_first))
    ]
    frames = play(packets).frames
    assert frames[0].at_s == pytest.approx(10.03 + BUFFER_S)
    assert frames[99].at_s == pytest.approx(steady(100)[99] + BUFFER_S)


def test_setting_the_clock_moves_nothing_that_was_heard() -> None:
    stalled = [max(at_s, 10.5 + 0.002 * index) for index, at_s in enumerate(steady(60))]
    packets = [
        Packet(packet.at_s, packet.sequence, packet.timestamp, LOUD if index < 10 else SILENCE)
        for index, packet in enumerate(stream(stalled))
    ]
    frames = play(packets).frames
    assert [round(frame.at_s, 6) for frame in frames[:10]] == pytest.approx(steady(10, 10.5 + BUFFER_S))
    assert min(frame.at_s for frame in frames[10:]) == pytest.approx(10.7 + BUFFER_S)
    assert frames[59].at_s == pytest.approx(steady(60)[59] + BUFFER_S)


def test_while_somebody_speaks_the_clock_stays_as_it_is() -> None:
    late_at_first = [at_s + (0.03 if index == 0 else 0.0) for index, at_s in enumerate(steady(100))]
    assert times(stream(late_at_first))[99] == pytest.approx(steady(100)[99] + 0.03 + BUFFER_S)


def test_counters_that_wrap_are_counted_on() -> None:
    played = play(stream(steady(10), first=65_530))
    assert (played.received, played.lost, played.reordered, played.late) == (10, 0, 0, 0)
    assert np.diff([frame.at_s for frame in played.frames]) == pytest.approx(PACKET_S)


def test_nothing_came() -> None:
    assert play([]).frames == []


def test_the_samples_that_came_stay_what_they_are_at_the_recordings_rate() -> None:
    pcm = decode(encode(np.random.default_rng(1).integers(-9000, 9000, PACKET).astype(np.int16)))
    assert np.array_equal(at_line_rate(pcm)[::6], pcm)
    assert len(at_line_rate(pcm)) == 960


# -- SIP --------------------------------------------------------------------------------------------------------------


def test_short_and_folded_headers_are_read() -> None:
    data = b"SIP/2.0 200 OK\r\nv: one\r\nVia: two,\r\n three\r\nf: a\r\nCSeq: 7 INVITE\r\n\r\nv=0\r\n"
    message = Message.read(data)
    assert (message.status, message.method, message.body) == (200, "INVITE", "v=0\r\n")
    assert message.all("via") == ["one", "two, three"]
    assert message.one("from") == "a"
    assert message.one("contact") == ""


def test_a_request_has_no_status() -> None:
    message = Message.read(b"BYE sip:a@b SIP/2.0\r\nCSeq: 2 BYE\r\n\r\n")
    assert (message.status, message.method) == (None, "BYE")


def test_the_answer_names_where_packets_go_and_its_own_address_of_the_media_wins() -> None:
    assert answered_at(offer(4000)) == ("127.0.0.1", 4000)
    answer = "c=IN IP4 10.0.0.1\r\nm=audio 4002 RTP/AVP 0 101\r\nc=IN IP4 127.0.0.1\r\n"
    assert answered_at(answer) == ("127.0.0.1", 4002)


@pytest.mark.parametrize("media", ["audio 4000 RTP/AVP 8", "audio 0 RTP/AVP 0", "video 4000 RTP/AVP 0"])
def test_an_answer_without_pcmu_is_no_call(media: str) -> None:
    with pytest.raises(CallRefusedError, match="without PCMU"):
        answered_at(f"c=IN IP4 127.0.0.1\r\nm={media}\r\n")
