"""The demo's conversation in a real LiveKit room on this machine: asked, answered, interrupted, answered again.

    python -m agents.demo_livekit

Starts livekit-server on loopback, agents/livekit_agent.py as its worker, and a caller as a participant. Prints the
conversation and the barge-in ledger, writes conversation.wav and report.html. Ends with code 0 only when the agent
stopped, nothing stale was heard, and the second question was answered.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Coroutine
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any

from agent_tts.metrics import Ledger
from agents.demo.analysis import Recording, analyse, checks
from agents.demo.conversation import Record
from agents.demo.models import MissingModelError, language_model
from agents.demo.output import conversation_text, machine, result_json, speed_table, turns_of, write_all
from agents.demo.settings import DemoConfig, read_settings
from agents.demo.speech import caller_speech, read_wav
from agents.demo_livekit.caller import Caller, caller_in_room
from agents.demo_livekit.record import record_of, recording_of
from agents.demo_livekit.server import MissingServerError, agent_in_rooms, find_server
from agents.livekit_agent import LlmConfig

ROOT = Path(__file__).resolve().parents[2]
SETTLE_S = 2.0
Narrate = Callable[[str], None]


def main() -> int:
    arguments = _arguments()
    try:
        find_server()
        return asyncio.run(_until_terminated(_play(arguments)))
    except (MissingServerError, MissingModelError) as error:
        print(error, file=sys.stderr)
        return 2
    except asyncio.CancelledError:
        return 143
    except TimeoutError:
        print("The demo failed: a stage took longer than stage_timeout_s.", file=sys.stderr)
        return 1


async def _until_terminated(play: Coroutine[Any, Any, int]) -> int:
    """SIGTERM cancels, so that the processes started here end with us."""
    task = asyncio.ensure_future(play)
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)
    return await task


async def _play(arguments: argparse.Namespace) -> int:
    start_s = time.monotonic()

    def narrate(stage: str) -> None:
        print(f"{time.monotonic() - start_s:6.1f} s  {stage}", flush=True)

    arguments.out.mkdir(parents=True, exist_ok=True)
    settings = read_settings(arguments.config)
    narrate("preparing the caller's speech")
    call, cache = settings.call, arguments.cache / "demo"
    texts = [*call.questions, call.interruption]
    files = [await asyncio.to_thread(caller_speech, text, cache) for text in texts]
    with contextlib.ExitStack() as stack:
        narrate("starting the language model")
        url = settings.agent.llm.base_url or await asyncio.to_thread(stack.enter_context, language_model())
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="agent_tts_livekit_")))
        changes = _changes(settings, url, arguments.barge_in)
        narrate("starting the server, the engine and the worker")
        async with agent_in_rooms(folder, changes) as access:
            narrate("calling")
            token = access.token(room="demo", identity="caller")
            async with asyncio.timeout(4 * call.stage_timeout_s), caller_in_room(access.url, token) as caller:
                recording, record = await _converse(caller, files, settings, narrate)
    return _finish(arguments.out, recording, record, {str(file): len(read_wav(file)) for file in files}, settings)


async def _converse(
    caller: Caller, files: list[Path], settings: DemoConfig, narrate: Narrate
) -> tuple[Recording, Record]:
    """Ask until a reply is long enough to be interrupted, interrupt it, hear the answer."""
    *questions, interruption = files
    began: list[tuple[str, str, float]] = []
    for question in questions:
        narrate("asks")
        began.append(("asks", str(question), await caller.say(read_wav(question))))
        if await _hears(caller, settings.call.interrupt_after_ms / 1000):
            break
    narrate("interrupts")
    began.append(("interrupts", str(interruption), await caller.say(read_wav(interruption))))
    answered = await _hears(caller, 0.5)
    if answered:
        narrate("hears answer")
        await caller.hearing.silence(SETTLE_S)
    recording, record = await recording_of(caller), record_of(caller.hearing.told)
    record.events = [{"event": what, "file": file, "start": recording.sample(at_s)} for what, file, at_s in began]
    if answered:
        record.events.append({"event": "hears_answer"})
    return recording, record


async def _hears(caller: Caller, seconds: float) -> bool:
    """Whether so much of a reply is heard before the agent falls silent again."""
    await caller.hearing.speech(0.1)
    heard = asyncio.ensure_future(caller.hearing.speech(seconds))
    silent = asyncio.ensure_future(caller.hearing.silence(SETTLE_S))
    done, pending = await asyncio.wait([heard, silent], return_when=asyncio.FIRST_COMPLETED)
    for task in pending:
        task.cancel()
    return heard in done


def _changes(settings: DemoConfig, llm_url: str, barge_in: str) -> dict[str, Any]:
    """What the demo wants different from the agent's own config file."""
    llm = asdict(settings.agent.llm) | {"base_url": llm_url}
    return {
        "barge_in": barge_in,
        "llm": {item.name: llm[item.name] for item in fields(LlmConfig) if item.name in llm},
        "instructions": settings.agent.instructions,
    }


def _finish(out: Path, recording: Recording, record: Record, lengths: dict[str, int], settings: DemoConfig) -> int:
    """Print and write what happened; 0 when every check passed."""
    models = {"voice": "bundled", "STT": settings.agent.stt.model, "LLM": settings.agent.llm.model, "room": "LiveKit"}
    story = analyse(recording, record, lengths)
    verdict = checks(story, record)
    write_all(out, recording, record, story, verdict, models)
    rows = [row for row in story.rows if row is not None]
    print(f"\nThe conversation, as heard\n\n{conversation_text(turns_of(recording, record, story))}")
    print(f"\nBarge-in ledger\n\n{Ledger(rows).table()}\n\nReplies\n\n{speed_table(record, story)}\n")
    for check in verdict:
        print(f"{'passed' if check.passed else 'FAILED'}  {check.name}: {check.detail}")
    print(f"\n{out / 'conversation.wav'} (left: caller, right: agent)\n{out / 'report.html'}")
    print(result_json(rows, record, verdict, models | machine()))
    return 0 if all(check.passed for check in verdict) else 1


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m agents.demo_livekit", description="The demo in a LiveKit room.")
    parser.add_argument("--config", default=str(ROOT / "configs" / "agents" / "demo.yaml"))
    parser.add_argument("--barge-in", default="immediate", choices=["immediate", "selective", "framework"])
    parser.add_argument("--out", type=Path, default=ROOT / "out" / "demo-livekit")
    parser.add_argument("--cache", type=Path, default=ROOT / ".cache")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
