"""Captions from two graphs: the right words, looked at in the right place, alike for both kinds of decoder; and sentences for the rest."""

import io
import json
import re
import shutil

import numpy as np
import pytest
from PIL import Image

from apps.engine import Engine, Ticket, TooLate
from apps.library import Library
from apps.repository import Repository, UnknownModel, warm_up
from apps.runtime import BundleError, Choice, GraphError, caption, load_bundle, open_picture
from tests.apps.halves import COLORS, GRID, WORDS, captioner, halves, recurrent, transformer

KINDS = {"recurrent": recurrent, "transformer": transformer}
PAIRS = [(left, right) for left in COLORS for right in COLORS]


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    return {kind: captioner(tmp_path_factory.mktemp(kind), make()) for kind, make in KINDS.items()}


@pytest.fixture(scope="module", params=KINDS)
def bundle(request, folders):
    return load_bundle(folders[request.param])


@pytest.mark.parametrize("choice", [None, Choice(1), Choice(5)], ids=["the card's", "greedy", "beam 5"])
def test_every_pair_of_colours_is_named_in_order(bundle, choice):
    found = caption(bundle, [halves(*pair) for pair in PAIRS], choice)
    assert [one.text for one in found] == [f"{left} beside {right}" for left, right in PAIRS]
    assert all(one.ended and one.score < 0 and one.words == one.text.split() for one in found)


def test_it_looks_at_the_half_it_names(bundle):
    looks = caption(bundle, [halves("red", "blue")])[0].attention
    assert looks.shape == (3, looks.shape[1], GRID, GRID)
    np.testing.assert_allclose(looks.sum((2, 3)), 1, atol=1e-6)
    assert (looks[0, :, :, : GRID // 2].sum((1, 2)) > 0.99).all() and (looks[2, :, :, GRID // 2 :].sum((1, 2)) > 0.99).all()


def test_a_picture_s_caption_does_not_depend_on_the_others(bundle):
    pictures = [halves("grey", "orange"), halves("black", "white"), halves("yellow", "red")]
    for choice in (Choice(1), Choice(3)):
        together = caption(bundle, pictures, choice)
        for one, picture in zip(together, pictures, strict=True):
            alone = caption(bundle, [picture], choice)[0]
            assert [text for text, _ in alone.alternatives] == [text for text, _ in one.alternatives]
            assert alone.score == pytest.approx(one.score, abs=1e-6)
            np.testing.assert_allclose(alone.attention, one.attention, atol=1e-6)


def test_a_beam_gives_its_sentences_best_first_and_greedy_one(bundle):
    found = caption(bundle, [halves("grey", "orange")], Choice(4))[0]
    assert len({text for text, _ in found.alternatives}) == 4
    scores = [score for _, score in found.alternatives]
    assert scores == sorted(scores, reverse=True) and found.alternatives[0] == (found.text, pytest.approx(found.score))
    assert len(caption(bundle, [halves("grey", "orange")], Choice(1))[0].alternatives) == 1


def test_both_kinds_of_decoder_say_the_same(folders):
    pictures = np.random.default_rng(0).integers(0, 256, (20, 32, 32, 3), dtype=np.uint8)
    one, other = (caption(load_bundle(folders[kind]), list(pictures), Choice(3)) for kind in KINDS)
    assert [found.text for found in one] == [found.text for found in other]
    np.testing.assert_allclose([found.score for found in one], [found.score for found in other], atol=1e-5)


def test_drawing_repeats_with_its_seed_and_a_low_temperature_is_greedy(bundle):
    picture = [halves("grey", "orange")]
    drawn = [caption(bundle, picture, Choice(temperature=5.0, seed=seed))[0].text for seed in range(12)]
    assert drawn == [caption(bundle, picture, Choice(temperature=5.0, seed=seed))[0].text for seed in range(12)]
    assert len(set(drawn)) > 3
    assert {caption(bundle, picture, Choice(temperature=0.01, seed=seed))[0].text for seed in range(12)} == {"grey beside orange"}
    assert not any("<" in text for text in drawn)


def test_a_picture_from_a_file_is_prepared_by_the_card(bundle):
    stream = io.BytesIO()
    Image.fromarray(halves("red", "blue", 200)).resize((300, 200)).save(stream, "JPEG", quality=95)
    found = caption(bundle, [open_picture(stream.getvalue(), bundle.color)])
    assert found[0].text == "red beside blue" and caption(bundle, []) == []


@pytest.mark.parametrize(
    ("wrong", "sentence"),
    [
        ({"beam": 0}, "beam must be a whole number from 1 to 10. Received: 0"),
        ({"beam": 11}, "Received: 11"),
        ({"temperature": 0.0}, "temperature must be above 0 and at most 5. Received: 0"),
        ({"temperature": float("nan")}, "Received: nan"),
        ({"temperature": 1.0, "seed": -1}, "seed must be a whole number from 0 to"),
    ],
)
def test_a_wrong_choice_is_refused_in_a_sentence(wrong, sentence):
    with pytest.raises(ValueError, match=sentence):
        Choice(**wrong)


def test_a_token_beyond_the_words_is_the_sender_s_mistake(bundle):
    memory = bundle.run({"image": halves("red", "blue")[np.newaxis]}, "encoder")
    state = memory.pop("state", np.zeros((1, 1, 2, 2, 0, 3), np.float32))
    with pytest.raises(GraphError, match="must be able to run on the shapes and whole numbers given"):
        bundle.run({"token": np.array([len(WORDS)], np.int32), "state": state, **memory}, "decoder")


def test_a_caption_stops_between_two_words_when_it_is_too_late(bundle):
    asked = []

    def check() -> None:
        asked.append(1)
        if len(asked) == 3:
            raise TooLate

    with pytest.raises(TooLate):
        caption(bundle, [halves("red", "blue")], check=check)


# --- what must not serve ---


def broken(tmp_path, graphs=None, **changes):
    return load_bundle(captioner(tmp_path, graphs, **changes))


def renamed(graphs, graph: str, kind: str, old: str, new: str):
    """The graph with one input or output under another name."""
    model = graphs[graph]
    for value in getattr(model.graph, kind):
        value.name = new if value.name == old else value.name
    for node in model.graph.node:
        for names in (node.input, node.output):
            for place, name in enumerate(names):
                names[place] = new if name == old else name
    return graphs


CARDS = {
    "no facts": ({"caption": None}, "must say of captions their length from 3"),
    "no length": ({"caption": {"beam": 3, "grid": [4, 4]}}, "Received: halves with {'beam': 3"),
    "a short length": ({"caption": {"length": 2, "beam": 3, "grid": [4, 4]}}, "their length from 3"),
    "a wide beam": ({"caption": {"length": 8, "beam": 11, "grid": [4, 4]}}, "a beam up to 10"),
    "half a grid": ({"caption": {"length": 8, "beam": 3, "grid": [4]}}, "the grid of the attention"),
    "another grid": ({"caption": {"length": 8, "beam": 3, "grid": [4, 5]}}, "looking at 4 x 5 places. Received: halves, cannot reshape"),
    "other labels": ({"labels": [*WORDS[:-1], "pink"]}, "must be the words of vocab.json"),
}
GRAPHS = {
    "one graph": (lambda: {"encoder": recurrent()["encoder"]}, "must have the graphs encoder and decoder. Received: halves with encoder"),
    "no keys taken": (
        lambda: renamed(recurrent(), "encoder", "output", "keys", "lock"),
        "must take token, state and what the encoder gives",
    ),
    "no attention": (
        lambda: renamed(recurrent(), "decoder", "output", "attention", "looks"),
        "logits of 13 words, next_state and attention",
    ),
}


@pytest.mark.parametrize("case", CARDS)
def test_a_card_that_does_not_fit_is_refused(tmp_path, case):
    changes, sentence = CARDS[case]
    with pytest.raises(BundleError, match=sentence):
        warm_up(broken(tmp_path, **changes))


@pytest.mark.parametrize("case", GRAPHS)
def test_graphs_that_do_not_go_together_are_refused(tmp_path, case):
    make, sentence = GRAPHS[case]
    with pytest.raises(BundleError, match=sentence):
        warm_up(broken(tmp_path, make()))


@pytest.mark.parametrize("kind", KINDS)
def test_a_whole_bundle_warms_up_and_one_without_words_does_not(folders, tmp_path, kind):
    warm_up(load_bundle(folders[kind]))
    shutil.copytree(folders[kind], tmp_path / "halves")
    card = json.loads((tmp_path / "halves" / "card.json").read_text())
    del card["files"]["vocab.json"]
    (tmp_path / "halves" / "card.json").write_text(json.dumps(card))
    with pytest.raises(BundleError, match="must have its words in vocab.json"):
        warm_up(load_bundle(tmp_path / "halves"))


def test_words_that_cannot_be_read_are_refused_with_the_bundle_s_name(tmp_path, rewrite_card):
    folder = captioner(tmp_path)
    (folder / "vocab.json").write_text("{}")
    rewrite_card(folder)
    with pytest.raises(BundleError, match="words must be readable. Received: halves, A vocabulary must have a list of words"):
        load_bundle(folder)


# --- the library ---


@pytest.fixture
def library(tmp_path, make_bundle):
    captioner(tmp_path)
    make_bundle(tmp_path, "colors")
    repository = Repository(tmp_path)
    repository.load_all()
    assert not repository.broken
    engine = Engine(1, 4)
    yield Library(repository, engine)
    engine.close()


def test_the_library_knows_the_captioners_and_their_examples(library):
    assert library.names("captioning") == ["halves"] and library.names() == ["colors-templates"]
    assert len(library.examples("halves")) == 24
    assert library.references("halves", "scene-00.png") == ["red beside green", "green to the right of red"]
    assert library.references("halves", "none.png") == [] and library.references("colors-templates", "red-0.png") == []
    said = library.caption("halves", library.examples("halves")[0], Choice(1))
    assert said.caption.text == "red beside green" and said.seen.shape == (32, 32, 3)


def test_a_bundle_of_another_task_is_refused(library):
    with pytest.raises(UnknownModel, match="must caption pictures. Received: colors-templates, a bundle for classification"):
        library.caption("colors-templates", b"")
    with pytest.raises(UnknownModel, match="must classify pictures. Received: halves, a bundle for captioning"):
        library.classify("halves", b"")


def test_a_deadline_that_has_passed_ends_a_caption(library):
    ticket = Ticket(library.engine, 0.0)
    with pytest.raises(TooLate):
        library.captioning("halves", library.examples("halves")[0])(ticket)


# --- over HTTP ---


@pytest.fixture(scope="module")
def speaker(tmp_path_factory, own_server, make_bundle):
    """A server over both kinds of captioner and a classifier."""
    folder = tmp_path_factory.mktemp("speaking")
    captioner(folder, recurrent(), "halves")
    captioner(folder, transformer(), "halves-transformer")
    make_bundle(folder, "colors")
    return own_server(folder, tmp_path_factory.mktemp("audit") / "sockets.log")


@pytest.fixture
def ask(speaker):
    import httpx

    with httpx.Client(base_url=speaker.url, timeout=120) as client:
        yield lambda picture=None, **query: client.post(
            "/api/caption", params={"model": "halves", **query}, content=png() if picture is None else picture
        )


def png(left: str = "red", right: str = "blue") -> bytes:
    stream = io.BytesIO()
    Image.fromarray(halves(left, right)).save(stream, "PNG")
    return stream.getvalue()


@pytest.mark.parametrize("model", ["halves", "halves-transformer"])
def test_a_picture_gets_its_sentence_with_alternatives(ask, model):
    answer = ask(model=model)
    assert answer.status_code == 200
    told = answer.json()
    assert set(told) == {"model", "caption", "score", "margin", "ended", "alternatives"}
    assert (told["model"], told["caption"], told["ended"]) == (model, "red beside blue", True)
    assert [entry["caption"] for entry in told["alternatives"]][0] == "red beside blue" and len(told["alternatives"]) == 3
    assert ask(model=model, beam=1).json()["alternatives"] == [{"caption": "red beside blue", "score": pytest.approx(told["score"])}]


def test_a_form_and_a_raw_body_are_said_alike(speaker, ask):
    import httpx

    form = httpx.post(f"{speaker.url}/api/caption?model=halves", files={"image": ("a.png", png(), "image/png")}, timeout=120)
    assert form.json() == ask().json()


def test_attention_comes_word_by_word_when_it_is_asked_for(ask):
    told = ask(attention=True).json()["attention"]
    assert told["grid"] == [4, 4] and told["words"] == ["red", "beside", "blue"]
    maps = np.array(told["maps"]).reshape(3, 4, 4)
    assert maps[0, :, :2].sum() > 0.99 and maps[2, :, 2:].sum() > 0.99


def test_words_can_be_drawn(ask):
    grey = png("grey", "orange")
    drawn = [ask(grey, temperature=5, seed=seed).json()["caption"] for seed in range(8)]
    assert len(set(drawn)) > 2 and drawn[3] == ask(grey, temperature=5, seed=3).json()["caption"]
    assert ask(grey, temperature=5).json()["caption"] == drawn[0]


@pytest.mark.parametrize(
    ("query", "status", "sentence"),
    [
        ({"model": ""}, 400, "/api/caption?model=NAME. There is halves, halves-transformer."),
        ({"model": "halfs"}, 404, "Did you mean halves?"),
        ({"model": "colors-templates"}, 404, "must caption pictures. Received: colors-templates, a bundle for classification"),
        ({"beam": "0"}, 400, "beam must be greater than or equal to 1. Received: 0"),
        ({"beam": "11"}, 400, "beam must be less than or equal to 10. Received: 11"),
        ({"beam": "three"}, 400, "Received: three"),
        ({"beam": "1.5"}, 400, "Received: 1.5"),
        ({"temperature": "0"}, 400, "temperature must be greater than 0. Received: 0"),
        ({"temperature": "-1"}, 400, "Received: -1"),
        ({"temperature": "nan"}, 400, "Received: nan"),
        ({"temperature": "1e999"}, 400, "Received: 1e999"),
        ({"temperature": "1", "seed": "-1"}, 400, "seed must be greater than or equal to 0. Received: -1"),
        ({"temperature": "1", "seed": "4294967296"}, 400, "Received: 4294967296"),
        ({"temperature": "1", "beam": "3"}, 400, "Give a beam or a temperature, not both. Received: beam=3 and temperature=1."),
        ({"seed": "3"}, 400, "A seed is for drawing words: give a temperature with it. Received: seed=3 alone."),
        ({"attention": "perhaps"}, 400, "Received: perhaps"),
    ],
)
def test_what_cannot_be_is_refused_in_a_sentence(ask, query, status, sentence):
    answer = ask(**query)
    assert answer.status_code == status and sentence in answer.json()["error"]


@pytest.mark.parametrize(
    ("picture", "status", "sentence"),
    [
        (b"text", 415, "not a picture in one of the accepted formats"),
        (b"", 400, "The picture is empty."),
        (png()[:60], 422, "damaged or cut short"),
        (bytes(9_000_000), 413, "too large: at most 8 MB"),
    ],
)
def test_what_is_no_picture_is_refused_in_a_sentence(ask, picture, status, sentence):
    answer = ask(picture)
    assert answer.status_code == status and sentence in answer.json()["error"]


def test_captions_need_the_token_too(tmp_path, own_server):
    import httpx

    captioner(tmp_path / "bundles")
    guarded = own_server(tmp_path / "bundles", tmp_path / "sockets.log", "--token", "hush")
    address = f"{guarded.url}/api/caption?model=halves"
    assert httpx.post(address, content=png(), timeout=120).status_code == 401
    allowed = httpx.post(address, content=png(), headers={"authorization": "Bearer hush"}, timeout=120)
    assert allowed.json()["caption"] == "red beside blue"


def test_other_sites_may_not_have_captions_made(speaker):
    import httpx

    answer = httpx.post(f"{speaker.url}/api/caption?model=halves", content=png(), headers={"origin": "https://evil.example"}, timeout=120)
    assert answer.status_code == 403


def test_the_interface_tells_of_captions(speaker):
    import httpx

    document = httpx.get(f"{speaker.url}/openapi.json", timeout=120).json()
    operation = document["paths"]["/api/caption"]["post"]
    assert {entry["name"] for entry in operation["parameters"]} == {"model", "beam", "temperature", "seed", "attention"}
    assert "multipart/form-data" in operation["requestBody"]["content"]
    assert set(operation["responses"]) == {"200", "400", "403", "404", "408", "413", "415", "422", "503", "504"}
    assert "POST /api/caption" in httpx.get(f"{speaker.url}/api/nothing", timeout=120).json()["error"]


def step_over_http(speaker, name: str, graph: str, arrays: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """One graph over the Open Inference Protocol, in JSON."""
    import httpx

    from apps.tensors import DATATYPES

    inputs = [
        {"name": key, "shape": list(array.shape), "datatype": DATATYPES[array.dtype.name], "data": array.reshape(-1).tolist()}
        for key, array in arrays.items()
    ]
    answer = httpx.post(f"{speaker.url}/v2/models/{name}.{graph}/infer", json={"inputs": inputs}, timeout=120)
    assert answer.status_code == 200, answer.text
    return {one["name"]: np.array(one["data"], np.float32).reshape(one["shape"]) for one in answer.json()["outputs"]}


@pytest.mark.parametrize("name", ["halves", "halves-transformer"])
def test_a_program_can_choose_the_words_itself_from_a_past_of_nothing_on(speaker, ask, name):
    from apps.runtime.decoding import greedy

    memory = step_over_http(speaker, name, "encoder", {"image": halves("red", "blue")[np.newaxis]})
    found = greedy(lambda inputs: step_over_http(speaker, name, "decoder", inputs), memory, 8)
    assert " ".join(WORDS[token] for token in found.tokens[0] if token > 3) == "red beside blue"
    assert found.scores[0] == pytest.approx(ask(model=name, beam=1).json()["score"], abs=1e-5)


def test_only_the_past_may_be_empty(speaker):
    import httpx

    def refused(*shape: int) -> str:
        entries = [
            {"name": "state", "datatype": "FP32", "shape": shape, "data": []},
            {"name": "token", "datatype": "INT32", "shape": [1], "data": [1]},
            {"name": "cross", "datatype": "FP32", "shape": [1, 1, 2, 2, 16, 3], "data": [0] * 192},
        ]
        answer = httpx.post(f"{speaker.url}/v2/models/halves-transformer.decoder/infer", json={"inputs": entries}, timeout=120)
        assert answer.status_code == 400
        return answer.json()["error"]

    assert "every side at least 1, past at least 0" in refused(0, 1, 2, 2, 0, 3)
    assert "every side at least 1, past at least 0" in refused(1, 1, 2, 2, -1, 3)
    assert re.search(r"must be \[batch, 1, 2, 2, past, 3\]", refused(1, 0, 2, 2, 0, 3))


def test_a_token_that_is_none_is_answered_400(speaker):
    import httpx

    entry = {"name": "token", "datatype": "INT32", "shape": [1], "data": [99]}
    rest = [
        {"name": "state", "datatype": "FP32", "shape": [1, 1, 3], "data": [0] * 3},
        {"name": "features", "datatype": "FP32", "shape": [1, 16, 3], "data": [0] * 48},
        {"name": "keys", "datatype": "FP32", "shape": [1, 16, 2], "data": [0] * 32},
    ]
    answer = httpx.post(f"{speaker.url}/v2/models/halves.decoder/infer", json={"inputs": [entry, *rest]}, timeout=120)
    assert answer.status_code == 400 and "shapes and whole numbers given" in answer.json()["error"]
