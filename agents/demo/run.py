"""The two ways to run the demo: play a call and judge it, or serve the page. Prints; the parts it calls do not."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

from agent_tts import Engine, EngineConfig
from agent_tts.errors import AgentTTSError
from agent_tts.metrics import Ledger
from agents.demo.analysis import Recording, analyse, checks
from agents.demo.browser import hold_browser_call
from agents.demo.caller import Plan
from agents.demo.conversation import DemoError, Record, agent_server, hold_call
from agents.demo.loopback import use_loopback
from agents.demo.models import MissingModelError, language_model, whisper_model
from agents.demo.output import conversation_text, machine, result_json, speed_table, turns_of, write_all
from agents.demo.settings import DemoConfig, read_settings
from agents.demo.speech import caller_speech, read_wav

__all__ = ["DemoError", "open_page", "play"]


async def play(arguments: argparse.Namespace) -> int:
    """One call, told, judged and written down. 0 when every check passed."""
    narrate = _narrator()
    arguments.out.mkdir(parents=True, exist_ok=True)
    narrate("preparing the caller's speech")
    settings = read_settings(arguments.config)
    plan = await asyncio.to_thread(_plan, settings, arguments.cache / "demo", arguments.out / "call.npz")
    use_loopback(only=True)
    async with _agent(settings, arguments.cache, narrate) as (engine, ready):
        if arguments.browser:
            recording, record = await _browser_call(engine, ready, plan, arguments.browser, narrate)
        else:
            recording, record = await _call(engine, ready, plan, narrate)
        models = {"voice": engine.model_name, "STT": settings.agent.stt.model, "LLM": settings.agent.llm.model}
    lengths = {file: len(read_wav(Path(file))) for file in (*plan.questions, plan.interruption)}
    story = analyse(recording, record, lengths)
    verdict = checks(story, record)
    await asyncio.to_thread(write_all, arguments.out, recording, record, story, verdict, models)
    rows = [row for row in story.rows if row is not None]
    print(f"\nThe conversation, as heard\n\n{conversation_text(turns_of(recording, record, story))}")
    print(f"\nBarge-in ledger\n\n{Ledger(rows).table()}\n\nReplies\n\n{speed_table(record, story)}\n")
    for check in verdict:
        print(f"{'passed' if check.passed else 'FAILED'}  {check.name}: {check.detail}")
    print(f"\n{arguments.out / 'conversation.wav'} (left: caller, right: agent)\n{arguments.out / 'report.html'}")
    print(result_json(rows, record, verdict, models | machine()))
    return 0 if all(check.passed for check in verdict) else 1


async def open_page(arguments: argparse.Namespace) -> int:
    """Serve the page until interrupted."""
    settings = read_settings(arguments.config)
    use_loopback(only=False)
    async with (
        _agent(settings, arguments.cache, _narrator()) as (engine, ready),
        agent_server(engine, ready.agent, port=arguments.port) as address,
    ):
        print(f"Open {address} in a browser and talk; talk over it to interrupt. Ctrl-C ends.")
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.Event().wait()
    return 0


async def _call(
    engine: Engine, ready: DemoConfig, plan: Plan, narrate: Callable[[str], None]
) -> tuple[Recording, Record]:
    timeout_s = ready.call.stage_timeout_s
    record = await hold_call(engine, ready.agent, plan, stage_timeout_s=timeout_s, narrate=narrate)
    return await asyncio.to_thread(_take, Path(plan.recording)), record


def _take(file: Path) -> Recording:
    recording = Recording.load(file)
    file.unlink()
    return recording


async def _browser_call(
    engine: Engine, ready: DemoConfig, plan: Plan, rounds: int, narrate: Callable[[str], None]
) -> tuple[Recording, Record]:
    return await hold_browser_call(
        engine,
        ready.agent,
        [Path(plan.questions[0]), Path(plan.interruption)],
        rounds=rounds,
        heard_ms=ready.call.interrupt_after_ms,
        stage_timeout_s=ready.call.stage_timeout_s,
        narrate=narrate,
    )


@asynccontextmanager
async def _agent(
    settings: DemoConfig, cache: Path, narrate: Callable[[str], None]
) -> AsyncIterator[tuple[Engine, DemoConfig]]:
    """The engine, loaded, and the settings with the models of this machine in them."""
    narrate("starting the models")
    with contextlib.ExitStack() as stack:
        try:
            whisper = await asyncio.to_thread(whisper_model, settings.agent.stt.model, cache / "models")
            url = settings.agent.llm.base_url or await asyncio.to_thread(stack.enter_context, language_model())
            engine = await Engine.load(config=EngineConfig(model=settings.agent.model))
        except (MissingModelError, AgentTTSError) as error:
            raise DemoError(str(error)) from error
        async with engine:
            yield engine, settings.with_models(whisper=whisper, llm_url=url)


def _plan(settings: DemoConfig, cache: Path, recording: Path) -> Plan:
    call = settings.call
    return Plan(
        url="",
        questions=[str(caller_speech(text, cache)) for text in call.questions],
        interruption=str(caller_speech(call.interruption, cache)),
        interrupt_after_ms=call.interrupt_after_ms,
        answer_ms=call.answer_ms,
        recording=str(recording),
    )


def _narrator() -> Callable[[str], None]:
    """Prints each stage with the seconds since the start."""
    start_s = time.monotonic()
    return lambda stage: print(f"{time.monotonic() - start_s:6.1f} s  {stage}", flush=True)
