"""Linear-chain conditional random field (Lafferty, McCallum and Pereira 2001), vectorised over the batch.

The loss for training, on top of a BiLSTM as in Lample et al. (2016, "Neural
Architectures for Named Entity Recognition"); decoding is in
:mod:`handler.network.chain`.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from handler.labels import TagRules
from handler.network.chain import Chain

#: Score of what the tag rules forbid: exp(-1e4) is 0 in every float type, and gradients stay finite.
FORBIDDEN = -1e4


class LinearChainCRF(nn.Module):
    """Scores whole tag sequences: emissions plus transitions.

    Shapes used below: B batch, T tokens, K tags.  ``mask`` is True on real
    tokens, which come first in every row, and each row has at least one.

    A sequence that breaks *rules* has probability 0 in the loss and, by
    :meth:`chain`, in the best path and the marginals: all three are of one
    distribution.
    """

    def __init__(self, num_tags: int, rules: TagRules | None = None) -> None:
        super().__init__()
        self.start_weights = nn.Parameter(torch.empty(num_tags).uniform_(-0.1, 0.1))
        self.transition_weights = nn.Parameter(torch.empty(num_tags, num_tags).uniform_(-0.1, 0.1))
        self.end_weights = nn.Parameter(torch.empty(num_tags).uniform_(-0.1, 0.1))
        allowed = rules or TagRules([True] * num_tags, [[True] * num_tags] * num_tags, [True] * num_tags)
        self.start_allowed: Tensor
        self.transitions_allowed: Tensor
        self.end_allowed: Tensor
        self.register_buffer("start_allowed", torch.tensor(allowed.start), persistent=False)
        self.register_buffer("transitions_allowed", torch.tensor(allowed.transitions), persistent=False)
        self.register_buffer("end_allowed", torch.tensor(allowed.end), persistent=False)

    @property
    def start(self) -> Tensor:
        """Score of each tag on a row's first token: (K,)."""
        return self.start_weights.masked_fill(~self.start_allowed, FORBIDDEN)

    @property
    def transitions(self) -> Tensor:
        """Score of tag *j* directly after tag *i*, at ``[i, j]``: (K, K)."""
        return self.transition_weights.masked_fill(~self.transitions_allowed, FORBIDDEN)

    @property
    def end(self) -> Tensor:
        """Score of each tag on a row's last token: (K,)."""
        return self.end_weights.masked_fill(~self.end_allowed, FORBIDDEN)

    def chain(self) -> Chain:
        """The scores as float64 arrays, for decoding (:mod:`handler.network.chain`)."""
        return Chain(*(scores.detach().double().numpy() for scores in (self.start, self.transitions, self.end)))

    def score(self, emissions: Tensor, tags: Tensor, mask: Tensor) -> Tensor:
        """Unnormalised log-score of *tags*: (B, T, K), (B, T) ids, (B, T) -> (B,)."""
        emitted = emissions.gather(2, tags.unsqueeze(2)).squeeze(2).masked_fill(~mask, 0)  # (B, T)
        moved = self.transitions[tags[:, :-1], tags[:, 1:]].masked_fill(~mask[:, 1:], 0)  # (B, T - 1)
        last_tags = tags.gather(1, mask.sum(1, keepdim=True) - 1).squeeze(1)
        return self.start[tags[:, 0]] + emitted.sum(1) + moved.sum(1) + self.end[last_tags]

    def log_partition(self, emissions: Tensor, mask: Tensor) -> Tensor:
        """Log-sum-exp over all tag sequences (forward algorithm, Rabiner 1989): (B, T, K), (B, T) -> (B,)."""
        transitions = self.transitions
        alpha = self.start + emissions[:, 0]  # (B, K)
        for t in range(1, emissions.size(1)):
            paths = alpha.unsqueeze(2) + transitions  # (B, K before, K after)
            longer = torch.logsumexp(paths, dim=1) + emissions[:, t]
            alpha = torch.where(mask[:, t, None], longer, alpha)  # padding keeps alpha
        return torch.logsumexp(alpha + self.end, dim=1)

    def log_likelihood(self, emissions: Tensor, tags: Tensor, mask: Tensor) -> Tensor:
        """Log-probability of *tags*: (B, T, K), (B, T) ids, (B, T) -> (B,)."""
        return self.score(emissions, tags, mask) - self.log_partition(emissions, mask)

    def subset_log_likelihood(self, emissions: Tensor, allowed: Tensor, mask: Tensor) -> Tensor:
        """Log-probability that every tag is an *allowed* one: (B, T, K), (B, T, K) bool, (B, T) -> (B,).

        The objective for partly annotated text (Tsuboi et al. 2008, "Training Conditional Random Fields Using
        Incomplete Annotations").  At least one sequence of each row must be allowed.
        """
        within = self.log_partition(emissions.masked_fill(~allowed, FORBIDDEN), mask)
        return within - self.log_partition(emissions, mask)
