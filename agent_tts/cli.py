"""The command line: parse, call Engine, print. Nothing is decided here.

    agent-tts say "Hello." -o hello.wav      agent-tts bench --quick      agent-tts voices list | add | show | remove

Exit codes: 0 done; 2 wrong usage, config or voice; 3 the model cannot be loaded; 4 it failed while speaking;
1 any other error of ours; 130 interrupted from the keyboard.
"""

from __future__ import annotations

import argparse
import asyncio
import codecs
import json
import os
import sys
import threading
from collections.abc import AsyncIterator, Sequence
from contextlib import ExitStack, suppress
from dataclasses import asdict, replace
from typing import Any

from agent_tts import __version__
from agent_tts.config import EngineConfig, from_mapping, load_yaml
from agent_tts.engine import Engine, Utterance
from agent_tts.errors import (
    AgentTTSError,
    CheckpointError,
    ConfigError,
    EngineClosedError,
    EngineUnavailableError,
    GenerationError,
    UnknownVoiceError,
    VoiceError,
)
from agent_tts.runtime.loading import BUNDLED
from agent_tts.types import SamplingParams, TtsMetrics
from agent_tts.voices.commands import list_voices, register_voice_commands

EXIT_CODES: tuple[tuple[type[AgentTTSError], int], ...] = (
    (ConfigError, 2),
    (UnknownVoiceError, 2),
    (VoiceError, 2),
    (CheckpointError, 3),
    (GenerationError, 4),
    (EngineClosedError, 4),
    (EngineUnavailableError, 3),
    (AgentTTSError, 1),
)
UNPACED_MS = 600_000.0
"""A file is written as fast as the engine speaks; nobody interrupts it."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; its exit code."""
    options = _parser().parse_args(arguments)
    # Spinning threads cost more than they give on shared cores. Must be set before torch is loaded; the user's wins.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    try:
        return int(options.run(options))
    except AgentTTSError as error:
        print(f"agent-tts: {error}", file=sys.stderr)
        return next(code for kind, code in EXIT_CODES if isinstance(error, kind))
    except KeyboardInterrupt:
        return 130


# ---------------------------------------------------------------------------------------------------------------------
# say


async def _say(options: argparse.Namespace) -> int:
    from agent_tts.sinks import open_sink

    async with await Engine.load(config=replace(_config(options), warm_voices=(options.voice,))) as engine:
        with ExitStack() as stack:
            path = options.output or (None if options.play else "speech.wav")
            sink = stack.enter_context(open_sink(path, play=options.play, sample_rate=engine.sample_rate))
            sampling = SamplingParams(seed=options.seed)
            lead_ms = None if options.play else UNPACED_MS
            utterance = engine.utterance(voice=options.voice, sampling=sampling, lead_ms=lead_ms)
            feeding = asyncio.create_task(_feed(utterance, options.text))
            async for chunk in utterance:
                await asyncio.to_thread(sink.write, chunk.pcm[: chunk.num_samples])
            await feeding
            metrics = await utterance.abort().released()
    print(json.dumps(_as_json(metrics) | {"output": path}) if options.json else _summary(metrics, path))
    return 0


async def _feed(utterance: Utterance, text: str) -> None:
    """Push the argument at once, or standard input as it comes."""
    if text == "-":
        async for part in _standard_input():
            utterance.push_text(part)
    else:
        utterance.push_text(text)
    utterance.end_text()


async def _standard_input() -> AsyncIterator[str]:
    """Standard input as it comes. Read by a daemon thread: one that waits for a key must not hold up the exit."""
    parts: asyncio.Queue[bytes] = asyncio.Queue()
    loop = asyncio.get_running_loop()
    threading.Thread(target=_read_all, args=(sys.stdin.fileno(), loop, parts), daemon=True).start()
    decoder = codecs.getincrementaldecoder("utf-8")(errors="replace")
    while data := await parts.get():
        yield decoder.decode(data)
    yield decoder.decode(b"", final=True)


def _read_all(source: int, loop: asyncio.AbstractEventLoop, parts: asyncio.Queue[bytes]) -> None:
    data = b"-"
    while data:
        data = os.read(source, 4096)
        with suppress(RuntimeError):  # the loop was closed: nobody wants the rest
            loop.call_soon_threadsafe(parts.put_nowait, data)


def _summary(metrics: TtsMetrics, path: str | None) -> str:
    if not metrics.delivered_audio_ms:
        return "nothing to say"
    stages = (
        ("first frame", metrics.ttfa_first_frame_ms),
        ("playable", metrics.ttfa_playable_ms),
        ("audible", metrics.ttfa_audible_ms),
    )
    ttfa = ", ".join(f"{name} {value:.1f} ms" for name, value in stages if value is not None)
    rtf = "-" if metrics.rtf is None else f"{metrics.rtf:.2f}"
    where = f" -> {path}" if path else ""
    return f"TTFA: {ttfa}\nRTF: {rtf} ({metrics.delivered_audio_ms / 1000:.2f} s of audio){where}"


def _as_json(metrics: TtsMetrics) -> dict[str, Any]:
    return asdict(metrics) | {"finish_reason": metrics.finish_reason.value}


# ---------------------------------------------------------------------------------------------------------------------
# bench, voices


async def _bench(options: argparse.Namespace) -> int:
    from agent_tts.bench import BenchPlan, run_bench
    from agent_tts.host import describe_run

    config = replace(_config(options), warm_voices=(options.voice,))
    plan = BenchPlan.quick(options.seed) if options.quick else BenchPlan(seed=options.seed)
    plan = replace(plan, streams=tuple(streams for streams in plan.streams if streams <= config.max_slots))
    async with await Engine.load(config=config) as engine:
        report = await run_bench(engine, plan, options.voice)
        about = describe_run(config, engine.model_name)
    print(report.table())
    print(json.dumps({"eval": "bench", **about, "seed": options.seed, **report.as_dict()}))
    return 0 if report.abort["late_chunks"] == 0 else 1


async def _voices(options: argparse.Namespace) -> int:
    config = _config(options)
    own: tuple[str, ...] = ("default",)
    if config.model == BUNDLED:  # small; a checkpoint is not loaded only to be asked for names
        async with await Engine.load(config=config) as engine:
            own = engine.voices
    stored = list_voices(config)
    if options.json:
        print(json.dumps({"model": config.model, "voices": own, "stored": stored}, ensure_ascii=False))
    else:
        print("\n".join([*own, *(f"{name:<20} {about}" for name, about in stored.items())]))
    return 0


def _voice_command(options: argparse.Namespace) -> int:
    print(options.voice_command(options, _config(options)))
    return 0


# ---------------------------------------------------------------------------------------------------------------------
# options


def _config(options: argparse.Namespace) -> EngineConfig:
    """The config file, if there is one, then what the command line says."""
    values = load_yaml(options.config) if options.config else {}
    config = from_mapping(EngineConfig, values, where=options.config or "command line")
    said = {
        "model": options.model,
        "num_threads": options.threads,
        "accept_license": options.accept_license,
    }
    return replace(config, **{key: value for key, value in said.items() if value is not None})


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="agent-tts", description="Text to speech that stops when you talk.")
    parser.add_argument("--version", action="version", version=f"agent-tts {__version__}")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    engine = _engine_options()

    say = commands.add_parser("say", parents=[engine], help="speak a text into a file or the loudspeaker")
    say.add_argument("text", help="what to say; - reads standard input and speaks while it comes")
    say.add_argument("-o", "--output", metavar="FILE", help="WAV file, written while it is spoken (default speech.wav)")
    say.add_argument("--play", action="store_true", help="play it")
    say.add_argument("--seed", type=int, help="the same text, voice and seed give the same audio")
    say.add_argument("--json", action="store_true", help="print the metrics as one JSON object")
    say.set_defaults(run=lambda options: asyncio.run(_say(options)))

    bench = commands.add_parser("bench", parents=[engine], help="TTFA by text length, RTF, streams, abort latency")
    bench.add_argument("--quick", action="store_true", help="fewer lengths and repeats: under a minute")
    bench.add_argument("--seed", type=int, default=1, help="of the texts and the sampler (default 1)")
    bench.set_defaults(run=lambda options: asyncio.run(_bench(options)))

    from agent_tts.server import command as server  # here, so that importing this module imports no server

    serve = commands.add_parser("serve", help="the engine in its own process, behind a socket")
    server.add_arguments(serve)
    serve.set_defaults(run=server.run)

    voices = commands.add_parser("voices", help="the voices there are; add and remove your own")
    actions = voices.add_subparsers(required=True, metavar="ACTION")
    listing = actions.add_parser("list", parents=[engine], help="one voice per line")
    listing.add_argument("--json", action="store_true", help="as one JSON object")
    listing.set_defaults(run=lambda options: asyncio.run(_voices(options)))
    register_voice_commands(actions, engine, run=_voice_command)
    return parser


def _engine_options() -> argparse.ArgumentParser:
    options = argparse.ArgumentParser(add_help=False)
    options.add_argument("--config", metavar="FILE", help="engine config, e.g. configs/bundled.yaml")
    options.add_argument("--model", help="bundled, a checkpoint folder, or a hub id")
    options.add_argument("--voice", default="default", help="see `agent-tts voices list`")
    options.add_argument("--threads", type=int, metavar="N", help="compute threads of the engine")
    options.add_argument("--accept-license", metavar="NAME", help="accept the licence of weights that ask for it")
    return options
