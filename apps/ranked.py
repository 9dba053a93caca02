"""The answer of the matching page as HTML: the verdict, where the network looked, who looks most alike, and the slider of the threshold.

The threshold is moved in the browser, by the script in theme.py: every share it shows was measured and stands in the card.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from html import escape
from typing import Any

import numpy as np

from apps import page, verdict
from apps.captioning import cloth
from apps.gallery import Gallery, Hit
from apps.matches import Matched
from apps.verdict import Point

WAITING = """<div class="kd"><section class="card" aria-label="Answer"><h2>Answer</h2>
<p class="soft">Show it a person: who looks most alike appears here.</p></section></div>"""
LOOK = '<label class="small toggle"><input type="checkbox" class="looked"> Show where it looked</label>'
EXAMPLE = re.compile(r"(?P<stranger>stranger-)?id(?P<person>\d+)-cam(?P<camera>\d+)-\d+\.png")


@dataclass(frozen=True)
class Truth:
    """Who an example shows, by which camera, and whether the drawn gallery knows the person."""

    person: str
    camera: str
    known: bool


def truth_of(file_name: str) -> Truth | None:
    found = EXAMPLE.fullmatch(file_name)
    return Truth(f"{int(found['person']):04d}", found["camera"], not found["stranger"]) if found else None


def answer_card(matched: Matched, gallery: Gallery, card: dict[str, Any], truth: Truth | None = None) -> str:
    """The whole answer at the card's threshold."""
    if not matched.hits:
        return nobody(empty=not gallery.people)
    point = verdict.default(card)
    strip = "".join(one_hit(hit, gallery, point, truth) for hit in matched.hits)
    found = " found" * (point is not None and matched.hits[0].similarity >= point.similarity)
    undecided = " undecided" * (point is None)
    return f"""<div class="kd"><section class="card matched{found}{undecided}" aria-label="Answer" data-pictures="{gallery.pictures}">
<h2>Answer</h2><div class="both">{both(matched)}<div class="verdict" aria-live="off">{headline(matched.hits[0])}{told(truth)}</div></div>
{"" if matched.look is None else LOOK}
<h3>Most alike of {gallery.people:,} people, {gallery.pictures:,} pictures</h3>
<ol class="ranks" aria-live="off">{strip}</ol>{expected(gallery.pictures, point)}</section></div>"""


def nobody(empty: bool) -> str:
    why = "There is nobody in the gallery yet: enrol somebody." if empty else "No picture in the gallery is of these cameras and times."
    return f'<div class="kd"><section class="card" aria-label="Answer"><h2>Answer</h2><p>{why}</p></section></div>'


def headline(best: Hit) -> str:
    """Both words stand there; the threshold decides which is seen."""
    name = escape(best.person.name)
    return f"""<p><strong class="label if-match">{name}</strong><strong class="label if-not">No match</strong>
<strong class="label if-open">{name}</strong></p><data class="figure" value="{best.similarity!r}">{best.similarity:.2f}</data>
<p class="yes if-match">&#10003; match</p>
<p class="soft small">similarity of the most alike<span class="if-not">, {name}: not enough</span></p>"""


def both(matched: Matched) -> str:
    """The picture beside the one that is most alike."""
    height, width = matched.seen.shape[:2]
    pictures = looked(matched.seen, matched.look, f"The picture as the network saw it, {width} x {height} pixels", "what it saw")
    if matched.best_seen is not None:
        best = escape(matched.hits[0].person.name)
        pictures += looked(matched.best_seen, matched.best_look, f"The most alike picture in the gallery, {best}", f"most alike: {best}")
    return pictures


def looked(seen: np.ndarray, look: np.ndarray | None, described: str, caption: str) -> str:
    height, width = seen.shape[:2]
    over = "" if look is None else f'<img class="cloth" src="{page.picture_address(cloth(look))}" alt="">'
    bare = f'<img src="{page.picture_address(seen)}" alt="{described}">'
    return (
        f'<figure><div class="looks" style="aspect-ratio: {width} / {height}">{bare}{over}</div>'
        f'<figcaption class="soft small">{caption}</figcaption></figure>'
    )


def one_hit(hit: Hit, gallery: Gallery, point: Point | None, truth: Truth | None) -> str:
    """One person of the strip: border, sign and word say whether it is a match."""
    name, where = escape(hit.person.name), f"camera {escape(hit.picture.camera)}" if hit.picture.camera else "no camera told"
    right = truth is not None and truth.known and truth.person == hit.person.name
    this = '<span class="tag">truth</span>' if right else ""
    match = ' class="match"' if point is not None and hit.similarity >= point.similarity else ""
    return f"""<li{match} data-similarity="{hit.similarity!r}">{thumbnail(gallery, hit)}
<strong>{name}</strong><span class="soft">{where}</span><data value="{hit.similarity!r}">{hit.similarity:.2f}</data>
<span class="if-match">&#10003; match</span><span class="if-not soft">no match</span>{this}</li>"""


def thumbnail(gallery: Gallery, hit: Hit) -> str:
    data = gallery.thumbnail(hit.picture.id) if hit.picture.has_thumbnail else None
    return f'<img src="{page.jpeg_address(data)}" alt="">' if data else '<span class="blank" aria-hidden="true"></span>'


def told(truth: Truth | None) -> str:
    """Who it is, of an example."""
    if truth is None:
        return ""
    known = "who is in the gallery by other cameras" if truth.known else "a stranger: the right answer is no match"
    return f'<p class="small">In truth this test picture shows {truth.person} by camera {truth.camera}, {known}.</p>'


def expected(pictures: int, point: Point | None) -> str:
    """A rate of pairs is small, and a search makes many: how many wrong ones it meets on average."""
    if point is None:
        return ""
    count = f'<span class="expected">{point.far * pictures:.1f}</span>'
    return (
        f'<p class="soft small">At this threshold about {count} pictures of other people pass in a search among {pictures:,}, if they '
        "differ as those of the test do.</p>"
    )


def threshold_card(card: dict[str, Any]) -> str:
    """The slider over the measured thresholds, with what each lets through, and buttons for the calibrated ones."""
    points, start = verdict.points(card), verdict.default(card)
    if start is None:
        return (
            '<div class="kd"><section class="card" aria-label="Threshold"><h2>Threshold</h2>'
            '<p class="soft">None was calibrated for this network: it ranks, and leaves the decision to you.</p></section></div>'
        )
    place = points.index(start)
    rows = escape(json.dumps([[round(value, 9) for value in (one.similarity, one.far, one.tpr)] for one in points]))
    marks = "".join(mark(place, point) for place, point in enumerate(points) if point.aim is not None)
    return f"""<div class="kd"><section class="card threshold" aria-label="Threshold" data-points="{rows}">
<label for="least"><strong>Threshold</strong> <span class="soft small">left lets more pass, right is stricter</span></label>
<input type="range" id="least" min="0" max="{len(points) - 1}" step="1" value="{place}" aria-describedby="rates">
<div class="marks">{marks}</div>
<p class="small" id="rates">From a similarity of <b class="least">{start.similarity:.3f}</b> on, two pictures count as one person's.
<b class="tpr">{share(start.tpr)}</b> of one person's pairs pass (TPR), <b class="far">{share(start.far)}</b> of two people's (FAR),
measured on {pairs(card)} of people it had never seen.</p></section></div>"""


def mark(place: int, point: Point) -> str:
    return f'<button type="button" data-point="{place}">FAR {100 * (point.aim or 0):g}&nbsp;%: {point.similarity:.2f}</button>'


def share(value: float) -> str:
    """As the script writes it: three digits."""
    return f"{float(f'{100 * value:.3g}'):g}\u00a0%"


def pairs(card: dict[str, Any]) -> str:
    found = card["reid"]["verification"].get("pairs", {}).get("test")
    return f"{found['one_person']:,} and {found['two_people']:,} pairs" if found else "pairs"
