"""Decoding against enumeration and by hand: the decoders here are small numpy functions whose every caption can be written down."""

import itertools
from typing import Any

import numpy as np
import pytest

from kerasdl.decoding import END, PAD, START, UNK, Captions, beam, greedy, log_softmax, sample

A, B = 4, 5  # the first words
WORDS = 7
RNG = np.random.default_rng(0)


def history_decoder(words: int = WORDS, seed: int = 0):
    """Logits that depend on the picture and on every token so far, held as a Transformer holds them: a state that grows by one a step."""
    rng = np.random.default_rng(seed)
    table, mixing = rng.normal(size=(words, 6)), rng.normal(size=(6, words)) * 2

    def step(inputs: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        token, state, cross = inputs["token"], inputs["state"], inputs["cross"]
        assert token.dtype == np.int32 and len(token) == len(state) == len(cross)
        new = np.broadcast_to(token[:, None, None, None, None, None], (*state.shape[:4], 1, state.shape[5])).astype("float32")
        state = np.concatenate([state, new], axis=4)
        said = state[:, 0, 0, 0, :, 0].astype(int)  # (B, T+1)
        hidden = cross[:, 0, 0, 0, :, 0].copy()  # (B, 6)
        for t in range(said.shape[1]):
            hidden = np.tanh(0.7 * np.roll(hidden, 1, axis=1) + table[said[:, t]])
        attention = np.stack([np.eye(words)[token], np.full((len(token), words), 1 / words)], axis=1)  # (B, 2, N)
        return {"logits": (hidden @ mixing).astype("float32"), "next_state": state, "attention": attention.astype("float32")}

    return step


def pictures(count: int, seed: int = 1) -> dict[str, np.ndarray]:
    return {"cross": np.random.default_rng(seed).normal(size=(count, 1, 2, 1, 6, 1)).astype("float32")}


def table_decoder(rows: dict[int, dict[int, float]], words: int = WORDS):
    """Probabilities of the next token by the last one, whatever the picture; what is not named shares nothing."""
    logits = np.full((words, words), -1e4, "float32")
    for last, probabilities in rows.items():
        for word, p in probabilities.items():
            logits[last, word] = np.log(p)

    def step(inputs: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        token = inputs["token"]
        attention = np.ones((len(token), 1, 2), "float32") / 2
        return {"logits": logits[token], "next_state": inputs["state"], "attention": attention}

    return step


def state_of(count: int) -> dict[str, np.ndarray]:
    return {"state": np.zeros((count, 1, 1), "float32")}


def log_probability(step: Any, memory: dict[str, np.ndarray], caption: tuple[int, ...]) -> float:
    """Of one picture and the tokens behind <start>."""
    state, total = np.zeros((1, 1, 2, 1, 0, 1), "float32"), 0.0
    for last, token in itertools.pairwise((START, *caption)):
        out = step({"token": np.array([last], "int32"), "state": state, **memory})
        state = out["next_state"]
        total += log_softmax(out["logits"])[0, token]
    return total


def every_caption(length: int):
    said = [token for token in range(WORDS) if token not in (PAD, START, END, UNK)]
    return [(*body, END) for size in range(length - 1) for body in itertools.product(said, repeat=size)]


def caption_of(found: Captions, picture: int) -> tuple[int, ...]:
    row = [int(token) for token in found.tokens[picture]]
    assert row[0] == START
    return tuple(row[1 : row.index(END) + 1])


# --- against enumeration ---


@pytest.mark.parametrize("length, width", [(3, WORDS), (4, WORDS**2)])
@pytest.mark.parametrize("normalise", [True, False])
def test_a_beam_that_holds_everything_is_exhaustive_search(length, width, normalise):
    step, memory = history_decoder(), pictures(12)
    found = beam(step, memory, length, width, normalise)
    for picture in range(12):
        alone = {"cross": memory["cross"][picture : picture + 1]}
        scores = {c: log_probability(step, alone, c) / (len(c) if normalise else 1) for c in every_caption(length)}
        best = max(scores, key=lambda c: scores[c])
        assert caption_of(found, picture) == best
        np.testing.assert_allclose(found.scores[picture], scores[best], atol=1e-6)
        for tokens, score in found.alternatives[picture]:
            np.testing.assert_allclose(score, scores[tuple(tokens[1:].tolist())], atol=1e-6)


def test_a_wider_beam_is_better_on_the_whole():
    step, memory = history_decoder(seed=3), pictures(200)
    means = [float(beam(step, memory, 6, width, normalise=False).scores.mean()) for width in (1, 3, 9)]
    assert means[0] < means[1] <= means[2]


def test_a_beam_of_one_is_greedy():
    ended = set()
    for seed in range(3):
        step, memory = history_decoder(seed=seed), pictures(30, seed)
        one, other = beam(step, memory, 4, width=1), greedy(step, memory, 4)
        np.testing.assert_array_equal(one.tokens, other.tokens)
        np.testing.assert_array_equal(one.attention, other.attention)
        np.testing.assert_array_equal(one.ended, other.ended)
        np.testing.assert_allclose(one.scores, other.scores, atol=1e-6)
        np.testing.assert_allclose(one.margins, other.margins, atol=1e-6)
        ended |= set(other.ended.tolist())
    assert ended == {True, False}  # some end by themselves and some on the last place


def test_greedy_takes_the_most_probable_word_of_every_step():
    step, memory = history_decoder(), pictures(20)
    found = greedy(step, memory, 5)
    for picture in range(20):
        alone = {"cross": memory["cross"][picture : picture + 1]}
        caption = caption_of(found, picture)
        for t in range(min(len(caption), 3)):  # the last place is <end>'s
            best = max((END, *range(4, WORDS)), key=lambda w: log_probability(step, alone, (*caption[:t], w)))
            assert caption[t] == best
        np.testing.assert_allclose(found.scores[picture], log_probability(step, alone, caption) / len(caption), atol=1e-6)


# --- a batch is its pictures ---


@pytest.mark.parametrize("decode", [greedy, beam], ids=["greedy", "beam"])
def test_permuting_the_batch_permutes_the_answers(decode):
    step, memory = history_decoder(), pictures(9)
    order = np.random.default_rng(5).permutation(9)
    plain, permuted = decode(step, memory, 6), decode(step, {"cross": memory["cross"][order]}, 6)
    for name in ("tokens", "scores", "margins", "attention", "ended"):
        np.testing.assert_array_equal(getattr(permuted, name), getattr(plain, name)[order])


@pytest.mark.parametrize("decode", [greedy, beam, sample], ids=["greedy", "beam", "sample"])
def test_a_picture_alone_is_told_what_it_is_told_in_a_batch(decode):
    step, memory = history_decoder(), pictures(5)
    whole, alone = decode(step, memory, 6), decode(step, {"cross": memory["cross"][:1]}, 6)
    np.testing.assert_array_equal(alone.tokens, whole.tokens[:1])
    np.testing.assert_array_equal(alone.attention, whole.attention[:1])


# --- by hand ---

# Greedy says A (0.6), which then ends at 0.4: 0.24. B ends at once at 0.95: 0.38.
GARDEN_PATH = {START: {A: 0.6, B: 0.4}, A: {A: 0.35, B: 0.25, END: 0.4}, B: {END: 0.95, A: 0.05}}


def test_a_beam_leaves_the_garden_path_that_greedy_takes():
    step = table_decoder(GARDEN_PATH)
    first = greedy(step, state_of(1), 4)
    assert caption_of(first, 0) == (A, END)
    np.testing.assert_allclose(first.scores, [np.log(0.24) / 2], atol=1e-6)
    np.testing.assert_allclose(first.margins, [np.log(0.4 / 0.35)], atol=1e-6)
    found = beam(step, state_of(1), 4, width=2)
    assert caption_of(found, 0) == (B, END)
    assert [ids.tolist() for ids, _ in found.alternatives[0]] == [[START, B, END], [START, A, END]]
    np.testing.assert_allclose([score for _, score in found.alternatives[0]], [np.log(0.38) / 2, np.log(0.24) / 2], atol=1e-6)


def test_the_margin_of_a_beam_is_the_nearest_other_choice():
    found = beam(table_decoder(GARDEN_PATH), state_of(1), 4, width=2)
    # Step 2: .38 and .24 of two places are kept, .21 is not; in the end .38 and .24 are compared by their means.
    np.testing.assert_allclose(found.margins, [np.log(0.24 / 0.21)], atol=1e-6)


def test_the_mean_prefers_what_the_sum_finds_too_long():
    rows = {START: {END: 0.3, A: 0.7}, A: {A: 0.01, B: 0.99}, B: {END: 0.4, A: 0.6}}
    step = table_decoder(rows)
    assert caption_of(beam(step, state_of(1), 4, 4, normalise=True), 0) == (A, B, END)  # 0.277 in three tokens
    assert caption_of(beam(step, state_of(1), 4, 4, normalise=False), 0) == (END,)  # 0.3


def test_what_no_caption_shows_is_never_chosen():
    rows = {last: {PAD: 0.3, START: 0.3, UNK: 0.3, A: 0.06, END: 0.04} for last in range(WORDS)}
    step = table_decoder(rows)
    some = [greedy(step, state_of(3), 6), beam(step, state_of(3), 6), sample(step, state_of(50), 6, 2.0)]
    for found in some:
        for row in found.tokens:
            end = row.tolist().index(END)
            assert row[0] == START and {*row[1:end]} <= {A, B, 6} and not row[end + 1 :].any()
    np.testing.assert_allclose(some[0].scores, [(4 * np.log(0.06) + np.log(0.04)) / 5] * 3, atol=1e-6)  # the model's own probabilities


def test_a_caption_without_end_is_ended_on_the_last_place_and_says_so():
    endless = table_decoder({START: {A: 1.0}, A: {A: 0.9, END: 0.1}})
    for decode in (greedy, beam):
        found = decode(endless, state_of(2), 5)
        assert caption_of(found, 0)[-1] == END and len(found.tokens[0]) == 5
    first = greedy(endless, state_of(2), 5)
    assert first.tokens.tolist() == [[START, A, A, A, END]] * 2 and not first.ended.any()
    assert greedy(table_decoder({START: {A: 1.0}, A: {END: 1.0}}), state_of(2), 5).ended.all()


def test_the_past_and_the_attention_follow_their_caption():
    step, memory = history_decoder(seed=4), pictures(40)
    found = beam(step, memory, 6, width=4)
    for picture in range(40):
        alone = {"cross": memory["cross"][picture : picture + 1]}
        caption = caption_of(found, picture)
        np.testing.assert_allclose(found.scores[picture], log_probability(step, alone, caption) / len(caption), atol=1e-6)
        for t in range(len(caption)):  # the decoder's attention says which token it was given
            np.testing.assert_array_equal(found.attention[picture, t + 1, 0], np.eye(WORDS)[(START, *caption)[t]])
        assert not found.attention[picture, 0].any() and not found.attention[picture, len(caption) + 1 :].any()


def test_the_forms_of_an_answer():
    found = beam(history_decoder(), pictures(3), 6, 2)
    assert found.tokens.shape == (3, 6) and found.tokens.dtype == np.int32
    assert found.attention.shape == (3, 6, 2, WORDS) and found.attention.dtype == np.float32
    assert {x.dtype.name for x in (found.scores, found.margins)} == {"float32"} and found.ended.dtype == bool
    for picture in range(3):
        scores = [score for _, score in found.alternatives[picture]]
        assert len(scores) == 2 and scores == sorted(scores, reverse=True)
        np.testing.assert_allclose(found.scores[picture], scores[0])
    assert greedy(history_decoder(), pictures(3), 6).alternatives == []


# --- sampling ---


@pytest.mark.parametrize("temperature", [0.5, 1.0, 2.0])
def test_samples_come_as_often_as_the_tempered_probabilities_say(temperature):
    p = np.array([0.5, 0.3, 0.2])
    step = table_decoder({START: {END: 0.5, A: 0.3, B: 0.2}, A: {END: 1.0}, B: {END: 1.0}})
    found = sample(step, state_of(4000), 3, temperature)
    shares = np.array([np.mean(found.tokens[:, 1] == word) for word in (END, A, B)])
    wanted = p ** (1 / temperature) / (p ** (1 / temperature)).sum()
    np.testing.assert_allclose(shares, wanted, atol=4 * np.sqrt(0.25 / 4000))


def test_samples_are_of_their_seed_and_cold_ones_are_greedy():
    step, memory = history_decoder(), pictures(30)
    same = [sample(step, memory, 6, seed=7).tokens for _ in range(2)]
    np.testing.assert_array_equal(same[0], same[1])
    assert (same[0] != sample(step, memory, 6, seed=8).tokens).any()
    np.testing.assert_array_equal(sample(step, memory, 6, temperature=1e-6).tokens, greedy(step, memory, 6).tokens)


# --- refused ---


@pytest.mark.parametrize(
    "ask, sentence",
    [
        (lambda: greedy(history_decoder(), pictures(1), 2), "a length of at least 3. Received: 2"),
        (lambda: beam(history_decoder(), pictures(1), 5, 0), "a beam is at least 1. Received: 0"),
        (lambda: sample(history_decoder(), pictures(1), 5, 0.0), "temperature must be positive. Received: 0.0"),
        (lambda: sample(history_decoder(), pictures(1), 5, float("nan")), "temperature must be positive. Received: nan"),
        (lambda: greedy(history_decoder(), {"features": np.zeros((1, 2, 3))}, 5), "keys and values as cross. Received: features"),
    ],
)
def test_the_impossible_is_refused_with_a_sentence(ask, sentence):
    with pytest.raises(ValueError, match=sentence):
        ask()


def test_logits_that_are_no_numbers_are_refused():
    def broken(inputs):
        out = history_decoder()(inputs)
        return {**out, "logits": np.full_like(out["logits"], np.nan)}

    for decode in (greedy, beam):
        with pytest.raises(ValueError, match="logits must be finite"):
            decode(broken, pictures(2), 5)
