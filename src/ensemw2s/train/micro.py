"""Micro-batches: of the size set, or halved until they fit into memory."""

from collections.abc import Callable, Sequence

import torch
from accelerate.utils.memory import clear_device_cache, should_reduce_batch_size
from jaxtyping import Float, Int
from torch import Tensor, nn

from ensemw2s.config import TrainConfig
from ensemw2s.distributed import launch
from ensemw2s.errors import ModelError
from ensemw2s.train.random_state import random_state, set_random_state

Tally = Float[Tensor, "3"]
"""Of some samples (in generation: answer tokens) the sum of their weighted losses, how many were answered truly (NaN
where nobody looks), and their number."""
Accumulate = Callable[[Sequence[Int[Tensor, " _"]], float], Tally]
"""accumulate(micro-batches, train_frac) adds the gradient of this process's part of a global batch, and says how these
samples fared. All processes have equally many micro-batches, some of which may be empty."""


class MicroBatches:
    """Splits global batches; with `micro_batch_size: auto` the size is halved whenever memory runs out.

    The size stays for the rest of the training. A batch that failed is repeated with the same random state, so that the
    sum of its gradients is the same.
    """

    def __init__(self, module: nn.Module, config: TrainConfig):
        self._module = module
        self._is_auto = config.micro_batch_size == "auto"
        self.size = config.batch_size if isinstance(config.micro_batch_size, str | None) else config.micro_batch_size

    def accumulate(self, index: Int[Tensor, " batch"], train_frac: float, work: Accumulate) -> Tally:
        """Compute the gradient of this global batch into the module's parameters; what this process's part gave.

        Raises:
            ModelError: a single sample does not fit.
        """
        while True:
            state = random_state()
            self._module.zero_grad(set_to_none=True)
            try:
                largest = -(-len(index) // launch.count())
                return work(launch.share(index).tensor_split(-(-largest // self.size)), train_frac)
            except RuntimeError as error:
                if not (self._is_auto and should_reduce_batch_size(error)):
                    raise
                reason = " ".join(str(error).split())[:200]
            # Outside the handler, the failed pass and its tensors are freed.
            clear_device_cache(garbage_collection=True)
            set_random_state(state)
            size = min(self.size, len(index))
            if size == 1:
                raise ModelError(
                    f"micro_batch_size: not even one example fits into memory ({reason}); set "
                    "gradient_checkpointing, lower the model's max_length, or train less of it (adapter: lora or head)"
                )
            self.size = -(-size // 2)

    def try_out(self, lengths: Int[Tensor, " samples"], batch_size: int, work: Accumulate) -> None:
        """`auto`: find the size on the longest samples before the first step, instead of hours into training."""
        if not self._is_auto:
            return
        longest = lengths.argsort(descending=True, stable=True)[:batch_size]
        state = random_state()
        # The optimiser allocates two moments at the first step; reserve their memory now.
        room = [torch.empty_like(p) for p in self._module.parameters() if p.requires_grad for _ in range(2)]
        self.accumulate(longest, 0.0, work)
        del room
        self._module.zero_grad(set_to_none=True)
        set_random_state(state)
