"""Sentences as numbers: what a word is, which number it has, and what becomes of a word or a character that nobody knows."""

import json
import logging
import unicodedata
from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kerasdl.text import END, PAD, SPECIAL, START, TOKENIZER, UNK, Vocabulary, tokenize, unknown_characters

CAPTIONS = ["A red circle.", "a red star, a small one", "A dog's ball isn't blue!", "red"]
UNHURRIED = settings(deadline=None)  # the machine may be busy
ANY = st.text(st.characters(codec="utf-8"), max_size=60)


@pytest.fixture
def vocabulary() -> Vocabulary:
    return Vocabulary.build(CAPTIONS)


# ---- words


@pytest.mark.parametrize(
    ("sentence", "words"),
    [
        ("A child in a pink dress .", "a child in a pink dress"),
        ("Two dogs, one (brown) -- the other \"white\": 'run'!", "two dogs one brown the other white run"),
        ("The dog's bowl isn't the boys' bowl; they're sure it's hers.", "the dog 's bowl is n't the boys bowl they 're sure it 's hers"),
        ("I'd've said she'll, we've, I'm, can't", "i 'd 've said she 'll we 've i 'm ca n't"),
        ("a two-story house and/or a t-shirt at 7 o'clock", "a two-story house and/or a t-shirt at 7 o'clock"),
        ("in the U.S. at 10:30 for $1,000.50 (50%) & #4", "in the u.s. at 10:30 for $ 1,000.50 50 % & # 4"),
        ("“curly” quotes, it’s a café—a bar…", "curly quotes it 's a café a bar"),
        ("end.Start of the next", "end start of the next"),
        ("a ☃ and <end>", "a ☃ and < end >"),
        ("  \n\t ", ""),
        (". . . !", ""),
    ],
)
def test_words_are_those_of_the_treebank_in_lower_case_without_punctuation(sentence, words):
    assert tokenize(sentence) == words.split()


def test_an_accent_is_one_letter_however_it_is_written():
    assert tokenize(unicodedata.normalize("NFD", "Café crème")) == tokenize("café crème") == ["café", "crème"]
    assert tokenize("हिन्दी") == ["हिन्दी"], "vowel signs belong to their letters"


@UNHURRIED
@given(ANY)
def test_words_joined_by_blanks_are_the_same_words_again(sentence):
    words = tokenize(sentence)
    assert tokenize(" ".join(words)) == words
    assert all(word and not any(character.isspace() for character in word) for word in words)
    assert not {*words} & {*SPECIAL}


@UNHURRIED
@given(ANY)
def test_no_letter_or_digit_is_ever_dropped(sentence):
    plain = unicodedata.normalize("NFC", sentence.lower())
    letters = Counter(character for character in plain if character.isalnum() and character != "ʼ")
    kept = Counter(character for character in "".join(tokenize(sentence)) if character.isalnum())
    assert kept == letters


def test_unusual_characters_are_counted_and_kept():
    assert unknown_characters(["a ☃ and ☃", "tab\x00bed", "50 % & #", "the end."]) == {"☃": 2, "\x00": 1}
    assert tokenize("tab\x00bed") == ["tab", "\x00", "bed"]


# ---- numbers


def test_ids_fall_with_the_count_and_ties_are_alphabetical(vocabulary):
    assert vocabulary.words[:4] == SPECIAL == ("<pad>", "<start>", "<end>", "<unk>") and (PAD, START, END, UNK) == (0, 1, 2, 3)
    assert vocabulary.words[4:] == ("a", "red", "'s", "ball", "blue", "circle", "dog", "is", "n't", "one", "small", "star")
    assert vocabulary.counts == (0, 4, 4, 0, 4, 3, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1)
    assert len(vocabulary) == 16


def test_rare_words_are_counted_as_unknown():
    rare = Vocabulary.build(CAPTIONS, least=2)
    assert rare.words[4:] == ("a", "red") and rare.counts == (0, 4, 4, 10, 4, 3)
    assert rare.unknown(["A red red dog", "dog"]) == {"dog": 2}
    assert rare.encode("a red dog", 6).tolist() == [START, 4, 5, UNK, END, PAD]


def test_a_caption_is_start_words_end_and_padding(vocabulary):
    ids = vocabulary.encode("A red STAR.", 8)
    assert ids.dtype == np.int32 and ids.tolist() == [1, 4, 5, 15, 2, 0, 0, 0]
    assert vocabulary.encode("", 3).tolist() == [START, END, PAD]
    assert vocabulary.encode("a red star", 5).tolist() == [1, 4, 5, 15, 2], "it fits exactly"


def test_a_caption_that_is_cut_has_no_end(vocabulary):
    assert vocabulary.encode("a red star", 4).tolist() == [1, 4, 5, 15]
    with pytest.raises(ValueError, match="length must be at least 3. Received: 2"):
        vocabulary.encode("a", 2)


def test_no_special_word_is_ever_shown(vocabulary):
    assert vocabulary.decode([START, 4, UNK, 5, PAD, 15, END, 4, 4]) == "a red star"
    assert vocabulary.decode(np.array([4, 5, 15], np.int64)) == "a red star", "a sentence without an end is shown as far as it goes"
    assert vocabulary.decode([]) == vocabulary.decode([END]) == ""
    for wrong in (16, -1):
        with pytest.raises(ValueError, match=f"from 0 to 15. Received: {wrong}"):
            vocabulary.decode([wrong])


@pytest.mark.parametrize("caption", CAPTIONS)
def test_what_was_encoded_is_read_back_as_the_same_words(vocabulary, caption):
    shown = vocabulary.decode(vocabulary.encode(caption, 12))
    assert tokenize(shown) == tokenize(caption)
    assert " n't" not in shown and " 's" not in shown, "clitics stand at their word"


@UNHURRIED
@given(st.lists(ANY.filter(lambda text: bool(tokenize(text))), min_size=1, max_size=4))
def test_any_captions_are_read_back_as_the_same_words(captions):
    logging.getLogger("kerasdl").setLevel(logging.ERROR)
    try:
        built = Vocabulary.build(captions)
    finally:
        logging.getLogger("kerasdl").setLevel(logging.NOTSET)
    for caption in captions:
        assert tokenize(built.decode(built.encode(caption, 200))) == tokenize(caption)
    assert not built.unknown(captions)


def test_building_reports_unusual_characters(caplog):
    with caplog.at_level(logging.WARNING, logger="kerasdl"):
        built = Vocabulary.build(["a ☃", "a plain one"])
    assert "1 unusual characters, kept as words of their own: '\\u2603' 1 times" in caplog.text and "☃" in built.words


# ---- the file


def test_a_vocabulary_survives_its_file(tmp_path, vocabulary):
    vocabulary.save(tmp_path / "vocab.json")
    assert Vocabulary.load(tmp_path / "vocab.json") == vocabulary
    facts = json.loads((tmp_path / "vocab.json").read_text(encoding="utf-8"))
    assert facts == {"format": "1.0", "tokenizer": TOKENIZER, "words": list(vocabulary.words), "counts": list(vocabulary.counts)}


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        ("{", "a vocabulary is a JSON file. Received: vocab.json"),
        ("[1]", "has the lists words and counts. Received: vocab.json"),
        ('{"format": "2.0", "tokenizer": "x", "words": [], "counts": []}', "has the format 1.0. Received: '2.0'"),
        ('{"format": "1.0", "tokenizer": "x", "words": [], "counts": []}', f"has the tokenizer {TOKENIZER}. Received: 'x'"),
    ],
)
def test_a_file_that_is_no_vocabulary_gets_a_sentence(tmp_path, content, sentence):
    (tmp_path / "vocab.json").write_text(content)
    with pytest.raises(ValueError, match=sentence):
        Vocabulary.load(tmp_path / "vocab.json")


@pytest.mark.parametrize(
    ("words", "counts", "sentence"),
    [
        (["a", "b"], [1, 1], r"begins with <pad> <start> <end> <unk>. Received: \['a', 'b'\]"),
        ([*SPECIAL, "a"], [0, 1, 1, 0], "a count for every word. Received: 5 words and 4 counts"),
        ([*SPECIAL, "a", "a"], [0, 1, 1, 0, 1, 1], r"must differ. Received: \['a'\]"),
        ([*SPECIAL, "a b"], [0, 1, 1, 0, 1], "words are strings without blanks. Received: 'a b'"),
        ([*SPECIAL, 5], [0, 1, 1, 0, 1], "words are strings without blanks. Received: 5"),
    ],
)
def test_a_vocabulary_that_would_decode_wrongly_is_refused(words, counts, sentence):
    with pytest.raises(ValueError, match=sentence):
        Vocabulary(words, counts)


def test_nothing_to_build_from_gets_a_sentence():
    with pytest.raises(ValueError, match="a word that comes 3 times. Received: 2 captions, 2 words"):
        Vocabulary.build(["a b", "a"], least=3)
    with pytest.raises(ValueError, match="least must be at least 1. Received: 0"):
        Vocabulary.build(["a"], least=0)
