"""Who is in the gallery, as a list on the matching page: names, thumbnails, and the buttons that rename and delete."""

from __future__ import annotations

from html import escape

import gradio as gr

from apps import page
from apps.gallery import Gallery, Kept, Person

AT_ONCE = 10  # people on a page
THUMBNAILS = 3
ACT = """
const offset = () => Number(element.querySelector('[data-offset]')?.dataset.offset ?? 0);
const row = (part) => part.closest('[data-person]');
const turn = (one, state) => {
  one.classList.remove('renaming', 'asking');
  if (state) one.classList.add(state);
  const next = {renaming: '.rename input', asking: '.ask [data-act=keep]'}[state] ?? '.acts button';
  one.querySelector(next)?.focus();
};
const acts = {
  rename: (one) => turn(one, 'renaming'),
  ask: (one) => turn(one, 'asking'),
  keep: (one) => turn(one),
  save: (one) => trigger('edit', {person: one.dataset.person, name: one.querySelector('input').value, offset: offset()}),
  delete: (one) => trigger('delete', {person: one.dataset.person, offset: offset()}),
};
element.addEventListener('click', (event) => {
  const button = event.target.closest('button[data-act]');
  if (!button) return;
  if (button.dataset.act === 'turn') trigger('select', {offset: Number(button.dataset.to)});
  else acts[button.dataset.act](row(button));
});
element.addEventListener('keydown', (event) => {
  if (!event.target.matches('.rename input')) { if (event.key === 'Escape' && row(event.target)) acts.keep(row(event.target)); return; }
  if (event.key === 'Enter') acts.save(row(event.target));
  if (event.key === 'Escape') acts.keep(row(event.target));
});"""


def listing() -> gr.HTML:
    """Its events carry their data: select an offset, edit a person and a name, delete a person."""
    return gr.HTML(elem_id="listing", js_on_load=ACT)


def people(gallery: Gallery, like: str, offset: int, changes: bool) -> str:
    """Ten people from `offset` on whose names hold `like`."""
    found = gallery.list(offset, AT_ONCE + 1, like)
    if offset and not found:  # the last of a page was deleted
        return people(gallery, like, max(0, offset - AT_ONCE), changes)
    rows = "".join(one_person(gallery, person, changes) for person in found[:AT_ONCE])
    nobody = '<p class="soft">Nobody here has such a name.</p>' if like else '<p class="soft">Nobody is in the gallery yet.</p>'
    there = f"{gallery.people:,} people, {gallery.pictures:,} pictures"
    turns = turn("Earlier", offset - AT_ONCE, offset > 0) + turn("Later", offset + AT_ONCE, len(found) > AT_ONCE)
    return (
        f'<div class="kd"><p class="soft small">{there}</p><ul class="album" data-offset="{offset}">{rows}</ul>{"" if rows else nobody}'
        f'<div class="turns">{turns}</div></div>'
    )


def one_person(gallery: Gallery, person: Person, changes: bool) -> str:
    kept = gallery.kept(person.id)
    name, cameras = escape(person.name), sorted({one.camera for one in kept if one.camera})
    by = f", camera{'s' * (len(cameras) > 1)} {escape(', '.join(cameras))}" if cameras else ""
    count = f"{person.pictures:,} picture{'s' * (person.pictures != 1)}"
    return f"""<li data-person="{escape(person.id)}"><div class="faces">{"".join(face(gallery, one) for one in kept[:THUMBNAILS])}</div>
<div class="who"><strong>{name}</strong><span class="soft">{count}{by}</span></div>{buttons(name) if changes else ""}</li>"""


def face(gallery: Gallery, kept: Kept) -> str:
    data = gallery.thumbnail(kept.id) if kept.has_thumbnail else None
    return f'<img src="{page.jpeg_address(data)}" alt="">' if data else ""


def buttons(name: str) -> str:
    """Rename opens a field, delete asks first; `name` is HTML."""
    return f"""<div class="acts"><button type="button" data-act="rename" aria-label="Rename {name}">Rename</button>
<button type="button" data-act="ask" aria-label="Delete {name}">Delete</button></div>
<div class="rename"><input type="text" value="{name}" maxlength="120" aria-label="New name of {name}">
<button type="button" data-act="save">Save</button><button type="button" data-act="keep">Cancel</button></div>
<div class="ask" role="group" aria-label="Delete {name}"><span>Delete for good?</span>
<button type="button" class="grave" data-act="delete">Delete</button><button type="button" data-act="keep">Keep</button></div>"""


def turn(words: str, offset: int, there: bool) -> str:
    return f'<button type="button" data-act="turn" data-to="{max(0, offset)}">{words}</button>' if there else ""


def problem(sentence: str) -> str:
    return (
        '<div class="kd"><section class="card broken" aria-label="Gallery"><h2>The gallery cannot be used</h2>'
        f'<p class="small">{escape(sentence)}</p></section></div>'
    )
