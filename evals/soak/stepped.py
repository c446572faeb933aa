"""An engine without a thread on a virtual clock: its real loop, stepped by a task, its books checked around every step.

A step takes `step_s` of virtual time between the plan and the result, so that whatever callers do in between happens
while the step is in flight, as it does on a machine.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from agent_tts import Engine, EngineConfig
from agent_tts.runtime.local_door import LocalDoor
from agent_tts.runtime.loop import EngineLoop
from agent_tts.runtime.step import Runner

STEP_S = 0.012
IDLE_S = 0.004


@asynccontextmanager
async def stepped_engine(
    runner: Runner, config: EngineConfig, *, step_s: float = STEP_S
) -> AsyncIterator[tuple[Engine, EngineLoop]]:
    """An engine on the clock of the running event loop, and the loop whose books can be checked at any moment."""
    runner.prepare_thread()
    door = LocalDoor(runner, config, clock=asyncio.get_running_loop().time, own_thread=False)
    stepping = asyncio.create_task(_step(door.loop, step_s), name="evals.soak.stepped")
    try:
        yield Engine(door), door.loop
    finally:
        stepping.cancel()
        (ended,) = await asyncio.gather(stepping, return_exceptions=True)
        door.close()
        if isinstance(ended, AssertionError):
            raise ended  # what broke first, not what followed from it


async def _step(loop: EngineLoop, step_s: float) -> None:
    try:
        while True:
            plan = loop.begin_step()
            if not plan.rows:
                await asyncio.sleep(IDLE_S)
                continue
            loop.check_invariants()
            await asyncio.sleep(step_s)
            loop.finish_step(plan, loop.run(plan))
            loop.check_invariants()
    except AssertionError:
        loop.close()  # callers get a typed error instead of waiting for ever
        raise
