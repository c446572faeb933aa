"""At which rate a server speaks: stated by a person, said by a WAV header, or found out. Pure."""

from __future__ import annotations

BY_HEADER = "as its answer says"
BY_OTHER_ANSWER = "as its WAV answer to the same words says"
SAME_LENGTH = 0.25
"""Two answers to one text are as long as each other within this share: a model does not say it twice the same way."""


class SpokenRate:
    """The rate of a server's audio and how it is known.

    Args:
        stated: Hz by --rate, or None.
        usual: Hz that are assumed where nothing is known.
    """

    def __init__(self, stated: int | None, usual: int) -> None:
        self.hz = stated or usual
        self.known_by = "as --rate says" if stated else "assumed, for the server does not say it; another one: --rate"
        self._stated = stated

    def header(self, rate: int | None) -> None:
        """A WAV header or a label (audio/pcm;rate=16000) said so.

        Raises:
            ValueError: It contradicts what was stated, or what another answer said.
        """
        if rate is None:
            return
        if self._stated is not None and rate != self._stated:
            raise ValueError(
                f"audio at {rate} Hz, as the answer itself says, and --rate says {self._stated}: leave --rate out"
            )
        if self.known_by == BY_HEADER and rate != self.hz:
            raise ValueError(f"audio at {rate} Hz, and at {self.hz} Hz before; one rate is needed")
        self.hz, self.known_by = rate, BY_HEADER

    def against(self, num_raw: int, num_wav: int, wav_rate: int) -> None:
        """Raw audio, and a WAV of the same words: as many samples mean the same rate.

        Raises:
            ValueError: The raw audio is at another rate than was stated or assumed.
        """
        if _near(num_raw, num_wav):
            if self._stated is None:
                self.hz, self.known_by = wav_rate, BY_OTHER_ANSWER
            if self.hz != wav_rate:
                raise ValueError(f"raw audio at {wav_rate} Hz, {BY_OTHER_ANSWER}, not at {self.hz}: --rate {wav_rate}")
            return
        found = num_raw * wav_rate / num_wav
        if not _near(found, self.hz):
            raise ValueError(
                f"raw audio at about {found / 1000:.0f} kHz, for a WAV of the same words has {num_wav} samples at "
                f"{wav_rate} Hz and it {num_raw}; it was read at {self.hz} Hz: state its --rate"
            )


def _near(one: float, other: float) -> bool:
    return abs(one - other) <= SAME_LENGTH * max(one, other)
