"""BLEU, ROUGE-L and CIDEr-D: worked by hand, and equal to the public scorers. Only their Python modules are imported; Java never runs."""

import math
import random

import pytest

from kerasdl.metrics import caption_scores

NAMES = ["BLEU-1", "BLEU-2", "BLEU-3", "BLEU-4", "ROUGE-L", "CIDEr-D"]
CRAFTED = {
    "an empty candidate": (["", "a b c d"], [["a b"], ["a b c d", "a"]]),
    "only empty candidates": (["", ""], [["a b"], ["c"]]),
    "an empty reference": (["a b", ""], [["", "a b c"], [""]]),
    "one reference": (["a b c d e", "f g h i"], [["a b c x e"], ["f g h i"]]),
    "a tie of closest lengths": (["a b c d", "x y"], [["a b c", "a b c d e"], ["x", "y x y"]]),
    "one picture": (["a b c d e"], [["a b c d e", "a b c"]]),
    "repeated runs": (["a a a a a a", "b a b a b a"], [["a a b", "a"], ["b a b a", "a b"]]),
    "one word": (["a", "b"], [["a"], ["a"]]),
    "the same references everywhere": (["a b c", "a b d"], [["a b c", "a b"], ["a b c", "a b"]]),
    "much too long": (["a b c d " * 12, "e f"], [["a b c d"], ["e f"]]),
    "much too short": (["a", "e"], [["a b c d " * 6], ["e f g h i j"]]),
    "equal": (["a man on a horse", "two dogs run fast"], [["a man on a horse"], ["two dogs run fast"]]),
    "nothing in common": (["p q r s", "t u v w"], [["a b c d"], ["e f g h"]]),
}


def public(candidates: list[str], references: list[list[str]]) -> dict[str, float]:
    """The scores of pycocoevalcap, of sentences that are words and single blanks."""
    pytest.importorskip("pycocoevalcap.bleu.bleu", reason="the test group is not installed")
    from pycocoevalcap.bleu.bleu import Bleu
    from pycocoevalcap.cider.cider import Cider
    from pycocoevalcap.rouge.rouge import Rouge

    said = {number: [candidate.strip()] for number, candidate in enumerate(candidates)}
    true = {number: [reference.strip() for reference in some] for number, some in enumerate(references)}
    bleu = Bleu(4).compute_score(true, said, verbose=0)[0]
    rouge, cider = (scorer().compute_score(true, said)[0] for scorer in (Rouge, Cider))
    return dict(zip(NAMES, [*map(float, bleu), float(rouge), float(cider)], strict=True))


@pytest.mark.parametrize(("candidates", "references"), CRAFTED.values(), ids=CRAFTED)
def test_crafted_corpora_score_as_with_the_public_scorers(candidates, references):
    assert caption_scores(candidates, references) == pytest.approx(public(candidates, references), abs=1e-6)


@pytest.mark.parametrize("seed", range(40))
def test_random_corpora_score_as_with_the_public_scorers(seed):
    draw = random.Random(seed)
    words = [f"w{number}" for number in range(draw.choice([1, 2, 6, 40]))]

    def sentence(least: int) -> str:
        return " ".join(draw.choices(words, k=draw.randint(least, draw.choice([4, 14]))))

    count = draw.choice([1, 2, 5, 30])
    candidates = [sentence(0) for _ in range(count)]
    references = [[sentence(1) for _ in range(draw.randint(1, 6))] for _ in range(count)]
    assert caption_scores(candidates, references) == pytest.approx(public(candidates, references), abs=1e-6)


def test_what_is_equal_scores_one_and_ten():
    scores = caption_scores(["A man on a horse.", "Two dogs run fast!"], [["a man on a horse"], ["two dogs run fast", "a cat"]])
    assert list(scores) == NAMES and all(type(value) is float for value in scores.values())
    assert [scores[name] for name in NAMES[:5]] == pytest.approx([1] * 5, abs=1e-6)
    assert caption_scores(["a b c d", "e f g h"], [["a b c d"], ["e f g h"]])["CIDEr-D"] == pytest.approx(10)


def test_bleu_clips_counts_and_sums_over_the_corpus():
    scores = caption_scores(["the the the the", "a cat sat"], [["the cat sat", "the the"], ["a cat sat down now"]])
    assert scores["BLEU-1"] == pytest.approx((2 + 3) / (4 + 3) * math.exp(1 - (3 + 5) / (4 + 3)))
    assert scores["BLEU-2"] == pytest.approx(math.sqrt(5 / 7 * (1 + 2) / (3 + 2)) * math.exp(1 - 8 / 7))


def test_bleu_takes_the_closest_reference_and_of_two_the_shorter():
    assert caption_scores(["a b c d"], [["a b c d e", "a b c"]])["BLEU-1"] == pytest.approx(1), "3 words, no penalty; 5 would give one"
    assert caption_scores(["a b c d"], [["a b c d e", "a b"]])["BLEU-1"] == pytest.approx(math.exp(1 - 5 / 4))


def test_rouge_takes_the_best_precision_and_the_best_recall_from_different_references():
    # against "a x b y c z": 3 common of 4 and of 6; against "a": 1 of 4 and of 1
    precision, recall = 3 / 4, 1.0
    expected = (1 + 1.44) * precision * recall / (recall + 1.44 * precision)
    assert caption_scores(["a b c d"], [["a x b y c z", "a"]])["ROUGE-L"] == pytest.approx(expected)


def test_cider_of_two_pictures_by_hand():
    # a is in both pictures' references and weighs nothing; b and c weigh log 2. Candidate "a b", references "a b" and "a c".
    one = caption_scores(["a b", "a b"], [["a b"], ["a c"]])["CIDEr-D"]
    assert one == pytest.approx(10 * ((1 + 1) / 4 + 0) / 2), "right in words and pairs of words, of four orders; and wrong in all"
    # "b b": clipped to the reference's single b in the numerator, not in the norm; one pair of words on both sides
    two = caption_scores(["b b", "a c"], [["a b"], ["a c"]])["CIDEr-D"]
    assert two == pytest.approx(10 * (1 / 2 / 4 + 2 / 4) / 2)
    # "b": no pair of words against one, so the factor is exp(-1/72)
    three = caption_scores(["b", "a c"], [["a b"], ["a c"]])["CIDEr-D"]
    assert three == pytest.approx(10 * (math.exp(-1 / 72) / 4 + 2 / 4) / 2)


def test_cider_of_one_picture_is_zero():
    assert caption_scores(["a b c d"], [["a b c d"]])["CIDEr-D"] == 0


def test_punctuation_and_case_do_not_count():
    true = [["a dog 's ball , it is red .", "red"], ["two cats"]]
    plain = caption_scores(["a dog 's ball it is red", "two cats"], true)
    assert caption_scores(["A dog's ball; it is RED!", "(Two) cats..."], true) == plain


@pytest.mark.parametrize(
    ("candidates", "references", "sentence"),
    [
        ([], [], "at least one. Received: 0 for 0"),
        (["a"], [["a"], ["b"]], "one candidate a picture, and at least one. Received: 1 for 2"),
        ("a", [["a"]], "Received: the string 'a' for 1"),
        (["a"], ["a"], "a list of at least one reference. Received: 'a' for picture 0"),
        (["a", "b"], [["a"], []], r"at least one reference. Received: \[\] for picture 1"),
    ],
)
def test_what_cannot_be_scored_gets_a_sentence(candidates, references, sentence):
    with pytest.raises(ValueError, match=sentence):
        caption_scores(candidates, references)
