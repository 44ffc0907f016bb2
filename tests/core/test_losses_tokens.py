"""The loss over a vocabulary, some positions at a time: the plain one's value and gradients, without its memory."""

import pytest
import torch
from torch.nn.functional import cross_entropy
from torch.utils._python_dispatch import TorchDispatchMode

from ensemw2s.core.losses.tokens import Targets, token_loss, token_loss_through

N, DIM, VOCAB = 70, 12, 301


class Largest(TorchDispatchMode):
    """Remembers the most elements that any tensor made meanwhile has."""

    n = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        out = func(*args, **(kwargs or {}))
        for tensor in out if isinstance(out, tuple | list) else [out]:
            if isinstance(tensor, torch.Tensor):
                self.n = max(self.n, tensor.numel())
        return out


def problem(dtype=torch.float32):
    generator = torch.Generator().manual_seed(0)
    hidden = torch.randn(N, DIM, generator=generator, dtype=torch.float64).to(dtype).requires_grad_()
    unembedding = torch.randn(VOCAB, DIM, generator=generator, dtype=torch.float64).to(dtype).requires_grad_()
    targets = torch.randint(VOCAB, (N,), generator=generator)
    weights = torch.rand(N, generator=generator) * (torch.arange(N) % 5 > 0)  # some are masked
    return hidden, unembedding, targets, weights


def soft_targets(dtype=torch.float32):
    """Five tokens a position, of which one may be there twice."""
    generator = torch.Generator().manual_seed(1)
    tokens = torch.randint(VOCAB, (N, 5), generator=generator)
    tokens[::3, 4] = tokens[::3, 0]
    return Targets(tokens, torch.rand(N, 5, generator=generator, dtype=torch.float64).softmax(-1).to(dtype))


def plain(hidden, unembedding, targets, weights):
    return (cross_entropy(hidden @ unembedding.T, targets, reduction="none") * weights).sum()


def gradients(loss, hidden, unembedding):
    return torch.autograd.grad(2.5 * loss, (hidden, unembedding))


@pytest.mark.parametrize("chunk", [1, 16, 70, 1000])
def test_value_and_gradients_are_those_of_the_whole_product(chunk):
    hidden, unembedding, targets, weights = problem()
    ours = token_loss(hidden, unembedding, Targets.certain(targets), weights, chunk=chunk)
    theirs = plain(hidden, unembedding, targets, weights)
    torch.testing.assert_close(ours, theirs, rtol=1e-6, atol=0)
    for a, b in zip(gradients(ours, hidden, unembedding), gradients(theirs, hidden, unembedding), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-6, atol=1e-6 * float(b.abs().max()))


def test_gradients_are_right_to_the_last_digit_in_float64():
    hidden, unembedding, targets, weights = problem(torch.float64)
    few, head = hidden.detach()[:6].requires_grad_(), unembedding.detach()[:9].requires_grad_()
    six = Targets.certain(targets[:6] % 9)
    assert torch.autograd.gradcheck(lambda h, u: token_loss(h, u, six, weights[:6], chunk=4), (few, head))
    certain = Targets.certain(targets)
    ours = gradients(token_loss(hidden, unembedding, certain, weights, chunk=16), hidden, unembedding)
    theirs = gradients(plain(hidden, unembedding, targets, weights), hidden, unembedding)
    assert all(torch.allclose(a, b, atol=1e-12) for a, b in zip(ours, theirs, strict=True))


def test_never_are_there_more_logits_than_of_one_chunk():
    hidden, unembedding, targets, weights = problem()
    unembedding.requires_grad_(False)
    for loss, expected in (
        (lambda: token_loss(hidden, unembedding, Targets.certain(targets), weights, chunk=8), 8 * VOCAB),
        (lambda: token_loss(hidden, unembedding, soft_targets(), weights, chunk=8), 8 * VOCAB),
        (lambda: plain(hidden, unembedding, targets, weights), N * VOCAB),
    ):
        with Largest() as largest:
            loss().backward()
        assert largest.n == max(expected, VOCAB * DIM)
    assert 8 * VOCAB < VOCAB * DIM < N * VOCAB


def test_a_frozen_head_gets_no_gradient_and_a_bfloat16_one_its_own_dtype():
    hidden, unembedding, targets, weights = problem()
    frozen = unembedding.detach()
    token_loss(hidden, frozen, Targets.certain(targets), weights, chunk=16).backward()
    assert frozen.grad is None
    exact = hidden.grad.clone()
    hidden.grad = None
    half = frozen.bfloat16().requires_grad_()
    token_loss(hidden, half, Targets.certain(targets), weights, chunk=16).backward()
    assert (hidden.grad.dtype, half.grad.dtype) == (torch.float32, torch.bfloat16)
    assert float((hidden.grad - exact).norm() / exact.norm()) < 0.02


def test_through_a_head_of_more_than_one_product_value_and_gradients_are_those_of_plain_autograd():
    hidden, unembedding, targets, weights = problem(torch.float64)
    bias = torch.linspace(-1.0, 1.0, VOCAB, dtype=torch.float64).requires_grad_()

    def head(states):
        return 3.0 * torch.tanh((states @ unembedding.T + bias) / 3.0)

    ours = token_loss_through(head, hidden, Targets.certain(targets), weights, chunk=7)
    theirs = (cross_entropy(head(hidden), targets, reduction="none") * weights).sum()
    torch.testing.assert_close(ours, theirs, rtol=1e-6, atol=1e-6)
    wanted = (hidden, unembedding, bias)
    for a, b in zip(torch.autograd.grad(ours, wanted), torch.autograd.grad(theirs, wanted), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-6, atol=1e-8)


@pytest.mark.parametrize("through", [False, True])
def test_soft_targets_are_learned_as_whole_distributions_over_the_vocabulary(through):
    hidden, unembedding, _, weights = problem(torch.float64)
    soft = soft_targets(torch.float64)
    if through:
        ours = token_loss_through(lambda states: states @ unembedding.T, hidden, soft, weights, chunk=16)
    else:
        ours = token_loss(hidden, unembedding, soft, weights, chunk=16)
    dense = torch.zeros(N, VOCAB, dtype=torch.float64).scatter_add_(1, *soft)
    theirs = (cross_entropy(hidden @ unembedding.T, dense, reduction="none") * weights).sum()
    torch.testing.assert_close(ours, theirs, rtol=1e-6, atol=0)
    for a, b in zip(gradients(ours, hidden, unembedding), gradients(theirs, hidden, unembedding), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-6, atol=1e-6)


def test_tokens_of_probability_nought_change_no_bit():
    hidden, unembedding, targets, weights = problem()
    others = soft_targets().tokens
    none = Targets(
        torch.cat([targets[:, None], others], dim=1), torch.cat([torch.ones(N, 1), torch.zeros(others.shape)], dim=1)
    )
    found = []
    for each in (Targets.certain(targets), none):
        for loss in (
            token_loss(hidden, unembedding, each, weights, chunk=16),
            token_loss_through(lambda states: states @ unembedding.T, hidden, each, weights, chunk=16),
        ):
            found.append((loss, *gradients(loss, hidden, unembedding)))
    for one, other in zip(found[:2], found[2:], strict=True):
        assert all(torch.equal(a, b) for a, b in zip(one, other, strict=True))
