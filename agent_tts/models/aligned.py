"""The bundled Dual-AR: text is summed into each frame's input, and the model says how far it advances.

One run speaks one segment: a start token and its phonemes. For frame t, in this order:

    input_t   = text[pointer_t] + progress[frames spent on that token] + W z[t-1] + E0[c0[t-1]]
    hidden_t  = Slow AR(input_t), which sees the last `window` frames
    a_t       ~ advance_logits(hidden_t)            0 ... max_advance
    c0_t      ~ c0_logits(hidden_t, a_t)
    c1 ... cN ~ Fast AR(hidden_t, sums of the vectors chosen so far)
    pointer_t+1 = pointer_t + a_t;  progress_t+1 = 0 if a_t > 0 else progress_t + 1

z is the sum of a frame's quantizer vectors. pointer_0 = 0 (the start token), progress_0 = 0, and the
frame before the first is `start_codes`. When pointer_t+1 reaches the number of tokens, frame t was the
last. text[i] sees `look_ahead` tokens on either side of i, so frame t can be computed as soon as token
pointer_t + look_ahead is known, or the text is closed.

Knows no requests, keeps no state, draws no noise.
"""

import torch
from torch import Tensor, nn

from agent_tts.config import ModelConfig
from agent_tts.models.aligned_fast import AlignedFastAR, Draw, TiedHead
from agent_tts.models.aligned_text import REACH, TextEncoder
from agent_tts.nn.attention import KVCache, Transformer


class AlignedDualAR(nn.Module):
    """Text encoder, Slow AR, heads and Fast AR; `codebooks` are the codec's own vectors, frozen."""

    codebooks: Tensor
    tables: Tensor
    latent_scale: Tensor

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        aligned = config.aligned
        assert aligned is not None
        assert config.layout == "aligned"
        assert aligned.look_ahead == REACH * aligned.text_blocks, "look_ahead must be what the text encoder sees"
        dim, size = config.slow.dim, config.codebook_size
        self.config, self.look_ahead, self.max_advance = config, aligned.look_ahead, aligned.max_advance
        self.text = TextEncoder(aligned.vocab_size, dim, aligned.text_blocks)
        self.progress = nn.Embedding(aligned.progress_steps, dim)
        self.from_latent = nn.Linear(aligned.latent_dim, dim)
        self.from_code = nn.Embedding(size + 1, dim)
        self.slow = Transformer(config.slow, rope_bf16=False)
        self.advance_head = nn.Linear(dim, aligned.max_advance + 1)
        self.advance_embedding = nn.Embedding(aligned.max_advance + 1, dim)
        self.code_head = TiedHead(dim, size, aligned.latent_dim, aligned.head_rank)
        self.fast = AlignedFastAR(config)
        shape = (config.num_codebooks, size, aligned.latent_dim)
        self.register_buffer("codebooks", torch.zeros(shape), persistent=False)
        self.register_buffer("tables", torch.zeros(shape), persistent=False)
        self.register_buffer("latent_scale", torch.ones(()), persistent=False)

    def set_codebooks(self, codebooks: Tensor) -> None:
        """Take the quantizer's vectors [num_codebooks, codebook_size, latent_dim], shared with the codec or not."""
        self.codebooks = codebooks
        self.tables = codebooks / codebooks.std(dim=(1, 2), keepdim=True)
        self.latent_scale = 1.0 / codebooks[0].std()

    def freeze(self) -> None:
        """Prepare for inference: heads join their tables once. Weights must not change, nor the module move, after."""
        for book, head in enumerate([self.code_head, *self.fast.heads]):
            head.freeze(self.tables[book])

    def encode_text(self, ids: Tensor) -> Tensor:
        """[1, time] -> [1, time, slow dim]. Values are final up to `look_ahead` tokens before an open end.

        Encoding a longer text, or one cut off more than `look_ahead` tokens before a place, gives that place the
        same vector.
        """
        out: Tensor = self.text(ids)
        return out

    def start_codes(self, rows: int) -> Tensor:
        """The frame before the first: a code of `codebook_size` means "none"; [rows, num_codebooks]."""
        return torch.full((rows, self.config.num_codebooks), self.config.codebook_size, device=self.codebooks.device)

    def latent(self, codes: Tensor) -> Tensor:
        """Sum of quantizer vectors, nothing for "none": [..., num_codebooks] -> [..., latent_dim]."""
        books, size, dim = self.codebooks.shape
        known = codes < size
        rows = codes.clamp(max=size - 1) + torch.arange(books, device=codes.device) * size
        vectors = self.codebooks.reshape(books * size, dim)[rows]  # [..., num_codebooks, latent_dim]
        return (vectors * known.unsqueeze(-1)).sum(-2)

    def frame_inputs(self, text: Tensor, progress: Tensor, previous: Tensor) -> Tensor:
        """What the Slow AR reads.

        Args:
            text: Encoded text at each row's pointer: [..., slow dim].
            progress: Frames spent on that token before this one: [...].
            previous: Codes of the frame before: [..., num_codebooks].
        """
        return self.combine(text, progress, self.latent(previous), previous[..., 0])

    def combine(self, text: Tensor, progress: Tensor, latent: Tensor, code: Tensor) -> Tensor:
        """As `frame_inputs`, from the latent and code 0 of the frame before."""
        spent = self.progress(progress.clamp(max=self.progress.num_embeddings - 1))
        out: Tensor = text + spent + self.from_latent(latent * self.latent_scale) + self.from_code(code)
        return out

    def slow_step(self, inputs: Tensor, kv: KVCache | None, positions: Tensor | None) -> Tensor:
        """One frame of each row: inputs [rows, slow dim], positions [rows] -> hidden [rows, slow dim]."""
        where = None if positions is None else positions.unsqueeze(1)
        return self.slow_forward(inputs.unsqueeze(1), kv, where).squeeze(1)

    def slow_forward(self, inputs: Tensor, kv: KVCache | None = None, positions: Tensor | None = None) -> Tensor:
        """[rows, time, slow dim] -> hidden of the same shape, after the final norm."""
        out: Tensor = self.slow.norm(self.slow(inputs, positions, kv))
        return out

    def advance_logits(self, hidden: Tensor) -> Tensor:
        """[..., slow dim] -> [..., max_advance + 1]."""
        out: Tensor = self.advance_head(hidden)
        return out

    def c0_logits(self, hidden: Tensor, advance: Tensor) -> Tensor:
        """[..., slow dim] and the advance drawn [...] -> [..., codebook_size]."""
        out: Tensor = self.code_head(hidden + self.advance_embedding(advance), self.tables[0])
        return out

    def fast_codes(self, hidden: Tensor, c0: Tensor, draw: Draw) -> Tensor:
        """All codes of the frame.

        Args:
            hidden: [rows, slow dim].
            c0: [rows].
            draw: Given a codebook k >= 1 and logits [rows, codebook_size], returns codes [rows].

        Returns:
            [rows, num_codebooks], c0 included.
        """
        return self.fast.codes(hidden, c0, draw, self.tables, self.codebooks, self.latent_scale)
