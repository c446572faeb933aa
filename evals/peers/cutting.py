"""Text as an LLM writes it, cut into the sentences that a peer takes at once. Knows no peer."""

from __future__ import annotations

import re

_SENTENCE = re.compile(r".+?[.!?]+[\"')\]]*(?=\s)", re.DOTALL)


class SentenceCutter:
    """Collects text; gives back each sentence once the space behind it is there, or all of it at the end."""

    def __init__(self, chunking: str = "sentence") -> None:
        self._whole = chunking == "whole"
        self._rest = ""

    def push(self, text: str) -> list[str]:
        self._rest += text
        found: list[str] = []
        while not self._whole and (sentence := _SENTENCE.match(self._rest)):
            self._rest = self._rest[sentence.end() :].lstrip()
            found.append(sentence[0].strip())
        return found

    def rest(self) -> list[str]:
        rest, self._rest = self._rest.strip(), ""
        return [rest] if rest else []
