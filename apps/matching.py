"""The matching page: show it a person, see who in the gallery looks most alike and whether that is enough; enrol, rename and delete."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from html import escape
from pathlib import Path
from typing import Any, TypeVar

import gradio as gr

from apps import album, calls, examples, page, ranked, verdict
from apps.engine import Ticket
from apps.facts import percent
from apps.galleries import Galleries
from apps.gallery import Gallery, GalleryError
from apps.library import Library, PictureError
from apps.matches import MAX_PICTURES, Matched, Matcher, Sighting, Wanted
from apps.page import AT_ONCE, QUIET, REFUSED, refusal
from apps.runtime import Bundle
from apps.runtime.embedding import dimensions
from apps.uploads import Upload, copied_example, example_of, picture_input, uploaded_files

T = TypeVar("T")
ALIKE = 1000  # people whose names hold the one that is looked for
SHOWN = 12  # people: two rows of six, on a phone three of four
BY = {"best": "the most similar picture", "mean": "the mean of all pictures"}
WHEN = "2026-01-31 08:00, in UTC"
NO_CHANGES = "Nobody can be enrolled, renamed or deleted here: the server needs a login for that, or its owner has turned it off."
AGREED = "The person knows that these pictures are kept here so as to be found again, and has agreed."


def build(pages: gr.Blocks, matcher: Matcher, secured: bool = False, changes: bool = True) -> None:
    """Lay the page out inside the open route and wire it. `changes`: visitors may enrol, rename and delete."""
    act = Page(matcher, secured, changes)
    library = matcher.library
    page.title("Who is it?", "Show it a person: it finds who in a gallery looks most alike, and says whether that is enough.")
    with gr.Row():
        with gr.Column(scale=1, min_width=320):
            model = page.network(library, "embedding")
            scope = gr.HTML(elem_id="scope")
            with gr.Tabs():
                with gr.Tab("Find"):
                    picture = picture_input()
                    shown = page.example_buttons()
                    with gr.Accordion("Narrow the search", open=False):
                        by = gr.Radio([(words, name) for name, words in BY.items()], value="best", label="A person counts by", elem_id="by")
                        cameras = gr.Textbox(label="Only pictures of these cameras, with commas between", elem_id="cameras", max_lines=1)
                        with gr.Row():
                            since = gr.Textbox(
                                label="Only pictures from this time on", value="", placeholder=WHEN, elem_id="since", max_lines=1
                            )
                            until = gr.Textbox(
                                label="Only pictures before this time", value="", placeholder=WHEN, elem_id="until", max_lines=1
                            )
                with gr.Tab("Enrol", elem_id="enrol"):
                    enrolling, start = enrolment(changes, matcher.galleries.keep_pictures)
                    done = gr.HTML(elem_id="done", elem_classes="live")
                with gr.Tab("Gallery", elem_id="people"):
                    like = gr.Textbox(label="Only names that hold this", elem_id="like", max_lines=1)
                    listing = album.listing()
        with gr.Column(scale=1, min_width=320):
            answer = page.answer(ranked.WAITING)
            threshold = gr.HTML(elem_id="threshold")
            trust = page.trust()
    program = page.program()
    name, files, consent = (enrolling[key] for key in ("name", "files", "consent"))
    by.preprocess = read_by  # type: ignore[method-assign]  # gradio would answer a wrong one without a sentence
    files.preprocess = uploaded_files  # type: ignore[method-assign]

    asked: dict[str, Any] = {"api_visibility": "undocumented", "concurrency_limit": AT_ONCE}  # /api is what programs should use
    given, said = [model, picture, by, cameras, since, until], [answer, program]
    for event in (
        picture.change(act.match, given, said, api_name="match", show_progress="minimal", **asked),
        by.input(act.match, given, said, trigger_mode="always_last", **QUIET),
        *(field.submit(act.match, given, said, trigger_mode="always_last", **QUIET) for field in (cameras, since, until)),
    ):
        event.failure(no_answer, None, answer, **QUIET)
    shown.select(act.example, model, picture, **QUIET)
    like.change(act.people, [model, like], listing, trigger_mode="always_last", **QUIET)
    listing.select(act.turn, [model, like], listing, **QUIET)
    enrolled = start.click(act.enrol, [model, *enrolling.values(), like], [done, listing, name, files, consent], **QUIET)
    renamed = listing.edit(act.rename, [model, like], listing, **QUIET)
    deleted = listing.delete(act.delete, [model, like], listing, **QUIET)
    for event in (enrolled, renamed, deleted):  # what is shown may be another person's now, or nobody's
        event.success(act.match, given, said, **QUIET).failure(no_answer, None, answer, **QUIET)
    changed = page.follow(pages, library, "embedding", model, act.describe, [scope, threshold, trust, listing, shown, program])
    changed.then(act.match, given, said, **QUIET).failure(no_answer, None, answer, **QUIET)


def enrolment(changes: bool, pictures_kept: bool) -> tuple[dict[str, Any], gr.Button]:
    """The panel in which somebody joins the gallery: its fields in the order of `Page.enrol`, and the button."""
    page.note(NO_CHANGES if not changes else f"One person at a time, one to {MAX_PICTURES} pictures; several cameras make it surer.")
    fields: dict[str, Any] = {"name": gr.Textbox(label="Name", elem_id="name", max_length=120, max_lines=1, interactive=changes)}
    fields["more"] = gr.Checkbox(
        label="Somebody of this name is in the gallery: add to their pictures.", elem_id="more", interactive=changes
    )
    fields["files"] = gr.File(file_count="multiple", label="Pictures", elem_id="files", height=160, interactive=changes)
    with gr.Row():
        fields["camera"] = gr.Textbox(label="Camera (may stay empty)", elem_id="camera", max_lines=1, interactive=changes)
        fields["time"] = gr.Textbox(label="Time (may stay empty)", placeholder=WHEN, elem_id="time", max_lines=1, interactive=changes)
    kept = "the pictures, a small copy and a vector of each" if pictures_kept else "a vector and a small copy of each picture"
    page.note(f"Kept are the name, {kept}, on this machine, until somebody deletes the person: then they are gone from its disk.")
    fields["consent"] = gr.Checkbox(label=AGREED, elem_id="consent", interactive=changes)
    return fields, gr.Button("Enrol", variant="primary", size="md", elem_id="start", interactive=changes)


class Page:
    """What the page does, over one server's galleries; every refusal is a sentence in a gr.Error."""

    def __init__(self, matcher: Matcher, secured: bool, changes: bool):
        self.matcher, self.secured, self.changes = matcher, secured, changes
        self.library: Library = matcher.library
        self.galleries: Galleries = matcher.galleries

    def match(
        self, model: str, picture: Upload | None, by: Any, cameras: str, since: str, until: str, request: gr.Request
    ) -> tuple[str, str]:
        """The answer to one picture, and the call that gives it to a program."""
        listed = tuple(filter(None, map(str.strip, (cameras or "").split(",")))) or None
        wanted = Wanted(SHOWN, by, cameras=listed, since=read_time(since), until=read_time(until))
        call = replace(self.call(model, request), options=options_of(wanted))
        if picture is None:
            return ranked.WAITING, self.repeat(call)
        matched = self.guarded(model, lambda: self.run(self.matcher.matching(model, picture.source, wanted, look=True)))
        example = example_of(self.library, model, picture)
        truth = ranked.truth_of(example.name) if example and self.galleries.demo else None
        answer = self.ask(model, lambda gallery: ranked.answer_card(matched, gallery, call.bundle.card, truth))
        address = examples.public_address(call.origin, model, example) if example else None
        return answer, self.repeat(replace(call, picture=picture.name, address=address), matched)

    def enrol(
        self, model: str, name: str, more: Any, files: list[str] | None, camera: str, time: str, consent: Any, like: str
    ) -> tuple[str, str, str, None, bool]:
        """The person is kept: says so, lists the people, and empties the form."""
        self.check_changes()
        if consent is not True:
            raise refusal("Tick the box first: nobody is kept here without having agreed.")
        if not name or not name.strip():
            raise refusal("Give the person a name.")
        if not files or len(files) > MAX_PICTURES:
            raise refusal(f"Choose one to {MAX_PICTURES} pictures of the person. Received: {len(files or [])}.")
        person = self.ask(model, lambda gallery: known_as(gallery, name)) if more is True else None
        sighting = Sighting("" if person else name, files, person, (camera or "").strip() or None, read_time(time))
        person = self.guarded(model, lambda: self.run(self.matcher.enrolling(model, sighting)))
        for file in files:  # gradio would keep the whole pictures for an hour
            Path(file).unlink(missing_ok=True)
        count = f"{person.pictures} picture{'s' * (person.pictures != 1)}"
        told = f'<div class="kd"><p role="status">{escape(person.name)} is in the gallery with {count}.</p></div>'
        return told, self.people(model, like), "", None, False

    def rename(self, model: str, like: str, event: gr.EventData) -> str:
        self.check_changes()
        self.ask(model, lambda gallery: gallery.rename(str(event.person), str(event.name)))
        return self.people(model, like, offset_of(event))

    def delete(self, model: str, like: str, event: gr.EventData) -> str:
        self.check_changes()
        self.ask(model, lambda gallery: gallery.delete(str(event.person)))
        return self.people(model, like, offset_of(event))

    def turn(self, model: str, like: str, event: gr.EventData) -> str:
        """Another page of the people."""
        return self.people(model, like, offset_of(event))

    def people(self, model: str, like: str, offset: int = 0) -> str:
        return self.ask(model, lambda gallery: album.people(gallery, like or "", offset, self.changes))

    def check_changes(self) -> None:
        if not self.changes:
            raise refusal(NO_CHANGES)

    def ask(self, model: str, act: Callable[[Gallery], T]) -> T:
        """What `act` gives of the network's gallery."""
        return self.guarded(model, lambda: self.run(self.matcher.asking(model, act)))

    def run(self, work: Callable[[Ticket], T]) -> T:
        return self.library.engine.run_sync(work)

    def guarded(self, model: str, act: Callable[[], T]) -> T:
        try:
            self.galleries.of(model)  # its opening may take a while: not in one of the engine's threads
            return act()
        except (PictureError, GalleryError, *REFUSED) as error:
            raise refusal(error) from None

    def call(self, model: str, request: gr.Request) -> calls.Call:
        return calls.Call(page.origin(request), page.known(self.library, model), secured=self.secured)

    def repeat(self, call: calls.Call, matched: Matched | None = None) -> str:
        """The panel with the programs."""
        if matched is None or not matched.hits:
            return calls.panel(calls.one_picture(call), "The call that does what the page does, for the chosen network.")
        best = matched.hits[0]
        sentence = f"Each gives the answer above: {escape(best.person.name)}, {best.similarity:.6f}."
        return calls.panel(calls.one_picture(call), sentence)

    def example(self, model: str, event: gr.EventData) -> str:
        return copied_example(self.library, model, str(event.name))

    def describe(self, model: str, request: gr.Request) -> tuple[str, ...]:
        """What it compares, the threshold, the card's facts, who is there, the examples and the call."""
        call = self.call(model, request)
        card = call.bundle.card
        listed = page.example_list(self.library, model, say=name_of)
        return (
            scope_of(call.bundle, self.galleries.demo),
            ranked.threshold_card(card),
            page.trust_panel(call.bundle, measured(card), facts_of(call.bundle)),
            self.people_or_problem(model),
            listed,
            self.repeat(call),
        )

    def people_or_problem(self, model: str) -> str:
        """The people, or in their place why the gallery cannot be used: the rest of the page is there all the same."""
        try:
            self.galleries.of(model)
            return self.run(self.matcher.asking(model, lambda gallery: album.people(gallery, "", 0, self.changes)))
        except (GalleryError, *REFUSED) as error:
            return album.problem(str(error))


def read_by(payload: Any) -> str:
    if payload not in BY:
        raise refusal(f"A person counts by {' or '.join(BY)}. Received: {str(payload)[:40]}.")
    return payload


def read_time(text: str | None) -> datetime | None:
    """What somebody typed as a time; UTC where it names no zone."""
    if not (text or "").strip():
        return None
    try:
        found = datetime.fromisoformat(str(text).strip())
    except ValueError:
        raise refusal(f"A time is written as 2026-01-31 or 2026-01-31 08:00. Received: {str(text)[:40]}.") from None
    return found if found.tzinfo else found.replace(tzinfo=UTC)


def known_as(gallery: Gallery, name: str) -> str:
    """The id of the one person of this name; refused where there is none, or where there are several."""
    same = [person for person in gallery.list(limit=ALIKE, like=name.strip()) if person.name == name.strip()]
    if len(same) != 1:
        raise refusal(f"To add pictures, the name must be that of one person in the gallery. Received: {name[:40]}, of {len(same)} people.")
    return same[0].id


def offset_of(event: gr.EventData) -> int:
    try:
        return max(0, min(int(event.offset), 2**31))
    except (AttributeError, TypeError, ValueError, OverflowError):
        return 0


def no_answer() -> str:
    return ranked.WAITING


def options_of(wanted: Wanted) -> dict[str, Any]:
    """The query of the call that asks for the same."""
    times = {name: time.isoformat() for name, time in (("since", wanted.since), ("until", wanted.until)) if time}
    return {"by": wanted.by} | ({"camera": list(wanted.cameras)} if wanted.cameras else {}) | times


def name_of(example: Path) -> str:
    """id0701-cam4-12.png is 0701 by camera 4; strangers bear no name."""
    truth = ranked.truth_of(example.name)
    return example.stem if truth is None else f"{truth.person}, c{truth.camera}" if truth.known else "stranger"


def scope_of(bundle: Bundle, demo: bool) -> str:
    """What it compares at all, before anybody believes it."""
    data = bundle.card.get("data", {})
    made = ", all drawn by a program" if data.get("synthetic") else ""
    there = " The people in the gallery are drawn too, and unknown to it." if demo and data.get("synthetic") else ""
    return (
        f'<div class="kd"><p class="soft small" id="honest">It was trained on {escape(str(data.get("name", "pictures")))}{made}.{there} '
        "It compares clothes, bags and build, not faces: in other clothes somebody is another person to it, and two who dress alike "
        "are one. Only with the consent of those who are shown.</p></div>"
    )


def measured(card: dict[str, Any]) -> str:
    """How often it finds the right person among those of the test."""
    metrics = card.get("metrics", {})
    if "rank1" not in metrics:
        return '<p class="soft">Its ranking was not measured.</p>'
    rest = [f"rank-{name[4:]} {percent(metrics[name]['value'])}" for name in ("rank5", "rank10") if name in metrics]
    rest += [f"{name} {percent(metrics[name]['value'])}" for name in ("mAP", "mINP") if name in metrics]
    listed = f'<p class="soft small">{", ".join(rest)}</p>' if rest else ""
    return page.share_line(metrics["rank1"], "find the person first, by another camera") + listed


def facts_of(bundle: Bundle) -> list[tuple[str, str]]:
    section = bundle.card.get("reid", {})
    rows = [("Vector", f"{dimensions(bundle)} numbers of a picture, compared by their cosine")]
    if "gallery" in section:
        rows.append(("Searched among", f"{section['gallery']['pictures']:,} pictures of {section['gallery']['identities']:,} people"))
    if "cross" in section:
        rows.append(("Elsewhere", f"rank-1 {percent(section['cross']['cmc'][0])} in another domain"))
    rows += [
        (f"FAR {100 * (point.aim or 0):g} %", f"from {point.similarity:.3f} on: {percent(point.tpr)} of one person's pairs pass")
        for point in verdict.calibrated(bundle.card)
    ]
    return rows
