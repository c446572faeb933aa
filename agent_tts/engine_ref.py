"""An engine that may not be loaded yet, or no longer. Knows who owns it and loads it; knows no audio, no framework."""

from __future__ import annotations

import asyncio

from agent_tts.config import EngineConfig, model_for_agent
from agent_tts.engine import Engine
from agent_tts.errors import EngineClosedError


class EngineRef:
    """A loaded engine, or the name of one that is loaded in the background on first use.

    An engine that was handed in belongs to whoever loaded it. One loaded here is closed by `aclose()`, and loaded anew
    for the next who asks when its thread has ended by itself.
    """

    def __init__(self, engine: Engine | str | None, config: EngineConfig | None = None) -> None:
        self._engine = engine if isinstance(engine, Engine) else None
        self._config = config
        self._loading: asyncio.Task[Engine] | None = None
        self._closed = False
        self.owned = self._engine is None
        self.name = engine.model_name if isinstance(engine, Engine) else model_for_agent(engine, config)

    @property
    def loaded(self) -> Engine | None:
        return self._engine

    def start_loading(self) -> None:
        """Begin to load in a task; returns at once. A load that failed, and an engine that died, is loaded anew."""
        if self._closed or (self._engine is not None and not self._has_died()):
            return
        if self._loading is None or self._loading.done():
            self._engine = None  # before the next one: two may be more than there is room for
            self._loading = asyncio.get_running_loop().create_task(self._load(), name="agent_tts.load")
            self._loading.add_done_callback(_retrieve)

    async def get(self) -> Engine:
        """The engine. A caller that is cancelled while it waits does not stop the load for the others."""
        self.start_loading()
        if self._engine is not None:
            return self._engine
        if self._loading is None:
            raise EngineClosedError
        return await asyncio.shield(self._loading)

    async def aclose(self) -> None:
        """Close the engine if it was loaded here. A load under way is waited for: its thread can't be stopped."""
        if not self.owned:
            return
        self._closed = True
        if self._loading is not None:
            await asyncio.wait([self._loading])
        if self._engine is not None:
            await self._engine.close()

    def _has_died(self) -> bool:
        return self.owned and self._engine is not None and self._engine.closed

    async def _load(self) -> Engine:
        self._engine = await Engine.load(self.name, config=self._config)
        return self._engine


def _retrieve(task: asyncio.Task[Engine]) -> None:
    """Mark the exception as seen: whoever calls get() receives it, a prewarm that nobody waits for must not warn."""
    if not task.cancelled():
        task.exception()
