"""From pushed text to words that can be read aloud, each still knowing where it came from."""

from __future__ import annotations

from agent_tts.text.mapped import Chunk, MappedText


def normalize(text: str, offset: int = 0) -> list[Chunk]:
    """Chunks to be phonemized, in order. Their ranges are positions in the pushed text, where `text` is at `offset`."""
    from hibari.g2p.normalize import normalize as read_numbers_and_units

    mapped = MappedText(text, offset)
    mapped.rewrite(read_numbers_and_units)
    return mapped.chunks()
