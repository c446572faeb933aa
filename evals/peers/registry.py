"""Names to peers, and the command-line options that describe one."""

from __future__ import annotations

import argparse
import os
import shlex
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from agent_tts import EngineConfig
from evals.peers.base import Abilities, Peer, PeerUnavailableError
from evals.peers.engine import EnginePeer
from evals.peers.fish_live import FishLivePeer
from evals.peers.kokoro import KokoroPeer
from evals.peers.libraries import EspeakPeer, HibariPeer, PiperPeer
from evals.peers.sentences import BY_SENTENCE, SentencePeer
from evals.peers.talker import TalkerPeer
from evals.peers.tone import TonePeer
from evals.peers.wire import BY_WIRE, WirePeer
from evals.serving import SERVE

PAGES_A_SLOT = 16
"""Of an engine that is loaded here: enough for the bundled voice, whose window takes 14."""
KEYS = {"openai": "OPENAI_API_KEY", "fish": "FISH_API_KEY", "fish-live": "FISH_API_KEY"}
"""Where a key is looked for when no variable is named: nobody's key goes to somebody else's server."""
OPTIONS = (
    *("peer", "model", "voice", "lead_ms", "over_socket", "url", "key_env", "rate", "chunking", "timeout_s", "body"),
    *("model_file", "voice_file"),
)


def add_options(parser: argparse.ArgumentParser) -> None:
    """Options of every evaluation that takes a peer."""
    group = parser.add_argument_group("peer")
    group.add_argument("--peer", default="engine", choices=sorted(MAKERS), help="what is evaluated (default: engine)")
    group.add_argument(
        "--model", default=None, help="engine: bundled, a checkpoint folder or an address; servers: model"
    )
    group.add_argument("--voice", default="default", help="voice to speak with")
    group.add_argument("--lead-ms", type=float, default=None, help="engine, tone: how far ahead of playout it may be")
    group.add_argument(
        "--over-socket",
        nargs="?",
        const="",
        metavar="COMMAND",
        help="engine: in a process of its own that is started for the run, `agent-tts serve` or COMMAND",
    )
    group.add_argument("--url", default=None, help="servers: address of the API, such as http://127.0.0.1:8000/v1")
    group.add_argument(
        "--key-env",
        default=None,
        metavar="NAME",
        help="servers: environment variable that holds the key (openai: OPENAI_API_KEY, fish: FISH_API_KEY)",
    )
    group.add_argument("--rate", type=int, default=None, help="servers: Hz of raw audio without a WAV header")
    group.add_argument(
        "--timeout-s", type=float, default=50.0, help="servers: longest wait for a byte (default 50; a reply's is 60)"
    )
    group.add_argument(
        "--body",
        default="",
        metavar="TEMPLATE",
        help="http: what is sent, as JSON or as a form, with {text}, {voice} and {model} in it; "
        "a {text} in --url makes it a GET",
    )
    group.add_argument(
        "--chunking", default="sentence", choices=("sentence", "whole"), help="servers: text per request"
    )
    group.add_argument("--model-file", type=Path, default=None, help="kokoro: the .onnx model")
    group.add_argument("--voice-file", type=Path, default=None, help="piper: .onnx voice; kokoro: .bin voice")


def make_peer(options: argparse.Namespace) -> Peer:
    """The peer that the options describe; not yet open."""
    return MAKERS[options.peer](options)


def _engine(options: argparse.Namespace) -> Peer:
    """With a slot for each of the calls at a time: what waits for one is no call."""
    model, serve = options.model or "bundled", options.over_socket
    config = EngineConfig()
    slots = max(config.max_slots, getattr(options, "streams", 1))
    config = replace(config, max_slots=slots, num_pages=max(config.num_pages, PAGES_A_SLOT * slots))
    if serve is not None:
        serve = shlex.split(serve) if serve else [*SERVE, "--model", model, "--max-slots", str(config.max_slots)]
    return EnginePeer(model, config=config, lead_ms=options.lead_ms, serve=serve or ())


def _tone(options: argparse.Namespace) -> Peer:
    return TonePeer(lead_ms=options.lead_ms)


def _library(peer: SentencePeer, options: argparse.Namespace) -> Peer:
    for voice in getattr(options, "voices", None) or [options.voice]:
        peer.expect(voice)
    return peer


def _wire(options: argparse.Namespace) -> Peer:
    if not options.url:
        raise PeerUnavailableError(f"--peer {options.peer} needs --url, such as --url http://127.0.0.1:8000/v1")
    name, key = key_of(options)
    model = options.model or ("tts-1" if options.peer == "openai" else "")
    voices = tuple(getattr(options, "voices", None) or [options.voice])
    if options.peer == "fish-live":
        return FishLivePeer(
            options.url,
            key=key,
            key_name=name,
            model=model,
            voice=voices[0],
            sample_rate=options.rate or 44_100,
            timeout_s=options.timeout_s,
        )
    return WirePeer(
        options.peer,
        options.url,
        key=key,
        key_name=name,
        model=model,
        voices=voices,
        sample_rate=options.rate,
        chunking=options.chunking,
        timeout_s=options.timeout_s,
        patient=getattr(options, "patient", False),
        body=options.body,
    )


def key_of(options: argparse.Namespace) -> tuple[str, str | None]:
    """The variable that a server's key is read from, and the key; none where nobody named one that is set."""
    name = options.key_env or KEYS.get(options.peer, "")
    key = os.environ.get(name) if name else None
    if options.key_env and not key:
        raise PeerUnavailableError(f"--key-env {name}: there is no such variable, or it is empty")
    return name, key


def as_arguments(options: argparse.Namespace) -> list[str]:
    """What was said of the peer, as words of a command line: for a command that starts others."""
    usual = argparse.ArgumentParser()
    add_options(usual)
    words: list[str] = []
    for name in OPTIONS:
        value = getattr(options, name)
        if name == "peer" or value != usual.get_default(name):
            option = f"--{name.replace('_', '-')}"
            words += (
                [option] if value == "" else [f"{option}={value}"] if str(value)[0] == "-" else [option, str(value)]
            )
    return words


MAKERS: dict[str, Callable[[argparse.Namespace], Peer]] = {
    "engine": _engine,
    "tone": _tone,
    "talker": lambda options: TalkerPeer(lead_ms=options.lead_ms),
    "hibari": lambda options: _library(HibariPeer(), options),
    "espeak": lambda options: _library(EspeakPeer(), options),
    "piper": lambda options: _library(PiperPeer(options.voice_file), options),
    "kokoro": lambda options: _library(KokoroPeer(options.model_file, options.voice_file), options),
    "openai": _wire,
    "fish": _wire,
    "fish-live": _wire,
    "http": _wire,
}

ABILITIES: dict[str, Abilities] = {
    "engine": EnginePeer.abilities,
    "tone": TonePeer.abilities,
    "talker": TalkerPeer.abilities,
    **dict.fromkeys(("hibari", "espeak", "piper", "kokoro"), BY_SENTENCE),
    "fish-live": FishLivePeer.abilities,
    **dict.fromkeys(("openai", "fish", "http"), BY_WIRE),
}
