"""What decodes here decodes in training: apps.runtime and kerasdl hold the same functions twice, for neither may import the other."""

import re
from pathlib import Path

import numpy as np
import pytest

from apps.runtime.words import Words
from kerasdl.text import TOKENIZER, Vocabulary

ROOT = Path(__file__).resolve().parents[2]
CAPTIONS = ["A dog's ball isn't red.", "They're two-story houses, aren't they?", 'a dog \'s "two" balls & a café', "n't 's we'll"]


def body(path: str) -> list[str]:
    """The lines of a file but its imports."""
    return [line for line in (ROOT / path).read_text().splitlines() if not re.match(r"(from|import) ", line)]


def test_the_two_files_that_decode_are_one_file():
    lines = body("kerasdl/decoding.py")
    assert len(lines) > 100 and body("apps/runtime/decoding.py") == lines


@pytest.fixture
def vocabulary() -> Vocabulary:
    return Vocabulary.build(CAPTIONS)


@pytest.fixture
def words(vocabulary, tmp_path) -> Words:
    vocabulary.save(tmp_path / "vocab.json")
    return Words.load(tmp_path / "vocab.json")


def test_the_words_are_those_of_the_file(vocabulary, words):
    assert words.words == vocabulary.words and words.tokenizer == TOKENIZER
    assert len(words) == len(vocabulary) == 4 + len(words.spoken)


@pytest.mark.parametrize("seed", range(50))
def test_both_say_the_same_of_any_tokens(vocabulary, words, seed):
    generator = np.random.default_rng(seed)
    ids = generator.integers(0, len(words), (3, 12)).astype(np.int32)
    assert words.decode(ids[0]) == vocabulary.decode(ids[0])
    assert words.decode(ids[1].tolist()) == vocabulary.decode(ids[1].tolist())
    no_end = ids[2][ids[2] != 2]
    assert words.decode(no_end) == vocabulary.decode(no_end)


@pytest.mark.parametrize("caption", CAPTIONS)
def test_both_give_a_caption_back(vocabulary, words, caption):
    ids = vocabulary.encode(caption, 16)
    assert words.decode(ids) == vocabulary.decode(ids)
    assert "<" not in words.decode(ids)


@pytest.mark.parametrize("token", [-1, 1000])
def test_both_refuse_what_is_no_token(vocabulary, words, token):
    for twin in (vocabulary, words):
        with pytest.raises(ValueError, match=f"Received: {token}"):
            twin.decode([1, token])


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("{", "must be a JSON file. Received: vocab.json"),
        ("[]", "must have a list of words"),
        ('{"words": 3}', "must have a list of words"),
        ('{"format": "2.0", "words": []}', r"format must be 1.x for this reader. Received: 2.0"),
        ('{"format": "1.0", "words": ["a", "b"]}', r"must begin with <pad> <start> <end> <unk> and differ. Received: \['a', 'b'\]"),
        ('{"format": "1.0", "words": ["<pad>", "<start>", "<end>", "<unk>", "a", "a"]}', "and differ"),
        ('{"format": "1.0", "words": ["<pad>", "<start>", "<end>", "<unk>", 7]}', "and differ"),
    ],
)
def test_a_wrong_vocabulary_is_refused_in_a_sentence(tmp_path, text, sentence):
    (tmp_path / "vocab.json").write_text(text)
    with pytest.raises(ValueError, match=sentence):
        Words.load(tmp_path / "vocab.json")
