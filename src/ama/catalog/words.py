"""Words in names that tell what a value is: a metric, and which way is better; or a step."""

from __future__ import annotations

import re

LOWER = frozenset(
    "loss error err mse mae rmse mape perplexity ppl wer cer fid nll bpb regret seconds time"
    " duration latency".split()
)
"""Words of metrics of which less is better."""

HIGHER = frozenset(
    "accuracy acc auc auroc f1 precision recall sensitivity specificity bleu rouge r2 iou dice map"
    " ndcg mrr score reward throughput likelihood".split()
)
"""Words of metrics of which more is better."""

STEPS = frozenset(
    "epoch epochs step steps iteration iterations iter iters episode episodes".split()
)
"""Words of what counts the rows of a training's log."""

_WORD = re.compile(r"[A-Za-z]+[0-9]*|[0-9]+")


def words_of(name: str) -> set[str]:
    """Return the words of a name, in small letters.

    Example:
        >>> sorted(words_of("git_commit_info")), sorted(words_of("valLoss"))
        (['commit', 'git', 'info'], ['loss', 'val'])
    """
    spaced = re.sub(r"([a-z0-9])([A-Z])", r"\1 \2", name)
    return {word.lower() for word in _WORD.findall(spaced)}
