"""/docs in a real browser: Swagger UI from our own files, under our own policy, tries the interface it describes."""

import pytest

pytestmark = pytest.mark.browser


def test_the_docs_load_from_this_host_alone_and_send_a_request(chromium, server):
    from playwright.sync_api import sync_playwright

    hosts, complaints = set(), []
    with sync_playwright() as playwright, playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"]) as browser:
        page = browser.new_page()
        page.set_default_timeout(60_000)
        page.on("request", lambda request: hosts.add(request.url.split("/")[2]))
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.on("console", lambda line: complaints.append(line.text) if line.type in ("error", "warning") else None)
        page.goto(f"{server.url}/docs")
        operation = page.locator(".opblock", has_text="/healthz/live")
        operation.click()
        operation.get_by_role("button", name="Try it out").click()
        operation.get_by_role("button", name="Execute").click()
        answer = operation.locator(".live-responses-table").inner_text()
    assert "200" in answer and '"status": "live"' in answer
    assert hosts == {server.url.removeprefix("http://")} and not complaints
