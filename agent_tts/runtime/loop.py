"""The engine's loop: mailbox, step(), and the one thread that drives it. No tensors; the runner has those.

step() can be called by hand (tests do); the thread only calls it again and again. Other threads reach the loop in two
ways: they post a message, or they leave a mark on a request (stop, paused) and wake the loop.

    abort():  stream.abort()  ─▶  request.stop(ABORTED)  ─▶  wake        the caller's thread, never waits
    step():   messages ─▶ retire what is marked ─▶ plan ─▶ run ─▶ apply ─▶ retire what ended        this thread
"""

from __future__ import annotations

import contextlib
import logging
import math
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from agent_tts.config import EngineConfig
from agent_tts.errors import EngineClosedError, GenerationError, without_words
from agent_tts.runtime.request import Request, RequestState
from agent_tts.runtime.scheduler import Scheduler
from agent_tts.runtime.step import Readiness, RowResult, Runner, StepPlan, StepResult
from agent_tts.types import FinishReason

logger = logging.getLogger("agent_tts.engine")

MAX_READING_S = 0.01
"""New text is read no longer than this while somebody is being spoken to: a flood of callers waits, nobody stutters."""
STEP_MARGIN = 1.25
"""The next step may be so much longer than this one: others begin in it, and text is read before it."""


@dataclass(slots=True)
class LoopCounters:
    """What the loop has done so far."""

    steps: int = 0
    frames: int = 0
    prompt_tokens: int = 0
    cached_tokens: int = 0
    failed: int = 0


@dataclass(frozen=True, slots=True)
class _Letter:
    """Something to do on the loop's thread, and when it was asked for."""

    request: Request
    message: Callable[[], None]
    posted_s: float


class EngineLoop:
    """Drives one runner. Owns the scheduler and every request until it is retired."""

    def __init__(self, runner: Runner, config: EngineConfig, *, clock: Callable[[], float] = time.monotonic) -> None:
        self.runner = runner
        self.scheduler = Scheduler(config)
        self.counters = LoopCounters()
        self._now = clock
        self._mailbox: deque[_Letter] = deque()
        self._wake = threading.Condition()
        self._work_waits = False
        self._closing = False
        self._thread: threading.Thread | None = None
        self._prepared = threading.Event()
        self._on_retired: dict[str, Callable[[], None]] = {}
        self._live: dict[str, Request] = {}
        self._step_began_s = self._step_ms = 0.0

    # -- any thread ---------------------------------------------------------------------------------------------------

    def submit(self, request: Request, on_retired: Callable[[], None]) -> None:
        """Hand a request over. `on_retired` is called on the loop's thread when everything it held is back."""

        def admit() -> None:
            self._live[request.id] = request
            self._on_retired[request.id] = on_retired
            self.scheduler.add(request)

        self.post(request, admit)

    def post(self, request: Request, message: Callable[[], None]) -> None:
        """Run `message` on the loop's thread before the next step. If it raises, `request` fails and no other."""
        with self._wake:  # what is taken here is read, if not before a step, then when the thread ends
            if self._closing:
                raise EngineClosedError
            self._mailbox.append(_Letter(request, message, self._now()))
            self._notify()

    def abort(self, request: Request) -> None:
        """Ask for the end. Harmless when late or repeated. Pages come back in the next step, in retire()."""
        request.stop(FinishReason.ABORTED)
        self.wake()

    def wake(self) -> None:
        with self._wake:
            self._notify()

    def start(self) -> None:
        self._thread = threading.Thread(target=self._drive, name="agent-tts-engine", daemon=True)
        self._thread.start()

    def wait_until_prepared(self) -> None:
        """Block until the thread takes requests at full speed. Raises EngineClosedError when it could not start."""
        self._prepared.wait()
        if self._closing:
            raise EngineClosedError("its thread could not start")

    def close(self) -> None:
        """Stop the thread after the step in flight; every live request is aborted. Blocks until it has ended."""
        self._refuse_mail()
        if self._thread is not None:
            self._thread.join()
        else:
            self._abort_all()

    @property
    def closing(self) -> bool:
        return self._closing

    # -- the loop's thread --------------------------------------------------------------------------------------------

    def step(self) -> bool:
        """One turn: advances every request that can run by at most one frame. False when there was nothing to do."""
        plan = self.begin_step()
        if not plan.rows:
            return False
        self.finish_step(plan, self.run(plan))
        return True

    def begin_step(self) -> StepPlan:
        """Take the mail, give back what was stopped, and decide who runs."""
        self._read_mail(until_s=self._now() + MAX_READING_S)
        self._retire_stopped()
        self._step_began_s = self._now()
        plan = self.scheduler.plan()
        if not plan.rows and self.scheduler.refused:
            self._fail_youngest()
        return plan

    def run(self, plan: StepPlan) -> StepResult | None:
        """Let the runner compute; None when it failed, and then this step's requests have failed and no others."""
        requests = [self._live[row.request_id] for row in plan.rows]
        began_s, started = self._now(), time.perf_counter()
        for request in requests:
            request.stream.timing.step_begun(began_s)
        result = None
        with self._failing(requests):
            result = self.runner.run(plan)
        share_s = (time.perf_counter() - started) / len(requests)
        for request in requests:
            request.compute_s += share_s
        return result

    def finish_step(self, plan: StepPlan, result: StepResult | None) -> None:
        """Book what was computed, hand audio over, and retire what has ended."""
        self.counters.steps += 1
        if all(row.work.num_positions == 1 for row in plan.rows):  # a prompt is computed once, and says nothing
            self._step_ms = 1000 * (self._now() - self._step_began_s)
        if result is not None:
            for row, row_result in zip(plan.rows, result.rows, strict=True):
                request = self._live[row.request_id]
                self.scheduler.commit(request, row)
                with self._failing([request]):
                    self._apply(request, row_result)
        self._retire_stopped()

    def check_invariants(self) -> None:
        """The books balance; true after any operation, not only when idle."""
        self.scheduler.check_invariants()
        known = {request.id for request in self.scheduler.requests()}
        assert known == set(self._live), "a request is live and unknown to the scheduler, or the reverse"
        assert set(self._on_retired) == set(self._live)

    # -- inside -------------------------------------------------------------------------------------------------------

    def _read_mail(self, until_s: float = math.inf) -> None:
        """Read what was posted. Whoever is being spoken to does not wait for it longer than `until_s`."""
        while self._mailbox and not (self._now() > until_s and self.scheduler.speaks):
            letter = self._mailbox.popleft()
            request = letter.request
            if request.state is RequestState.RETIRED:
                continue
            with self._failing([request]):
                letter.message()
                if request.source.readiness() is Readiness.CAN_STEP:
                    request.stream.timing.step_possible(letter.posted_s)

    def _apply(self, request: Request, result: RowResult) -> None:
        if request.stopped:
            return
        end_ms = request.stream.generated_ms + 1000 * len(result.pcm) / request.stream.sample_rate
        words = request.source.accept(result, end_ms - request.frame_ms, end_ms)
        if result.codes:
            request.num_frames += 1
            self.counters.frames += 1
        text_end = words[-1].text_end if words else 0
        request.stream.write(result.pcm, text_end, words, enough_ms=self._enough_ms(request))
        if request.stream.aborted:
            request.stop(FinishReason.ABORTED)
        elif request.source.readiness() is Readiness.DONE:
            request.stream.finish(request.source.num_characters)
            request.stop(FinishReason.COMPLETED)
        elif request.num_frames >= request.max_frames:
            request.stream.finish(text_end)
            request.stop(FinishReason.LENGTH)

    def _enough_ms(self, request: Request) -> float:
        """Audio that lasts until the next frame can be there, if there will be one without more text or listening."""
        more = request.source.readiness() is Readiness.CAN_STEP
        return min(STEP_MARGIN * self._step_ms, request.lead_limit_ms) if more else 0.0

    def _retire_stopped(self) -> None:
        for request in list(self.scheduler.requests()):
            if not request.stopped and request.source.readiness() is Readiness.DONE:
                request.stream.finish(request.source.num_characters)
                request.stop(FinishReason.COMPLETED)
            if request.stopped:
                self.retire(request)

    def retire(self, request: Request) -> None:
        """The only place where what a request holds comes back: pages, slot, codec state, its entry in the books."""
        slot = request.slot
        self.scheduler.retire(request)
        if slot is not None:
            self.runner.close_slot(slot)
        self.counters.prompt_tokens += request.prompt_tokens
        self.counters.cached_tokens += request.cached_tokens
        del self._live[request.id]
        self._on_retired.pop(request.id)()

    def _fail_youngest(self) -> None:
        request = self.scheduler.refused[-1]
        held = f"all {self.scheduler.pages.num_pages} are held"
        self._fail(request, GenerationError(f"Out of KV pages: {held}. Raise num_pages or lower max_slots."))
        self._retire_stopped()

    @contextlib.contextmanager
    def _failing(self, requests: list[Request]) -> Iterator[None]:
        """Whatever is raised inside ends these requests and no others: here a failed step stops spreading."""
        try:
            yield
        except Exception as error:  # the one place: a model may raise anything, and the engine goes on for the others
            self.counters.failed += len(requests)
            ids = {"request_ids": [request.id for request in requests]}
            logger.error("a step failed: %s", without_words(error), extra=ids)
            logger.debug("what it said", exc_info=error, extra=ids)
            for request in requests:
                self._fail(request, GenerationError(f"The model failed in a step: {type(error).__name__}.", error))

    def _fail(self, request: Request, error: Exception) -> None:
        request.stream.fail(error)
        request.stop(FinishReason.FAILED)

    # -- the driver ---------------------------------------------------------------------------------------------------

    def _drive(self) -> None:
        try:
            self.runner.prepare_thread()
            self._prepared.set()
            while not self._closing:
                if not self.step():
                    self._sleep()
        finally:  # also when an assertion of ours ends the thread: nobody may wait for audio that will never come
            self._refuse_mail()
            self._prepared.set()
            self._abort_all()

    def _refuse_mail(self) -> None:
        with self._wake:
            self._closing = True
            self._notify()

    def _notify(self) -> None:
        self._work_waits = True
        self._wake.notify()

    def _sleep(self) -> None:
        with self._wake:
            if not self._work_waits and not self._mailbox and not self._closing:
                self._wake.wait(self.scheduler.wait_s())
            self._work_waits = False

    def _abort_all(self) -> None:
        try:
            self._read_mail()
            for request in list(self.scheduler.requests()):
                request.stream.fail(EngineClosedError("its thread has stopped"))
                request.stop(FinishReason.ABORTED)
            self._retire_stopped()
        finally:  # whoever could not be retired, because our books are broken, is told all the same
            for request in self._live.values():
                request.stream.fail(EngineClosedError("its thread has stopped"))
            for on_retired in self._on_retired.values():
                on_retired()
