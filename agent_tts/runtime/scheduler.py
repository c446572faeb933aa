"""Who runs in the next step. Holds requests, slots and pages as plain numbers; knows no tensor, no audio, no text.

A request runs when its text can step, its listener is less than the lead limit behind, nobody paused it, and pages for
its new positions can be had. Everything it holds comes back in retire(), and nowhere else.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass

from agent_tts.cache.pages import PageAllocator
from agent_tts.cache.pins import Pins
from agent_tts.cache.radix import Match, PrefixCache
from agent_tts.config import EngineConfig
from agent_tts.runtime.request import Request, RequestState
from agent_tts.runtime.step import PageCopy, Readiness, Row, StepPlan, Work

URGENT_LEAD_MS = 60.0
"""A listener this close to running dry comes first ..."""
COMFORTABLE_LEAD_MS = 240.0
"""... and a listener with more than this ahead sits the step out, so that the urgent one's step is short."""
MAX_BEGINNERS = 4
"""So many requests have their first step beside an urgent listener; the others wait a step, so that it is not long."""
MIN_WAIT_S = 0.005
"""A listener who stands still is asked again no more often than this."""
MAX_PINNED_SHARE = 0.5
"""Of all pages: what pinned voices may take together; the rest is for those who speak."""


@dataclass(frozen=True, slots=True)
class Books:
    """Where the pages and slots are at this moment."""

    free_pages: int
    held_pages: int
    cached_pages: int
    pinned_pages: int
    total_pages: int
    free_slots: int
    total_slots: int
    running: int
    waiting: int


class Scheduler:
    """Admits requests, plans steps and takes everything back."""

    def __init__(self, config: EngineConfig) -> None:
        self._config = config
        self._free_slots = list(range(config.max_slots))
        self.pages = PageAllocator(config.num_pages)
        self.cache = PrefixCache(self.pages, config.page_size)
        self.pins = Pins(self.cache, int(config.num_pages * MAX_PINNED_SHARE))
        self.waiting: deque[Request] = deque()
        self.running: list[Request] = []
        self.refused: list[Request] = []
        """Requests the last plan had no pages for."""

    # -- in and out ---------------------------------------------------------------------------------------------------

    @property
    def speaks(self) -> bool:
        """Whether somebody who is being spoken to waits for a step."""
        return any(request.opened and _can_step(request) for request in self.running)

    def add(self, request: Request) -> None:
        self.waiting.append(request)

    def requests(self) -> Iterator[Request]:
        yield from self.running
        yield from self.waiting

    def retire(self, request: Request) -> None:
        """The only place where a request's pages and slot come back. Its codec state is the runner's to forget."""
        assert request.state is not RequestState.RETIRED, f"request {request.id} was retired twice"
        if request.state is RequestState.WAITING:
            self.waiting.remove(request)
        else:
            self.running.remove(request)
            if not request.source.begins_context():  # else its keys already name the next context, its pages the last
                self._share(request)
            self._drop_context(request)
            assert request.slot is not None
            self._free_slots.append(request.slot)
            self._free_slots.sort()
        request.state = RequestState.RETIRED

    # -- one step -----------------------------------------------------------------------------------------------------

    def plan(self) -> StepPlan:
        """The rows of the next step; none when nobody can or may run."""
        self._admit()
        self.refused.clear()
        ready = [(request.stream.lead_ms(), request) for request in self.running if _can_step(request)]
        ready = [(lead, request) for lead, request in ready if lead < request.lead_limit_ms]
        if any(lead < URGENT_LEAD_MS for lead, _ in ready):
            ready = [(lead, request) for lead, request in ready if lead < COMFORTABLE_LEAD_MS]
        rows = (self._row(request) for request in _few_beginners(ready))
        return StepPlan(tuple(row for row in rows if row is not None))

    def wait_s(self) -> float | None:
        """How long until a request that only waits for its listener may run again; None = there is none."""
        waits = [request.stream.lead_ms() - request.lead_limit_ms for request in self.running if _can_step(request)]
        return max(MIN_WAIT_S, min(waits) / 1000) if waits else None

    def commit(self, request: Request, row: Row) -> None:
        """The step has run: its new positions are part of the context, and a prompt's pages can be shared."""
        request.opened = True
        request.position += row.work.num_positions
        request.prompt_tokens += request.context_tokens
        request.cached_tokens += request.reused_tokens
        request.context_tokens = request.reused_tokens = 0
        if row.work.num_positions > 1:
            self._share(request)

    def _admit(self) -> None:
        while self.waiting and self._free_slots:
            request = self.waiting.popleft()
            request.slot = self._free_slots.pop(0)
            request.state = RequestState.RUNNING
            self.running.append(request)

    def _row(self, request: Request) -> Row | None:
        if request.source.begins_context():
            self._drop_context(request)
            self._reuse_prefix(request)
        work = self._next_work(request)
        if work is None:
            self.refused.append(request)
            return None
        assert request.slot is not None
        return Row(
            request_id=request.id,
            slot=request.slot,
            opens=not request.opened,
            seed=request.seed,
            sampling=request.sampling,
            voice=request.voice,
            pages=tuple(request.pages),
            num_past=request.position - request.first_position,
            position=request.position,
            work=work,
            copy=self._copy(request),
        )

    def _next_work(self, request: Request) -> Work | None:
        """What the request feeds into the next step, once there are pages for it; None = there are none."""
        work = request.source.next_work(request.position)
        if self._extend(request, work):
            return work
        if not self._forgo_copy(request):
            return None
        work = request.source.next_work(request.position)
        return work if self._extend(request, work) else None

    # -- pages --------------------------------------------------------------------------------------------------------

    def _reuse_prefix(self, request: Request) -> None:
        """Start the context with the cached pages of its beginning. The last position is always computed."""
        keys = request.source.prefix_keys()
        request.context_tokens, request.reused_tokens = len(keys), 0
        if not keys:
            return
        match = self.cache.match(keys[:-1])
        self.cache.lock(match)
        self.pages.retain(match.pages)
        request.prefix = match
        request.pages = list(match.pages)
        request.position = request.reused_tokens = match.num_tokens

    def _copy(self, request: Request) -> PageCopy | None:
        """What has to be copied before the first step of a context; its source stays locked until that has run."""
        prefix = _to_be_copied(request)
        if prefix is None:
            return None
        return PageCopy(prefix.node.page, request.pages[len(prefix.pages)], prefix.num_copied)

    def _forgo_copy(self, request: Request) -> bool:
        """Compute what would have been copied: the page that holds it may be the one that is missing."""
        prefix = _to_be_copied(request)
        if prefix is None:
            return False
        request.prefix = prefix.without_copy()
        self.cache.lock(request.prefix)
        self.cache.unlock(prefix)
        request.position = request.reused_tokens = request.prefix.num_tokens
        return True

    def _share(self, request: Request) -> None:
        """Put the whole pages of a context into the prefix tree, and keep them locked as long as it runs."""
        keys = request.source.prefix_keys()[: request.position]
        if not keys or request.first_position:
            return
        match = self.cache.insert(keys, request.pages)
        self.cache.lock(match)
        if request.prefix is not None:
            self.cache.unlock(request.prefix)
        request.prefix = match
        self.pins.settle(request.voice)

    def _extend(self, request: Request, work: Work) -> bool:
        """Have pages for the new positions; give back those that have left the window."""
        size = self._config.page_size
        if work.window is not None:
            while request.first_position + size <= request.position - work.window:
                self.pages.release([request.pages.pop(0)])
                request.first_position += size
        num_positions = request.position - request.first_position + work.num_positions
        missing = -(-num_positions // size) - len(request.pages)
        if missing <= 0:
            return True
        if missing > self.pages.num_free:
            self.cache.evict(missing - self.pages.num_free)
        pages = self.pages.allocate(missing)
        if pages is None:
            return False
        request.pages.extend(pages)
        return True

    def _drop_context(self, request: Request) -> None:
        if request.prefix is not None:
            self.cache.unlock(request.prefix)
            request.prefix = None
        self.pages.release(request.pages)
        request.pages = []
        request.first_position = request.position = 0

    # -- books --------------------------------------------------------------------------------------------------------

    def books(self) -> Books:
        """Counted without walking the prefix tree, so that any thread may ask while the loop runs."""
        held = {page for request in self.running for page in request.pages}
        free = self.pages.num_free
        return Books(
            free_pages=free,
            held_pages=len(held),
            cached_pages=max(0, self.pages.num_pages - free - len(held)),
            pinned_pages=self.pins.num_pages,
            total_pages=self.pages.num_pages,
            free_slots=len(self._free_slots),
            total_slots=self._config.max_slots,
            running=len(self.running),
            waiting=len(self.waiting),
        )

    def check_invariants(self) -> None:
        """free + held + cached = total, no slot twice, no page held by nobody. True after any operation."""
        books = self.books()
        held = {page for request in self.running for page in request.pages}
        assert books.cached_pages == len(set(self.cache.pages()) - held), books
        self.pages.check_invariants([*(request.pages for request in self.running), self.cache.pages()])
        self.cache.check_invariants()
        self.pins.check_invariants()
        slots = [request.slot for request in self.running] + self._free_slots
        assert sorted(slot for slot in slots if slot is not None) == list(range(self._config.max_slots)), slots
        assert all(request.state is RequestState.WAITING and not request.pages for request in self.waiting)


def _can_step(request: Request) -> bool:
    return not request.stopped and not request.paused and request.source.readiness() is Readiness.CAN_STEP


def _few_beginners(ready: list[tuple[float, Request]]) -> list[Request]:
    """Who runs: all, but only the first few of those who begin when somebody who has begun is about to run dry."""
    begun = [request for _, request in ready if request.opened]
    if not any(lead < URGENT_LEAD_MS and request.opened for lead, request in ready):
        return [request for _, request in ready]
    return begun + [request for _, request in ready if not request.opened][:MAX_BEGINNERS]


def _to_be_copied(request: Request) -> Match | None:
    """The cached prefix of a context that has not begun, when it ends inside a page."""
    match = request.prefix
    return match if match is not None and match.num_copied and request.source.begins_context() else None
