"""A Pipecat TTSService around one Engine. Translates text, audio, word times, errors and interruptions; no more.

All text of one LLM turn goes into one utterance, so that its sentences share prosody and context, and so that one
abort() ends all of it:

    LLM turn ─▶ audio context ─▶ Turn: Utterance ─▶ 20 ms TTSAudioRawFrame + words ─▶ output transport
    InterruptionFrame ─▶ on_audio_context_interrupted() ─▶ abort(): a flag, nothing is awaited
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from typing import Any

from pipecat.frames.frames import CancelFrame, EndFrame, ErrorFrame, Frame, TTSTextFrame
from pipecat.processors.frame_processor import FrameDirection, FrameProcessorSetup
from pipecat.services.settings import TTSSettings
from pipecat.services.tts_service import TTSService
from pipecat.utils.errors import ErrorCategory
from pipecat.utils.tracing.service_decorators import traced_tts
from pipecat.utils.types import NOT_GIVEN, is_given

from agent_tts.config import EngineConfig
from agent_tts.engine import AbortAck, Engine, Utterance
from agent_tts.engine_ref import EngineRef
from agent_tts.errors import AgentTTSError, UnknownVoiceError
from agent_tts.pipecat.translate import (
    AgentTTSSettings,
    TurnFailedFrame,
    category_of,
    complete,
    error_frame,
    sampling_of,
    unusable_frame,
)
from agent_tts.pipecat.turn import Turn
from agent_tts.types import FinishReason


class AgentTTSService(TTSService):
    """Speaks with an engine in this process and stops it, not only its sound, when the caller interrupts.

    Event handlers, beside those of TTSService:

    - on_utterance_aborted(service, context_id, ack, metrics): the engine has released an interrupted utterance.
      `ack.called_at` is the time.monotonic() of abort().
    """

    Settings = AgentTTSSettings
    _settings: AgentTTSSettings

    def __init__(
        self,
        *,
        engine: Engine | None = None,
        config: EngineConfig | None = None,
        word_delay_ms: float = 0.0,
        stop_frame_timeout_s: float = 30.0,
        settings: AgentTTSSettings | None = None,
        **kwargs: Any,
    ) -> None:
        """Create the service.

        Args:
            engine: An engine that is loaded already; the caller keeps it and closes it. None = the service loads one
                of its own during setup and closes it in cleanup: the model of `settings`, else of `config`, else
                AGENT_TTS_ENGINE, else "bundled". One that cannot be had then, or has died, is tried again for the
                next turn.
            config: For the engine it loads itself.
            word_delay_ms: How long audio is under way from the output transport to the ear. Words enter the LLM's
                context so much later; the context then holds what was heard, not what was sent.
            stop_frame_timeout_s: A context without audio for so long is given up.
            settings: Voice, seed, temperature; the model, which cannot change while the pipeline runs.
            **kwargs: Of TTSService.
        """
        super().__init__(
            push_start_frame=True,
            push_stop_frames=True,
            push_text_frames=False,
            append_trailing_space=True,
            stop_frame_timeout_s=stop_frame_timeout_s,
            settings=complete(settings, engine, config),
            **kwargs,
        )
        self._engine = EngineRef(engine or str(self._settings.model), config)
        self._word_delay_ms = word_delay_ms
        self._turns: dict[str, Turn] = {}
        self._failed: set[str] = set()
        self._why_unusable: ErrorFrame | None = None
        self._reports: set[asyncio.Task[None]] = set()
        self._speaking = asyncio.Lock()
        self._register_event_handler("on_utterance_aborted")

    @property
    def sample_rate(self) -> int:
        """The engine's rate. The output transport resamples, once."""
        engine = self._engine.loaded
        return engine.sample_rate if engine is not None else super().sample_rate

    @property
    def supports_processing_metrics(self) -> bool:
        """run_tts hands the text over and returns; TTFB and TTFA carry the latency."""
        return False

    def can_generate_metrics(self) -> bool:
        return True

    async def setup(self, setup: FrameProcessorSetup) -> None:  # type: ignore[override]
        await super().setup(setup)
        try:
            await self._load_engine()
        except AgentTTSError as error:  # Pipecat would give up a service whose setup raises
            category = category_of(error, loads_anew=self._engine.owned)
            await self.push_error(str(error), exception=error, category=category)

    async def push_frame(self, frame: Frame, direction: FrameDirection = FrameDirection.DOWNSTREAM) -> None:
        """Words travel in line with their audio instead of by the clock, which knows no pause and no underrun."""
        if isinstance(frame, TurnFailedFrame):
            self._failed.add(frame.context_id)
        elif isinstance(frame, TTSTextFrame) and frame.context_id in self._failed:
            return  # Pipecat takes the text for spoken for which no word times came
        if direction is FrameDirection.DOWNSTREAM:
            frame.pts = None
        await super().push_frame(frame, direction)

    def pause(self) -> None:
        """Stop computing what is not heard now. The transport has to hold what it was given already."""
        for utterance in self._utterances():
            utterance.pause()

    def resume(self) -> None:
        """Go on where pause() stopped."""
        for utterance in self._utterances():
            utterance.resume()

    async def stop(self, frame: EndFrame) -> None:
        for context_id in self.get_audio_contexts():
            await self.flush_audio(context_id)  # else the base class would wait for text that cannot come any more
        await super().stop(frame)

    async def cancel(self, frame: CancelFrame) -> None:
        self._abort_all()
        await super().cancel(frame)

    async def cleanup(self) -> None:
        self._abort_all()
        await asyncio.gather(*self._reports)
        await super().cleanup()  # type: ignore[no-untyped-call]
        await self._engine.aclose()

    async def _update_settings(self, delta: TTSSettings) -> dict[str, Any]:  # type: ignore[override]
        if is_given(delta.model) and delta.model != self._settings.model:
            self._warn_unhandled_updated_settings(["model"])  # type: ignore[no-untyped-call]
            delta.model = NOT_GIVEN
        voice, engine = delta.voice, self._engine.loaded
        if engine is not None and is_given(voice) and voice not in engine.voices:
            error = UnknownVoiceError(str(voice), engine.voices)
            await self.push_error(str(error), exception=error, category=ErrorCategory.APPLICATION)
            delta.voice = NOT_GIVEN
        return await super()._update_settings(delta)

    # -- text in ------------------------------------------------------------------------------------------------------

    @traced_tts
    async def run_tts(self, text: str, context_id: str) -> AsyncGenerator[Frame | None, None]:
        """Give text to the turn's utterance. Its audio arrives through the audio context, not from here.

        Args:
            text: A sentence, or one token in token mode.
            context_id: The turn.

        Yields:
            None, or an ErrorFrame when the engine takes no text.
        """
        turn = self._turns.get(context_id)
        try:
            if turn is None:
                turn = await self._open(context_id)
            turn.push_text(text, flush=not self._is_streaming_tokens)
        except AgentTTSError as error:
            yield self._error_frame(error, context_id)
            return
        await self.start_tts_usage_metrics(text)
        yield None

    async def flush_audio(self, context_id: str | None = None) -> None:
        """The turn's text is complete."""
        if context_id is None:
            return
        if turn := self._turns.get(context_id):
            await turn.end_text()
        elif self.audio_context_available(context_id):  # opened, but Pipecat gives an unusable service no text for it
            await self.append_to_audio_context(context_id, unusable_frame(self._why_unusable, context_id))
            await self.remove_audio_context(context_id)

    # -- interruption -------------------------------------------------------------------------------------------------

    async def on_audio_context_interrupted(self, context_id: str) -> None:
        """Abort the turn. Pipecat holds back the interruption, and so the silence, until this returns."""
        self._abort(context_id)

    async def on_audio_context_completed(self, context_id: str) -> None:
        self._abort(context_id)  # harmless after the end; ends a turn that was given up

    def _abort(self, context_id: str) -> None:
        self._failed.discard(context_id)
        turn = self._turns.pop(context_id, None)
        if turn is not None and (ack := turn.abort()):
            report = self.create_task(self._report_abort(context_id, ack), name="report_abort")
            self._reports.add(report)
            report.add_done_callback(self._reports.discard)

    def _abort_all(self) -> None:
        for context_id in list(self._turns):
            self._turns.pop(context_id).abort()

    async def _report_abort(self, context_id: str, ack: AbortAck) -> None:
        metrics = await ack.released()
        if metrics.finish_reason is FinishReason.ABORTED:
            await self._call_event_handler("on_utterance_aborted", context_id, ack, metrics)

    # -- turns --------------------------------------------------------------------------------------------------------

    async def _open(self, context_id: str) -> Turn:
        """A new turn. One that the engine refuses is kept too, and takes its text without speaking."""
        try:
            engine = await self._load_engine()
            utterance = engine.utterance(voice=str(self._settings.voice), sampling=sampling_of(self._settings))
        except AgentTTSError:
            self._turns[context_id] = self._turn(context_id, None)
            raise
        turn = self._turns[context_id] = self._turn(context_id, utterance)
        self.create_task(turn.speak(utterance, self._speaking), name="speak")
        return turn

    def _turn(self, context_id: str, utterance: Utterance | None) -> Turn:
        return Turn(self, context_id, utterance, word_delay_ms=self._word_delay_ms, told_as=self._error_frame)

    async def _load_engine(self) -> Engine:
        """The engine; one of our own that could not be had before, or has died, is loaded. Raises AgentTTSError."""
        engine = await self._engine.get()
        self._settings.model = engine.model_name
        return engine

    def _utterances(self) -> list[Utterance]:
        return [turn.utterance for turn in self._turns.values() if turn.utterance is not None]

    # -- errors -------------------------------------------------------------------------------------------------------

    def _error_frame(self, error: AgentTTSError, context_id: str) -> TurnFailedFrame:
        return error_frame(error, context_id, loads_anew=self._engine.owned)

    async def push_error_frame(self, error: ErrorFrame, force_treat_as_permanent: bool = False) -> None:
        was_usable = self.is_usable
        await super().push_error_frame(error, force_treat_as_permanent)
        if was_usable and not self.is_usable:
            self._why_unusable = error

    async def _record_context_audio_outcome(self, context_id: str, received_audio: bool) -> None:
        """A turn that failed has said why. Pipecat would say it again, and after three be done with the service."""
        if context_id not in self._failed:
            await super()._record_context_audio_outcome(context_id, received_audio)
