"""How near generated captions come to what people wrote: BLEU, ROUGE-L and CIDEr-D, equal to the public Python scorers (pycocoevalcap).

All scores are of the whole corpus, and of one tokenizer (`kerasdl.text.TOKENIZER`): with another they are other numbers. The document
frequencies of CIDEr-D come from the references given, so that scores of subsets do not compare.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence

import numpy as np

from kerasdl.text import tokenize

Grams = Counter[tuple[str, ...]]
ORDERS = (1, 2, 3, 4)
TINY, SMALL = 1e-15, 1e-9  # where nothing matches, the public scorer divides these
ROUGE_BETA = 1.2
CIDER_SIGMA = 6.0


def caption_scores(candidates: Sequence[str], references: Sequence[Sequence[str]]) -> dict[str, float]:
    """{"BLEU-1" .. "BLEU-4", "ROUGE-L", "CIDEr-D"} of one candidate a picture and all its references, which `tokenize` makes words.

    BLEU and ROUGE-L are fractions, CIDEr-D has the public scorer's scale of 0 to 10; of a single picture it is 0 by definition.
    Raises ValueError where there is no picture, a picture without references, or not one candidate a picture.
    """
    if isinstance(candidates, str) or not len(candidates) or len(candidates) != len(references):
        raise ValueError(f"scores need one candidate a picture, and at least one. Received: {_size(candidates)} for {_size(references)}")
    for number, some in enumerate(references):
        if isinstance(some, str) or not len(some):
            raise ValueError(f"every picture needs a list of at least one reference. Received: {some!r} for picture {number}")
    said = [tokenize(candidate) for candidate in candidates]
    true = [[tokenize(reference) for reference in some] for some in references]
    said_grams = [_grams(words) for words in said]
    true_grams = [[_grams(words) for words in some] for some in true]
    bleu = _bleu(said, true, said_grams, true_grams)
    rouge = float(np.mean([_rouge(words, some) for words, some in zip(said, true, strict=True)]))
    return {**{f"BLEU-{n}": bleu[n - 1] for n in ORDERS}, "ROUGE-L": rouge, "CIDEr-D": _cider(said_grams, true_grams)}


def _size(given: Sequence) -> str:
    return f"the string {given[:20]!r}" if isinstance(given, str) else str(len(given))


def _grams(words: list[str]) -> Grams:
    """How often each run of one to four words comes."""
    return Counter(tuple(words[i : i + n]) for n in ORDERS for i in range(len(words) - n + 1))


def _bleu(said: list, true: list, said_grams: list[Grams], true_grams: list[list[Grams]]) -> list[float]:
    """BLEU-1 to BLEU-4 (Papineni et al. 2002): clipped matches and lengths summed over the corpus, against the closest references."""
    matches, runs = np.zeros(len(ORDERS), np.int64), np.zeros(len(ORDERS), np.int64)
    for words, mine, theirs in zip(said, said_grams, true_grams, strict=True):
        most = Counter[tuple[str, ...]]()
        for grams in theirs:
            most |= grams  # the larger count of each
        for gram, count in (mine & most).items():
            matches[len(gram) - 1] += count
        runs += [max(len(words) - n + 1, 0) for n in ORDERS]
    length = sum(len(words) for words in said)
    closest = sum(min((abs(len(r) - len(words)), len(r)) for r in some)[1] for words, some in zip(said, true, strict=True))  # ties: shorter
    ratio = (length + TINY) / (closest + SMALL)
    brevity = math.exp(1 - 1 / ratio) if ratio < 1 else 1.0
    precision = np.cumprod((matches + TINY) / (runs + SMALL))
    return [float(precision[n - 1] ** (1 / n)) * brevity for n in ORDERS]


def _rouge(words: list[str], references: list[list[str]]) -> float:
    """ROUGE-L of a picture (Lin 2004): the best precision and the best recall of a longest common subsequence, each on its own."""
    words = words or [""]  # the public scorer splits at single blanks, which finds one empty word in an empty sentence
    references = [reference or [""] for reference in references]
    common = [_common(words, reference) for reference in references]
    precision = max(common) / len(words)
    recall = max(length / len(reference) for length, reference in zip(common, references, strict=True))
    if not precision:
        return 0.0
    return (1 + ROUGE_BETA**2) * precision * recall / (recall + ROUGE_BETA**2 * precision)


def _common(one: list[str], other: list[str]) -> int:
    """The length of a longest common subsequence."""
    above = [0] * (len(other) + 1)
    for word in one:
        row = [0]
        for place, theirs in enumerate(other):
            row.append(above[place] + 1 if word == theirs else max(above[place + 1], row[place]))
        above = row
    return above[-1]


def _cider(said: list[Grams], true: list[list[Grams]]) -> float:
    """CIDEr-D (Vedantam et al. 2015, arXiv:1411.5726, eq. 1 and section 5): mean over pictures, references and orders, times 10."""
    pictures = Counter(gram for some in true for gram in set().union(*some))  # how many pictures' references have it
    everywhere = math.log(len(said))

    def weighed(grams: Grams) -> tuple[dict[tuple[str, ...], float], np.ndarray, int]:
        """tf-idf of every run, its norm for each order, and the number of bigrams, which stands for the length."""
        weights = {gram: count * (everywhere - math.log(max(1, pictures[gram]))) for gram, count in grams.items()}
        squares = np.zeros(len(ORDERS))
        for gram, weight in weights.items():
            squares[len(gram) - 1] += weight**2
        return weights, np.sqrt(squares), sum(count for gram, count in grams.items() if len(gram) == 2)

    scores = []
    for grams, some in zip(said, true, strict=True):
        mine = weighed(grams)
        scores.append(np.mean([_likeness(mine, weighed(reference)) for reference in some]))
    return 10 * float(np.mean(scores))


def _likeness(mine: tuple[dict, np.ndarray, int], theirs: tuple[dict, np.ndarray, int]) -> float:
    """Mean over the orders of the clipped cosine, less where the lengths differ."""
    (weights, norms, length), (their_weights, their_norms, their_length) = mine, theirs
    products = np.zeros(len(ORDERS))
    for gram, weight in weights.items():
        if there := their_weights.get(gram):
            products[len(gram) - 1] += min(weight, there) * there
    scale = norms * their_norms
    cosines = np.divide(products, scale, out=np.zeros_like(products), where=scale > 0)
    return float(cosines.mean()) * math.exp(-((length - their_length) ** 2) / (2 * CIDER_SIGMA**2))
