"""Networks that have shapes and no numbers (torch's fake tensors), and the bytes that are alive while they compute.

A model is built of its configuration alone, and the very architecture runs forward and backward: what autograd keeps,
what is needed for a moment and when each is freed is torch's own doing. torch's meta device would do as well, but for
models that look at their mask's numbers. Knows no recipe.
"""

from __future__ import annotations

import weakref
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from omniopd.models.adapters import linear_layers, lora_config
from omniopd.models.architecture.backbone import own_hidden
from omniopd.models.architecture.probing import bare

# NF4: half a byte a number, a scale of 8 bits for 64 numbers, and one of 32 bits for 256 of those.
PACKED_BYTES = 0.5 + 1 / 64 + 4 / (64 * 256)


class Alive(TorchDispatchMode):
    """Inside, `now` are the bytes of all tensors that were made inside and still exist, `peak` the most there were."""

    def __init__(self) -> None:
        super().__init__()
        self.now = self.peak = 0
        self._known: dict[int, Any] = {}

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        found = func(*args, **(kwargs or {}))
        for tensor in tree_leaves(found):
            if isinstance(tensor, Tensor):
                self._see(tensor.untyped_storage())
        return found

    def _see(self, storage: torch.UntypedStorage) -> None:
        key, size = storage._cdata, storage.nbytes()
        if key in self._known:
            return

        def gone(_: Any) -> None:
            self.now -= size
            del self._known[key]

        self._known[key] = weakref.ref(storage, gone)
        self.now += size
        self.peak = max(self.peak, self.now)

    def reset(self) -> int:
        """Begin to look for a peak anew; what is alive now."""
        self.peak = self.now
        return self.now


@contextmanager
def without_numbers() -> Iterator[Alive]:
    """Tensors that are made inside have no numbers and take no memory; they are counted as if they did."""
    from torch._subclasses.fake_tensor import FakeTensorMode

    with FakeTensorMode(allow_non_fake_inputs=True), Alive() as alive:
        yield alive


def built(
    config: Any, dtype: torch.dtype, packed_for: torch.dtype | None = None, rank: int = 0, targets: Sequence[str] = ()
) -> Any:
    """The network of a configuration, on torch's meta device: every linear layer but the head in 4 bits for products in
    `packed_for`, where that is named, and with an adapter of a `rank`. For `held`."""
    from transformers import AutoModelForCausalLM

    with torch.device("meta"):
        model: Any = AutoModelForCausalLM.from_config(config, dtype=dtype)
        if packed_for is not None:
            for name in linear_layers(model):
                parent, _, last = name.rpartition(".")
                setattr(model.get_submodule(parent), last, _Packed(model.get_submodule(name), packed_for))
        if rank:
            from peft import get_peft_model

            model = get_peft_model(model, lora_config(rank, targets=targets))
    return model


def held(model: Any) -> Any:
    """The model with tensors on a device that can be computed on: inside `without_numbers`, as if it were loaded."""
    made: dict[int, Any] = {}
    for module in model.modules():
        for table in (module._parameters, module._buffers):
            for name, tensor in table.items():
                if tensor is not None:
                    if id(tensor) not in made:
                        fake = torch.empty_like(tensor, device="cpu")
                        is_weight = isinstance(tensor, nn.Parameter)
                        made[id(tensor)] = nn.Parameter(fake, tensor.requires_grad) if is_weight else fake, tensor
                    table[name], _ = made[id(tensor)]
    return model


def size(tensors: Iterable[Tensor]) -> int:
    """Bytes of tensors, each once."""
    return sum(tensor.numel() * tensor.element_size() for tensor in {id(t): t for t in tensors}.values())


def learning_peak(
    alive: Alive, model: Any, rows: int, prompt_tokens: int, answer_tokens: int, *, mixed: bool, checkpointing: bool,
    accumulates: bool, anchored: bool, tiles: int,
) -> int:  # fmt: skip
    """The most bytes beside the weights, gradients included, while the loss of one micro-batch goes forward and back.

    `accumulates`: gradients of micro-batches before lie there; `anchored`: a reference's states do; `tiles` are bytes
    that the loss takes while it projects states onto the vocabulary. Rows are padded, as of unequal prompts.
    """
    model.train()
    if checkpointing:
        inner = bare(model)
        enable = getattr(inner, "activation_checkpointing_enable", None) or inner.gradient_checkpointing_enable
        enable({"use_reentrant": False, "preserve_rng_state": False})
        if model is not bare(model):
            model.enable_input_require_grads()
    for weight in model.parameters():
        if accumulates and weight.requires_grad:
            weight.grad = torch.empty_like(weight)
    before = alive.reset() - size(w.grad for w in model.parameters() if w.grad is not None)
    ids = torch.zeros(rows, prompt_tokens + answer_tokens, dtype=torch.long)
    head = bare(model).get_output_embeddings()
    beside = torch.empty(*ids.shape, head.in_features) if anchored else None
    with torch.autocast("cpu", torch.bfloat16) if mixed else nullcontext():
        # The very call of training. Of fake numbers transformers cannot say that no row is padded, so it makes the mask
        # that padded rows need; given no mask at all it would look for several texts in a row, and make one too.
        states = own_hidden(model, ids, torch.ones_like(ids))[:, -answer_tokens - 1 : -1]
        loss = _Loss.apply(states.reshape(-1, states.shape[-1]), head.weight, tiles)
    del states, beside
    loss.backward()
    del loss
    for weight in model.parameters():
        weight.grad = None
    return int(alive.peak - before)


def answering_peak(alive: Alive, model: Any, rows: int, prompt_tokens: int, tokens: int, mixed: bool) -> int:
    """The most bytes beside the weights while `rows` answers are sampled, of `tokens` with their prompts: reading the
    prompts, or the cache at its end with one layer's twice, as where it grows, and logits three times."""
    model.eval()
    start = alive.reset()
    inner = bare(model)
    ids = torch.zeros(rows, prompt_tokens, dtype=torch.long)
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16) if mixed else nullcontext():
        cache = inner.base_model(
            input_ids=ids, attention_mask=torch.ones_like(ids), use_cache=True
        ).past_key_values
    layers = [t for layer in cache.layers for t in (layer.keys, layer.values)]
    held = size(layers) / prompt_tokens * tokens
    logits = 3 * 4 * rows * inner.get_output_embeddings().out_features
    return int(max(alive.peak - start, held + held / len(cache.layers) + logits))


class _Packed(nn.Linear):
    """Stands for bitsandbytes' layer: its weights become whole for one product at a time."""

    def __init__(self, layer: Any, products: torch.dtype) -> None:
        nn.Module.__init__(self)
        numbers = layer.weight.numel()
        # transformers turns GPT-2's weights round.
        wide, high = layer.weight.shape if isinstance(layer, nn.Linear) else layer.weight.shape[::-1]
        self.out_features, self.in_features, self.products = wide, high, products
        self.weight = nn.Parameter(torch.empty(int(numbers * PACKED_BYTES), dtype=torch.uint8), requires_grad=False)
        self.bias = layer.bias

    def forward(self, states: Tensor) -> Tensor:
        shape = self.out_features, self.in_features
        found: Tensor = _Unpacked.apply(states, shape, self.products)
        return found if self.bias is None else found + self.bias


class _Unpacked(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, states: Tensor, shape: tuple[int, int], products: torch.dtype) -> Tensor:
        ctx.shape = shape
        with torch.autocast("cpu", enabled=False):
            weight = states.new_empty(shape, dtype=products)
            return nn.functional.linear(states.to(products), weight).to(states.dtype)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None]:
        [gradient] = gradients
        return gradient @ gradient.new_empty(ctx.shape), None, None


class _Loss(torch.autograd.Function):
    """Stands for `chunked_stats.GradientInForward`: its gradients are there before backward, in 32 bits."""

    @staticmethod
    def forward(ctx: Any, states: Tensor, weight: Tensor, tiles: int) -> Tensor:
        ctx.gradients = [
            torch.empty_like(tensor, dtype=torch.float32) if needed else None
            for tensor, needed in zip((states, weight), ctx.needs_input_grad[:2], strict=True)
        ]
        ctx.dtypes = states.dtype, weight.dtype
        torch.empty(tiles, dtype=torch.uint8)
        return states.new_zeros(())

    @staticmethod
    def backward(ctx: Any, *_: Tensor) -> tuple[Tensor | None, Tensor | None, None]:
        of_states, of_weight = (
            None if gradient is None else gradient.to(dtype)
            for gradient, dtype in zip(ctx.gradients, ctx.dtypes, strict=True)
        )
        ctx.gradients = None
        return of_states, of_weight, None
