"""`agent-tts voices add | list | show | remove`: options in, lines of text out. Prints nothing itself; cli.py does."""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from datetime import date
from typing import Any

from agent_tts.config import EngineConfig
from agent_tts.errors import AgentTTSError, CheckpointError, VoiceError
from agent_tts.runtime.hub import is_hub_id
from agent_tts.runtime.loading import BUNDLED, find_model, open_model
from agent_tts.voices.codec import codec_fingerprint, open_codec
from agent_tts.voices.consent import NO_END, ConsentClaim, ConsentKind
from agent_tts.voices.registry import VoiceRegistry, open_registry
from agent_tts.voices.voice import Voice


def register_voice_commands(actions: Any, engine: argparse.ArgumentParser, run: Callable[..., Any]) -> None:
    """Add the actions add, show and remove below `voices`.

    Args:
        actions: What add_subparsers() returned.
        engine: The options that every command has.
        run: Default of `run`; it prints what `voice_command(options, config)` returns, which each action sets.
    """
    adding = actions.add_parser("add", parents=[engine], help="make a voice of a recording", epilog=_EPILOG)
    adding.add_argument("name", help="a-z, 0-9, - and _")
    adding.add_argument("--audio", required=True, metavar="FILE", help="10 to 30 s of one speaker, little noise")
    adding.add_argument("--text", required=True, help="what is said in it, word for word")
    adding.add_argument("--replace", action="store_true", help="take the name even if a voice has it")
    consent = adding.add_argument_group("consent (a voice is not stored without it)")
    consent.add_argument("--consent-from", default="", metavar="WHO", help="the speaker, who agreed")
    consent.add_argument("--consent-for", default="", metavar="WHAT", help="what the voice may be used for")
    consent.add_argument("--consent-until", default="", metavar="DATE", help=f"YYYY-MM-DD, or {NO_END}")
    consent.add_argument("--consent-text", default="", metavar="TEXT", help="the statement to keep, instead of ours")
    ground = consent.add_mutually_exclusive_group()
    ground.add_argument("--own-voice", action="store_true", help="you are the speaker")
    ground.add_argument("--synthetic", action="store_true", help="no person speaks, and none is imitated")
    adding.set_defaults(run=run, voice_command=add_voice)

    showing = actions.add_parser("show", parents=[engine], help="everything that is stored of a voice")
    showing.add_argument("name")
    showing.add_argument("--json", action="store_true", help="as one JSON object")
    showing.set_defaults(run=run, voice_command=show_voice)

    removing = actions.add_parser("remove", parents=[engine], help="delete a voice")
    removing.add_argument("name")
    removing.set_defaults(run=run, voice_command=remove_voice)


_EPILOG = (
    "Example: agent-tts voices add alice --model ./s2-pro --audio alice.wav --text 'What Alice says in it.' "
    "--consent-from 'Alice Example' --consent-for 'our support line' --consent-until 2027-12-31"
)


def add_voice(options: argparse.Namespace, config: EngineConfig) -> str:
    """Check, encode and store a recording."""
    if config.model == BUNDLED:
        raise VoiceError(
            "The bundled model has its own voice and takes no recordings. Give a checkpoint that does: --model FOLDER."
        )
    claim = ConsentClaim(
        kind=_ground(options),
        speaker=options.consent_from,
        purpose=options.consent_for,
        until=options.consent_until,
        attestation=options.consent_text,
    )
    registry = open_registry(config)
    voice = registry.add(  # the model comes last: of a hub id it may have to be fetched
        options.name,
        options.audio,
        options.text,
        claim,
        lambda: open_codec(open_model(config)[0]),
        replace=options.replace,
    )
    return "\n".join(
        [
            f"Stored {voice.name!r}: {_size(voice)}, in {registry.store.folder}.",
            *(f"  {finding}" for finding in voice.content.findings),
            "  Not checked: whether only one person speaks, and whether the text is what is said.",
            f"  Consent: {_ground_of(voice)}; {voice.consent.status(registry.today)}.",
            f"  Stated: {voice.consent.attestation}",
        ]
    )


def show_voice(options: argparse.Namespace, config: EngineConfig) -> str:
    """All of one voice but its codes."""
    registry = open_registry(config)
    facts = _facts(registry.get(options.name), registry.today)
    if options.json:
        return json.dumps(facts, ensure_ascii=False)
    width = max(map(len, facts))
    return "\n".join(f"{name:<{width}}  {_plain(value)}" for name, value in facts.items())


def remove_voice(options: argparse.Namespace, config: EngineConfig) -> str:
    """Forget a voice, also one whose files are damaged."""
    open_registry(config).remove(options.name)
    return f"Removed {options.name!r}."


def list_voices(config: EngineConfig) -> dict[str, str]:
    """Name -> one line about it, of every stored voice, usable with this model or not."""
    registry = open_registry(config)
    codec = _codec_of(config) if registry.names() else None
    return {name: _about(registry, name, codec) for name in registry.names()}


def _about(registry: VoiceRegistry, name: str, codec: str | None) -> str:
    try:
        voice = registry.get(name)
    except AgentTTSError as error:
        return f"DAMAGED: {error}"
    parts = [_size(voice), _ground_of(voice), voice.consent.status(registry.today)]
    if voice.content.codec.fingerprint != codec:
        parts.append("not for this model: encoded by another codec")
    return "; ".join(parts)


def _codec_of(config: EngineConfig) -> str | None:
    """Fingerprint of the model's codec; None when it has none here. Fetches nothing, only to make a list."""
    if config.model == BUNDLED:
        return None
    try:
        return codec_fingerprint(find_model(config.model))
    except VoiceError:
        return None
    except CheckpointError:
        if is_hub_id(config.model):
            return None
        raise


def _facts(voice: Voice, today: date) -> dict[str, Any]:
    content, consent = voice.content, voice.consent
    return {
        "name": voice.name,
        "text": content.text,
        "duration_s": round(content.duration_s, 2),
        "frames": content.num_frames,
        "codebooks": content.codec.num_codebooks,
        "content": voice.content_hash,
        "codec": content.codec.fingerprint,
        "added_at": voice.added_at.isoformat(),
        "remarks": list(content.findings),
        "consent": consent.kind.value,
        "consent_from": consent.speaker,
        "consent_for": consent.purpose,
        "consent_until": consent.valid_until.isoformat() if consent.valid_until else None,
        "consent_status": consent.status(today),
        "consent_stated": consent.attestation,
        "consent_recorded_at": consent.recorded_at.isoformat(),
        "audio_sha256": consent.audio_sha256,
    }


def _plain(value: Any) -> str:
    if isinstance(value, list):
        return " ".join(value) or "none"
    return NO_END if value is None else str(value)


def _size(voice: Voice) -> str:
    return f"{voice.content.duration_s:.1f} s, {voice.content.num_frames} frames"


def _ground_of(voice: Voice) -> str:
    consent = voice.consent
    if consent.kind is ConsentKind.GIVEN:
        return f"given by {consent.speaker} for: {consent.purpose}"
    return f"declared {consent.kind.value}"


def _ground(options: argparse.Namespace) -> ConsentKind | None:
    if options.own_voice:
        return ConsentKind.OWN_VOICE
    return ConsentKind.SYNTHETIC if options.synthetic else None
