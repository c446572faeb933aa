"""Chromium without a window, kept on this machine, as a caller's browser. Knows processes, nothing of the page."""

from __future__ import annotations

import asyncio
import shutil
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

NAMES = ("chromium", "chromium-browser", "google-chrome")
FLAGS = (
    "--headless=new",
    "--no-sandbox",
    "--no-first-run",
    "--autoplay-policy=no-user-gesture-required",
    "--allow-loopback-in-peer-connection",
    "--disable-features=WebRtcHideLocalIpsWithMdns",
    "--host-resolver-rules=MAP * ~NOTFOUND , EXCLUDE 127.0.0.1",
)


class MissingBrowserError(RuntimeError):
    """There is no browser here; the message says how to get one."""


def find_browser() -> str:
    """The browser's command."""
    for name in NAMES:
        if (path := shutil.which(name)) is not None:
            return path
    raise MissingBrowserError(f"no browser found, looked for {', '.join(NAMES)} (Debian: apt-get install chromium).")


@asynccontextmanager
async def browser_at(url: str) -> AsyncIterator[asyncio.subprocess.Process]:
    """The browser with that page open, for the length of the block."""
    command = find_browser()
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as profile:
        browser = await asyncio.create_subprocess_exec(
            command,
            *FLAGS,
            f"--user-data-dir={profile}",
            url,
            stdout=asyncio.subprocess.DEVNULL,
            stderr=asyncio.subprocess.DEVNULL,
        )
        try:
            yield browser
        finally:
            browser.terminate()
            await browser.wait()
