"""An engine that may not be loaded yet. Knows who owns it and loads it at most once; knows no audio."""

from __future__ import annotations

import asyncio

from agent_tts.config import EngineConfig, model_for_agent
from agent_tts.engine import Engine


class EngineRef:
    """A loaded engine, or the name of one that is loaded in the background on first use.

    An engine that was handed in belongs to whoever loaded it; one loaded here is closed by `aclose()`.
    """

    def __init__(self, engine: Engine | str | None, config: EngineConfig | None = None) -> None:
        self._engine = engine if isinstance(engine, Engine) else None
        self._owned = self._engine is None
        self._config = config
        self._loading: asyncio.Task[Engine] | None = None
        self.name = engine.model_name if isinstance(engine, Engine) else model_for_agent(engine, config)

    @property
    def loaded(self) -> Engine | None:
        return self._engine

    def start_loading(self) -> None:
        """Begin to load in a task; returns at once. A load that failed is tried anew."""
        if self._engine is not None:
            return
        failed = self._loading is not None and self._loading.done()
        if self._loading is None or failed:
            self._loading = asyncio.get_running_loop().create_task(self._load(), name="agent_tts.load")
            self._loading.add_done_callback(_retrieve)

    async def get(self) -> Engine:
        """The engine. A caller that is cancelled while it waits does not stop the load for the others."""
        if self._engine is not None:
            return self._engine
        self.start_loading()
        assert self._loading is not None
        return await asyncio.shield(self._loading)

    async def aclose(self) -> None:
        """Close the engine if it was loaded here. A load under way is waited for: its thread can't be stopped."""
        if not self._owned:
            return
        if self._loading is not None:
            await asyncio.wait([self._loading])
        if self._engine is not None:
            await self._engine.close()

    async def _load(self) -> Engine:
        self._engine = await Engine.load(self.name, config=self._config)
        return self._engine


def _retrieve(task: asyncio.Task[Engine]) -> None:
    """Mark the exception as seen: whoever calls get() receives it, a prewarm that nobody waits for must not warn."""
    if not task.cancelled():
        task.exception()
