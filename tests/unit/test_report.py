"""The page of a call: complete in itself, and what callers said is text, never markup."""

from __future__ import annotations

import numpy as np

from evals.pages.call import CallReport, Moment, Turn, render


def test_the_page_holds_everything_and_fetches_nothing() -> None:
    rate = 8000
    pcm = (5000 * np.sin(np.arange(4 * rate))).astype(np.int16)
    page = render(
        CallReport(
            title="A call",
            sample_rate=rate,
            caller=pcm,
            agent=pcm,
            turns=[Turn("caller", "<script>alert(1)</script>"), Turn("agent", "Bread is", unheard="made of flour")],
            interruptions=[[Moment(2.0, "onset"), Moment(2.3, "abort() called"), Moment(2.4, "silence")]],
            checks=[("it stopped", True, "400 ms"), ("it answered", False, "no")],
            tables=[("Ledger", "a table")],
        )
    )
    assert "<script>" not in page
    assert "made of flour" in page
    assert "abort() called +300 ms" in page
    assert page.count("data:audio/wav;base64,") == 2, "the call, and the interruption"
    assert "FAILED" in page
    assert "http://" not in page.replace("http://www.w3.org", "")
    assert "https://" not in page
