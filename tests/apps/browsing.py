"""What the tests of every page share: pages that are watched for other hosts and for errors, and what axe finds grave."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any
from urllib.parse import urlsplit

FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
PATIENCE = 60_000  # ms; the two cores may be busy training
GRAVE = ("serious", "critical")


@contextmanager
def watched(browser: Any) -> Iterator[Callable[..., Any]]:
    """opened(url, width, scheme) -> a page; in the end all of them must have asked this host only, without an error."""
    contexts, hosts, errors = [], set(), []

    def opened(url: str = "", width: int = 1280, scheme: str = "light", height: int = 900, **look: Any) -> Any:
        look = {"reduced_motion": "reduce", **look}
        contexts.append(browser.new_context(viewport={"width": width, "height": height}, color_scheme=scheme, **look))
        page = contexts[-1].new_page()
        page.set_default_timeout(PATIENCE)
        page.on("request", lambda one: hosts.add(urlsplit(one.url).hostname))
        page.on("pageerror", lambda error: errors.append(str(error)))
        page.on("console", lambda line: errors.append(line.text) if "Content Security Policy" in line.text else None)
        if url:
            page.goto(url)
        return page

    yield opened
    for context in contexts:
        context.close()
    assert hosts <= {"127.0.0.1", None, ""}, hosts  # None: data: and blob: addresses
    assert not errors


def findings(page: Any) -> list[str]:
    """The grave findings of axe as lines; the whole document is looked at."""
    from axe_playwright_python.sync_playwright import Axe

    page.mouse.move(1, 1)  # what the mouse lies on has colours of its own
    page.wait_for_timeout(300)  # by then all that moves has arrived
    response = Axe().run(page).response
    assert len(response["passes"]) > 15, "axe looked at nothing"
    return [
        f"{finding['id']}: {node['target']} {node['html'][:160]}"
        for finding in response["violations"]
        if finding["impact"] in GRAVE
        for node in finding["nodes"]
    ]
