"""Linear-chain conditional random field (Lafferty, McCallum and Pereira, 2001), vectorised over the batch.

Forward-backward and Viterbi follow Rabiner (1989) in log space; on top of a
BiLSTM as in Lample et al. (2016, "Neural Architectures for Named Entity
Recognition").
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from handler.chain import Chain
from handler.labels import TagRules

#: Score of a step that the tag rules forbid: exp(-1e4) is 0 in every float type, and no gradient turns into NaN.
FORBIDDEN = -1e4


class LinearChainCRF(nn.Module):
    """Scores whole tag sequences: emissions plus transitions.

    Shapes used below: B batch, T tokens, K tags.  ``mask`` is True on real
    tokens, which come first in every row, and each row has at least one.

    With *rules*, a sequence that breaks them has probability 0 everywhere: in
    the loss, in the best path and in the marginals, so that all three speak of
    one distribution.
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
        """The same weights for one long row, as arrays."""
        return Chain(self.start.numpy(), self.transitions.numpy(), self.end.numpy())

    def score(self, emissions: Tensor, tags: Tensor, mask: Tensor) -> Tensor:
        """Unnormalised log-score of *tags*: (B, T, K), (B, T) ids, (B, T) -> (B,)."""
        emitted = emissions.gather(2, tags.unsqueeze(2)).squeeze(2)  # (B, T)
        moved = self.transitions[tags[:, :-1], tags[:, 1:]]  # (B, T - 1)
        last = tags.gather(1, mask.sum(1, keepdim=True) - 1).squeeze(1)
        return (
            self.start[tags[:, 0]]
            + emitted.masked_fill(~mask, 0).sum(1)
            + moved.masked_fill(~mask[:, 1:], 0).sum(1)
            + self.end[last]
        )

    def log_partition(self, emissions: Tensor, mask: Tensor) -> Tensor:
        """Log-sum-exp over all tag sequences (forward algorithm): (B, T, K), (B, T) -> (B,)."""
        return torch.logsumexp(self._forward_scores(emissions, mask)[:, -1] + self.end, dim=1)

    def log_likelihood(self, emissions: Tensor, tags: Tensor, mask: Tensor) -> Tensor:
        """Log-probability of *tags*: (B, T, K), (B, T) ids, (B, T) -> (B,)."""
        return self.score(emissions, tags, mask) - self.log_partition(emissions, mask)

    def subset_log_likelihood(self, emissions: Tensor, allowed: Tensor, mask: Tensor) -> Tensor:
        """Log-probability that every tag is an *allowed* one: (B, T, K), (B, T, K) bool, (B, T) -> (B,).

        The objective of partly annotated text (Tsuboi et al. 2008, "Training Conditional Random Fields Using
        Incomplete Annotations").  At least one sequence of each row must be allowed.
        """
        within = self.log_partition(emissions.masked_fill(~allowed, FORBIDDEN), mask)
        return within - self.log_partition(emissions, mask)

    def viterbi_decode(self, emissions: Tensor, mask: Tensor) -> list[list[int]]:
        """Best tag ids of every row, each as long as its row: (B, T, K), (B, T) -> B lists."""
        transitions = self.transitions
        best = self.start + emissions[:, 0]  # (B, K)
        stay = torch.arange(best.size(1), device=best.device)
        before: list[Tensor] = []
        for t in range(1, emissions.size(1)):
            longer, argmax = (best.unsqueeze(2) + transitions).max(dim=1)  # (B, K before, K after) -> (B, K)
            real = mask[:, t, None]
            best = torch.where(real, longer + emissions[:, t], best)
            before.append(torch.where(real, argmax, stay))  # padding passes the tag on
        tag = (best + self.end).argmax(dim=1)  # (B,)
        path = [tag]
        for pointers in reversed(before):
            tag = pointers.gather(1, tag.unsqueeze(1)).squeeze(1)
            path.append(tag)
        rows: list[list[int]] = torch.stack(path[::-1], dim=1).tolist()
        return [row[:length] for row, length in zip(rows, mask.sum(1).tolist(), strict=True)]

    def path_marginals(
        self,
        emissions: Tensor,
        mask: Tensor,
        rows: Sequence[int],
        starts: Sequence[int],
        paths: Sequence[Sequence[int]],
    ) -> Tensor:
        """Probability that row ``rows[n]`` carries the tag ids ``paths[n]`` from token ``starts[n]`` on: (N,).

        All tag sequences that pass through the path are summed over, so this
        is a marginal of the CRF and not a softmax over a few best paths.

        Raises:
            ValueError: a path is empty or leaves its row.
        """
        if not paths:
            return emissions.new_zeros(0)
        lengths = [len(path) for path in paths]
        num_tokens = mask.sum(1).tolist()
        for row, start, length in zip(rows, starts, lengths, strict=True):
            if length < 1 or start < 0 or start + length > num_tokens[row]:
                raise ValueError(f"expected a path within {num_tokens[row]} tokens, got {length} from token {start}")
        forward, backward = self._forward_scores(emissions, mask), self._backward_scores(emissions, mask)
        log_partition = torch.logsumexp(forward[:, -1] + self.end, dim=1)  # (B,)

        device = emissions.device
        at_row = torch.tensor(rows, device=device)  # (N,)
        first = torch.tensor(starts, device=device)
        num_tags = torch.tensor(lengths, device=device)
        tags = nn.utils.rnn.pad_sequence([torch.tensor(path) for path in paths], batch_first=True).to(device)  # (N, L)
        offset = torch.arange(tags.size(1), device=device)
        inside = offset < num_tags.unsqueeze(1)  # (N, L)
        token = (first.unsqueeze(1) + offset).clamp(max=emissions.size(1) - 1)
        emitted = emissions[at_row.unsqueeze(1), token, tags]  # (N, L)
        moved = self.transitions[tags[:, :-1], tags[:, 1:]]  # (N, L - 1)
        last = first + num_tags - 1
        last_tag = tags.gather(1, (num_tags - 1).unsqueeze(1)).squeeze(1)
        log_prob = (
            forward[at_row, first, tags[:, 0]]
            + emitted[:, 1:].masked_fill(~inside[:, 1:], 0).sum(1)
            + moved.masked_fill(~inside[:, 1:], 0).sum(1)
            + backward[at_row, last, last_tag]
            - log_partition[at_row]
        )
        return log_prob.exp()

    def _forward_scores(self, emissions: Tensor, mask: Tensor) -> Tensor:
        """Log-sum-exp over all ways to reach each tag, its emission included; padding repeats the last: (B, T, K)."""
        transitions = self.transitions
        alpha = self.start + emissions[:, 0]  # (B, K)
        alphas = [alpha]
        for t in range(1, emissions.size(1)):
            paths = alpha.unsqueeze(2) + transitions  # (B, K before, K after)
            longer = torch.logsumexp(paths, dim=1) + emissions[:, t]
            alpha = torch.where(mask[:, t, None], longer, alpha)
            alphas.append(alpha)
        return torch.stack(alphas, dim=1)

    def _backward_scores(self, emissions: Tensor, mask: Tensor) -> Tensor:
        """Log-sum-exp over all ways on from each tag, its emission left out; on padding the end scores: (B, T, K)."""
        transitions = self.transitions
        end = self.end.expand(emissions.size(0), -1)
        beta = end  # (B, K)
        betas = [beta]
        for t in range(emissions.size(1) - 1, 0, -1):
            paths = transitions + (emissions[:, t] + beta).unsqueeze(1)  # (B, K before, K after)
            beta = torch.where(mask[:, t, None], torch.logsumexp(paths, dim=2), end)
            betas.append(beta)
        return torch.stack(betas[::-1], dim=1)
