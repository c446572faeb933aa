"""How many threads a computation may use. Called by whoever owns the thread that computes, never at import."""

import torch


def use_threads(count: int) -> None:
    """Limit PyTorch and the BLAS under NumPy to `count` threads, in the whole process."""
    torch.set_num_threads(count)
    import threadpoolctl  # type: ignore[import-untyped]

    threadpoolctl.threadpool_limits(limits=count, user_api="blas")
