"""agents/pipecat_agent.py where it leans on others: aiortc's private buffer, an LLM that may be missing."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace

import pytest

pytest.importorskip("pipecat")
aiortc = pytest.importorskip("aiortc")
pytest.importorskip("fastapi")
pytest.importorskip("faster_whisper")

from agents import pipecat_agent  # noqa: E402

pytestmark = pytest.mark.filterwarnings("ignore")


def test_the_agent_hears_the_caller_without_aiortcs_four_packets() -> None:
    """If this fails, aiortc has renamed the buffer: the agent then hears 60 ms later, and nothing else says so."""

    async def story() -> list[int]:
        peer = aiortc.RTCPeerConnection()
        peer.addTransceiver("audio")
        pipecat_agent.hear_at_once(SimpleNamespace(pc=peer))
        found = [receiver._RTCRtpReceiver__jitter_buffer._prefetch for receiver in peer.getReceivers()]
        await peer.close()
        return found

    assert asyncio.run(story()) == [1]


def test_packets_that_come_in_another_order_are_still_put_in_order() -> None:
    from aiortc.jitterbuffer import JitterBuffer
    from aiortc.rtp import RtpPacket

    buffer = JitterBuffer(capacity=16, prefetch=1)
    heard = []
    for number in (0, 2, 1, 3, 6, 5, 4, 7, 8):
        packet = RtpPacket(sequence_number=number, timestamp=960 * number)
        packet._data = bytes([number])
        _, frame = buffer.add(packet)
        heard += [] if frame is None else [frame.data[0]]
    assert heard == sorted(heard)
    assert len(heard) >= 5


def test_without_a_language_model_it_says_what_to_set(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    monkeypatch.setattr("sys.argv", ["pipecat_agent"])
    with pytest.raises(SystemExit):
        pipecat_agent.main()
    assert "set OPENAI_API_KEY, or llm.base_url" in capsys.readouterr().err


def test_an_endpoint_of_ones_own_needs_no_key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    llm = pipecat_agent.LlmConfig(base_url="http://127.0.0.1:1/v1")
    assert pipecat_agent._llm(pipecat_agent.AgentConfig(llm=llm))


def test_the_config_file_is_complete_and_its_defaults_are_the_agents() -> None:
    from agent_tts.config import load_yaml

    written = pipecat_agent.agent_config(load_yaml(str(pipecat_agent.CONFIG_FILE)), where="pipecat.yaml")
    assert written.turns == pipecat_agent.TurnConfig()
    assert written.stt == pipecat_agent.SttConfig()
    assert written.llm == pipecat_agent.LlmConfig()
    assert written.barge_in == pipecat_agent.AgentConfig().barge_in
