"""python -m apps.gallery: list, import, export, search, rename, delete, re-embed, info. Needs no server; one may run on the same file."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path

from apps.gallery import Gallery, GalleryError, Person, Quota, open_gallery

EXAMPLES = """
examples:
  python -m apps.gallery import photos/ --gallery people.gallery --keep-pictures
  python -m apps.gallery search someone.jpg --gallery people.gallery --top 5
  python -m apps.gallery delete "Ada Example" --gallery people.gallery
  python -m apps.gallery export people.parquet --gallery people.gallery

A gallery is a file of SQLite, or with milvus:FOLDER a folder of Milvus Lite, or with milvus:http://HOST:PORT a cluster.
Only with the consent of those who are on the pictures; delete removes their vectors and pictures from the files.
"""
BUNDLE = Path("saved_models/pedestrians-reid")
OWNER = Quota(people=1_000_000, pictures=10_000_000, pictures_per_person=1000)  # whoever types here owns the disk
ALL = 1_000_000


def main(arguments: Sequence[str] | None = None) -> int:
    options = build_parser().parse_args(arguments)
    try:
        return options.run(options)
    except ValueError as problem:  # GalleryError, BundleError and PictureError: sentences
        if type(problem).__module__.split(".")[0] != "apps":
            raise
        print(f"gallery: {problem}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("\ngallery: stopped. What was done is kept; the same command goes on from there.", file=sys.stderr)
        return 130
    except BrokenPipeError:  # `| head`
        sys.stderr.close()
        return 0


def build_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m apps.gallery",
        description="Keep people as vectors of their pictures, and find who looks like another picture.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    verbs = parser.add_subparsers(title="commands", required=True, metavar="COMMAND")

    verb = add_verb(verbs, "list", list_people, "the people, in the order of their enrolment")
    verb.add_argument("--like", default="", metavar="TEXT", help="only those whose name holds this")
    verb.add_argument("--limit", type=whole, default=ALL, metavar="N", help="at most so many")

    verb = add_verb(verbs, "import", import_from, "enrol everyone in a folder, a .zip of one or a .csv file", network=True)
    verb.add_argument(
        "source", type=Path, help="names like 0705_c3s1_000065_00.jpg, or a folder a person; or a .csv: path,person,camera,time"
    )
    verb.add_argument("--keep-pictures", action="store_true", help="keep the pictures too, without them re-embed is not possible")

    verb = add_verb(verbs, "export", export_to, "every picture's person, camera, time and vector as a Parquet file")
    verb.add_argument("file", type=Path, help="the file to write, such as people.parquet")

    verb = add_verb(verbs, "search", search_for, "who looks most like the person on a picture", network=True)
    verb.add_argument("picture", type=Path, help="a picture of one person, cut out")
    verb.add_argument("--top", type=whole, default=5, metavar="N", help="so many people (default: %(default)s)")
    verb.add_argument(
        "--by", choices=("best", "mean"), default="best", help="a person's best picture, or the mean of all (default: %(default)s)"
    )
    verb.add_argument("--camera", action="append", metavar="NAME", help="only pictures of this camera; may be repeated")
    verb.add_argument("--without-camera", metavar="NAME", help="no pictures of this camera")
    verb.add_argument("--since", type=moment, metavar="TIME", help="only pictures from then on, such as 2026-05-01T12:00:00+00:00")
    verb.add_argument("--until", type=moment, metavar="TIME", help="only pictures from before")
    verb.add_argument("--threshold", type=float, metavar="S", help="similarity of a match (default: what the network's card says)")

    verb = add_verb(verbs, "rename", rename, "give a person another name")
    verb.add_argument("person", help="id, or a name that only one has")
    verb.add_argument("name", help="the new name")

    verb = add_verb(verbs, "delete", delete, "remove people for good, their vectors and pictures from the files")
    verb.add_argument("person", nargs="+", help="id, or a name that only one has")

    add_verb(verbs, "re-embed", re_embed, "make every vector anew with another network, from the kept pictures", network=True)
    add_verb(verbs, "info", info, "whose vectors they are, and how many")
    return parser


def add_verb(verbs, name: str, run, about: str, network: bool = False) -> argparse.ArgumentParser:
    verb = verbs.add_parser(name, help=about, description=about[0].upper() + about[1:] + ".")
    verb.add_argument("--gallery", required=True, metavar="PATH", help="the gallery: a file, milvus:FOLDER or milvus:http://HOST:PORT")
    if network:
        verb.add_argument("--bundle", type=Path, default=BUNDLE, metavar="FOLDER", help="the network's bundle (default: %(default)s)")
        verb.add_argument(
            "--variant",
            choices=("float32", "int8", "fp16"),
            default="float32",
            help="which of its files makes vectors, as the server's --variant says it; each makes its own (default: %(default)s)",
        )
    verb.set_defaults(run=run)
    return verb


def whole(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"must be at least 1. Received: {number}")
    return number


def moment(text: str) -> datetime:
    time = datetime.fromisoformat(text)
    if time.tzinfo is None:
        raise argparse.ArgumentTypeError(f"must say its zone, such as {text}+00:00")
    return time


# --- commands ---


def list_people(options: argparse.Namespace) -> int:
    with open_gallery(options.gallery, None, OWNER) as gallery:
        for person in gallery.list(0, options.limit, options.like):
            print(f"{person.id}  {person.added:%Y-%m-%d %H:%M}  {person.pictures:5}  {person.name}")
    return 0


def import_from(options: argparse.Namespace) -> int:
    from apps.gallery.importing import import_people, mark_of
    from apps.gallery.sources import find_sources
    from apps.runtime import load_bundle

    found = find_sources(options.source)
    bundle = load_bundle(options.bundle, variant=options.variant)
    with open_gallery(options.gallery, mark_of(bundle), OWNER) as gallery:
        report = import_people(gallery, found, bundle, options.keep_pictures, show_progress)
        end_progress()
        junk = f", {found.junk} junk left out" if found.junk else ""
        print(f"{report.pictures} pictures enrolled, {report.people} new people; {report.skipped} were in already{junk}.")
        print(f"The gallery has {gallery.people} people in {gallery.pictures} pictures.")
    for name, sentence in report.bad:
        print(f"bad: {ascii(name)[1:-1]}: {sentence}")
    return 1 if report.bad else 0


def export_to(options: argparse.Namespace) -> int:
    with open_gallery(options.gallery, None, OWNER) as gallery:
        print(f"{gallery.export(options.file)} pictures in {options.file}")
    return 0


def search_for(options: argparse.Namespace) -> int:
    from apps import verdict
    from apps.gallery.importing import mark_of
    from apps.runtime import embed, load_bundle, open_picture

    bundle = load_bundle(options.bundle, variant=options.variant)
    vector = embed(bundle, [open_picture(options.picture, bundle.color)]).vectors[0]
    told = verdict.default(bundle.card)
    threshold = options.threshold if options.threshold is not None else told.similarity if told else None
    with open_gallery(options.gallery, mark_of(bundle), OWNER) as gallery:
        hits = gallery.search(vector, options.top, options.camera, options.since, options.until, options.by, options.without_camera)
    for hit in hits:
        match = "" if threshold is None else "match     " if hit.similarity >= threshold else "no match  "
        print(f"{hit.similarity:6.3f}  {match}{hit.person.id}  {hit.picture.camera or '-':4}  {hit.person.name}")
    if not hits:
        print("Nobody in the gallery has a picture that counts.")
    return 0


def rename(options: argparse.Namespace) -> int:
    with open_gallery(options.gallery, None, OWNER) as gallery:
        person = gallery.rename(find_person(gallery, options.person).id, options.name)
        print(f"{person.id}  {person.name}")
    return 0


def delete(options: argparse.Namespace) -> int:
    with open_gallery(options.gallery, None, OWNER) as gallery:
        people = [find_person(gallery, text) for text in options.person]  # all are known before the first goes
        for person in {person.id: person for person in people}.values():
            gallery.delete(person.id)
            print(f"deleted  {person.id}  {person.name}")
    return 0


def re_embed(options: argparse.Namespace) -> int:
    from apps.gallery.importing import embedder, mark_of
    from apps.runtime import load_bundle

    bundle = load_bundle(options.bundle, variant=options.variant)
    with open_gallery(options.gallery, None, OWNER) as gallery:
        total, done, embed = gallery.pictures, 0, embedder(bundle)

        def told(pictures):
            nonlocal done
            done += len(pictures)
            show_progress(done, total)
            return embed(pictures)

        count = gallery.re_embed(told, mark_of(bundle))
        end_progress()
        print(f"{count} pictures have vectors of {bundle.name} now.")
    return 0


def info(options: argparse.Namespace) -> int:
    with open_gallery(options.gallery, None, OWNER) as gallery:
        model = gallery.model
        print(f"gallery   {gallery.address}")
        print(f"people    {gallery.people}")
        print(f"pictures  {gallery.pictures}")
        print(f"network   {model.name}, {model.dimensions} numbers a picture, model.onnx {model.sha256}")
    return 0


def find_person(gallery: Gallery, text: str) -> Person:
    try:
        return gallery.get(text)
    except GalleryError as problem:
        if problem.reason != "unknown":
            raise
    named = [person for person in gallery.list(0, ALL, text) if person.name == text]
    if len(named) > 1:
        raise GalleryError(f"A name must be one person's; give the id. Received: {text}, which {len(named)} have")
    if not named:
        raise GalleryError(f"The person must be in the gallery. Received: {text}", "unknown")
    return named[0]


def show_progress(done: int, total: int) -> None:
    """On a terminal one line that changes, else a line each thousand pictures or so."""
    if sys.stderr.isatty():
        print(f"\r{done:,} of {total:,}", end="", file=sys.stderr, flush=True)
    elif done >= total or done % 1000 < 32:
        print(f"{done:,} of {total:,}", file=sys.stderr, flush=True)


def end_progress() -> None:
    if sys.stderr.isatty():
        print(file=sys.stderr)


if __name__ == "__main__":
    sys.exit(main())
