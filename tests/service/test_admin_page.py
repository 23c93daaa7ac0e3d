"""The operations page over HTTP: who gets in, which forms count, what the pages may load."""

import re
from dataclasses import dataclass, field
from urllib.parse import urlencode
from uuid import uuid4

import pytest
import urllib3

from tests.service.rollout import DIVIDENDS, EXECUTION, wait_for

pytestmark = pytest.mark.stack


@dataclass
class Page:
    """The page as a browser without a mind of its own sees it: cookies, forms, no redirects."""

    url: str
    cookie: str = ""
    headers: dict[str, str] = field(default_factory=dict)

    def get(self, path: str) -> urllib3.BaseHTTPResponse:
        return self._send("GET", path, None)

    def post(self, path: str, **form: str) -> urllib3.BaseHTTPResponse:
        return self._send("POST", path, urlencode(form))

    def _send(self, method: str, path: str, body: str | None) -> urllib3.BaseHTTPResponse:
        headers = dict(self.headers)
        if body is not None:
            headers.setdefault("Content-Type", "application/x-www-form-urlencoded")
        if self.cookie:
            headers["Cookie"] = self.cookie
        reply = urllib3.request(
            method, self.url + path, body=body, headers=headers, redirect=False, timeout=10
        )
        if "set-cookie" in reply.headers:
            self.cookie = reply.headers["set-cookie"].partition(";")[0]
        return reply

    def log_in(self, token: str) -> None:
        assert self.post("/admin/login", token=token).status == 303

    def fields(self, flag: str) -> dict[str, str]:
        """The hidden fields of a flag's form."""
        text = self.get("/admin").data.decode()
        form = text.partition(f'action="/admin/flags/{flag}"')[2].partition("</form>")[0]
        found = re.findall(r'type="hidden" name="(\w+)" value="([^"]*)"', form)
        assert {name for name, _ in found} == {"form_token", "version"}
        return dict(found)


@pytest.fixture
def page(stack) -> Page:  # noqa: ANN001
    found = Page(stack.client_url("api-1"))
    found.log_in(stack.admin_token)
    return found


def test_without_a_session_there_is_only_the_log_in(stack) -> None:
    page = Page(stack.client_url("api-1"))
    reply = page.get("/admin")
    assert (reply.status, reply.headers["location"]) == (303, "/admin/login")
    reply = page.post(f"/admin/flags/{DIVIDENDS}", enabled="yes", pct="1", version="1", reason="x")
    assert (reply.status, reply.headers["location"]) == (303, "/admin/login")
    assert b"Administrator" in page.get("/admin/login").data


def test_only_an_administrators_token_opens_a_session(stack, service, database) -> None:
    page = Page(stack.client_url("api-1"))
    before = database.execute("SELECT count(*) FROM admin_sessions").fetchone()
    for token, status in (("wrong", 401), ("", 401), (service.user().token, 403)):
        reply = page.post("/admin/login", token=token)
        assert reply.status == status
        assert b"This is no administrator&#39;s token." in reply.data
        assert "set-cookie" not in reply.headers
    assert database.execute("SELECT count(*) FROM admin_sessions").fetchone() == before


def test_the_cookie_is_kept_from_scripts_and_other_sites_and_only_its_hash_is_stored(
    stack, database
) -> None:
    page = Page(stack.client_url("api-1"))
    cookie = page.post("/admin/login", token=stack.admin_token).headers["set-cookie"]
    for word in ("HttpOnly", "SameSite=strict", "Path=/admin", "Max-Age=1800"):
        assert word in cookie
    secret = page.cookie.partition("=")[2]
    found = database.execute(
        "SELECT count(*) FROM admin_sessions WHERE session_hash = sha256(%s)", [secret.encode()]
    )
    assert found.fetchone() == (1,)


@pytest.mark.parametrize("path", ["/admin", "/admin/login", "/admin/style.css"])
def test_pages_may_load_and_do_nothing_but_what_they_need(page: Page, path: str) -> None:
    reply = page.get(path)
    assert reply.status == 200
    policy = reply.headers["content-security-policy"].split("; ")
    assert {"default-src 'none'", "style-src 'self'", "form-action 'self'"} <= set(policy)
    assert "frame-ancestors 'none'" in policy
    assert reply.headers["cache-control"] == "no-store"
    assert reply.headers["x-content-type-options"] == "nosniff"
    assert not re.search(rb"<script|style=|javascript:|\son\w+=|https?://", reply.data)


def test_a_change_is_made_once_and_in_the_name_of_who_is_logged_in(
    page: Page, flags, database
) -> None:
    fields = page.fields(DIVIDENDS)
    form = fields | {"pct": "30", "reason": "<b>careful</b>"}  # the box Enabled is not ticked
    reply = page.post(f"/admin/flags/{DIVIDENDS}", **form)
    assert (reply.status, reply.headers["location"]) == (303, f"/admin?saved={DIVIDENDS}")
    assert (flags.all()[DIVIDENDS]["enabled"], flags.all()[DIVIDENDS]["pct"]) == (False, 30)
    shown = page.get(reply.headers["location"]).data
    assert b"Dividends was changed." in shown
    assert b"&lt;b&gt;careful&lt;/b&gt;" in shown
    # The same form again, by a double click or from a second tab: what was typed is kept.
    again = page.post(f"/admin/flags/{DIVIDENDS}", **form | {"pct": "77"})
    assert again.status == 409
    assert b"Dividends was not changed." in again.data
    assert b'value="77"' in again.data
    assert flags.all()[DIVIDENDS]["pct"] == 30
    query = "SELECT u.role FROM flag_audits a JOIN users u ON u.id = actor_id WHERE reason = %s"
    assert database.execute(query, ["<b>careful</b>"]).fetchall() == [("admin",)]


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"pct": "101"}, b"whole number from 0 to 100"),
        ({"pct": "ten"}, b"whole number from 0 to 100"),
        ({"pct": ""}, b"whole number from 0 to 100"),
        ({"pct": "1_0_0"}, b"whole number from 0 to 100"),
        ({"reason": "  "}, b"Say why"),
        ({"reason": "x" * 201}, b"Say why"),
        ({"reason": "a\x00b"}, b"Say why"),
        ({"reason": "\u200b"}, b"Say why"),
        ({"reason": "a\u202eb"}, b"Say why"),
        ({"version": "soon"}, b"form is incomplete"),
    ],
)
def test_wrong_input_is_named_and_kept(page: Page, flags, changed, words: bytes) -> None:
    before = flags.all()[DIVIDENDS]
    form = page.fields(DIVIDENDS) | {"pct": "30", "reason": "kept input"} | changed
    reply = page.post(f"/admin/flags/{DIVIDENDS}", **form)
    assert reply.status == 422
    assert words in reply.data
    if "reason" not in changed:
        assert b'value="kept input"' in reply.data
    assert flags.all()[DIVIDENDS] == before


def forged(page: Page) -> dict[str, tuple[dict[str, str], dict[str, str]]]:
    """Forms that are not from this session, or not from this page: (fields, headers)."""
    good = page.fields(DIVIDENDS) | {"pct": "0", "reason": "forged"}
    without = {name: value for name, value in good.items() if name != "form_token"}
    return {
        "no token": (without, {}),
        "another token": (without | {"form_token": "0" * 64}, {}),
        "not even ASCII": (without | {"form_token": "ä"}, {}),
        "another origin": (good, {"Origin": "https://evil.example"}),
        "an opaque origin": (good, {"Origin": "null"}),
        "no origin at all": (good, {"Origin": "http://["}),
        "another site": (good, {"Sec-Fetch-Site": "cross-site"}),
        "a sibling": (good, {"Sec-Fetch-Site": "same-site"}),
    }


@pytest.mark.parametrize("way", ["flags", "canaries", "logout"])
def test_forged_forms_have_no_effect(page: Page, flags, stack, way: str) -> None:
    before = flags.all()[DIVIDENDS]
    path = "/admin/logout" if way == "logout" else f"/admin/{way}/{DIVIDENDS}"
    for name, (fields, headers) in forged(page).items():
        page.headers = headers
        reply = page.post(path, **fields, action="start")
        assert reply.status == 403, name
        assert b"<h1>" in reply.data
    page.headers = {}
    assert flags.all()[DIVIDENDS] == before
    assert page.get("/admin").status == 200
    # Another administrator's session does not help either.
    other = Page(page.url)
    other.log_in(stack.admin_token)
    fields = other.fields(DIVIDENDS) | {"pct": "0", "reason": "forged"}
    assert page.post(f"/admin/flags/{DIVIDENDS}", **fields).status == 403


def test_a_log_out_from_another_site_keeps_the_cookie(page: Page) -> None:
    """The browser sends it along with nothing from there, but would take its end from here."""
    other = Page(page.url, headers={"Sec-Fetch-Site": "cross-site"})
    reply = other.post("/admin/logout")
    assert reply.status == 403
    assert "set-cookie" not in reply.headers


@pytest.mark.parametrize("way", ["flags", "canaries"])
def test_a_form_without_a_reason_is_refused(page: Page, way: str) -> None:
    fields = page.fields(DIVIDENDS)
    reply = page.post(f"/admin/{way}/{DIVIDENDS}", **fields, pct="5", action="start")
    assert reply.status == 422
    assert b"Say why" in reply.data


def test_a_log_in_from_another_site_is_refused(stack) -> None:
    page = Page(stack.client_url("api-1"), headers={"Sec-Fetch-Site": "cross-site"})
    reply = page.post("/admin/login", token=stack.admin_token)
    assert reply.status == 403
    assert not page.cookie


@pytest.mark.parametrize("how", ["expired", "logged out", "its token revoked"])
def test_a_session_ends(page: Page, database, flags, how: str) -> None:
    fields = page.fields(DIVIDENDS) | {"pct": "0", "reason": "too late"}
    before, cookie = flags.all()[DIVIDENDS], page.cookie
    session_hash = "sha256(%s)", [cookie.partition("=")[2].encode()]
    if how == "logged out":
        assert page.post("/admin/logout", form_token=fields["form_token"]).status == 303
        assert page.cookie != cookie
        page.cookie = cookie
    elif how == "expired":
        database.execute(
            "UPDATE admin_sessions SET expires_at = now() WHERE session_hash = " + session_hash[0],
            session_hash[1],
        )
    else:
        # As if it had been opened with a token that was rotated since.
        old = uuid4().bytes * 2
        database.execute(
            "INSERT INTO api_tokens (token_hash, user_id, revoked_at) "
            "SELECT %s, user_id, now() FROM api_tokens t JOIN users u ON u.id = t.user_id "
            "WHERE role = 'admin' LIMIT 1",
            [old],
        )
        database.execute(
            "UPDATE admin_sessions SET token_hash = %s WHERE session_hash = " + session_hash[0],
            [old, *session_hash[1]],
        )
    for reply in (page.get("/admin"), page.post(f"/admin/flags/{DIVIDENDS}", **fields)):
        assert (reply.status, reply.headers["location"]) == (303, "/admin/login?ended=1")
    assert b"Your session has ended" in page.get("/admin/login?ended=1").data
    assert flags.all()[DIVIDENDS] == before
    if how == "expired":
        query = "SELECT count(*) FROM admin_sessions WHERE session_hash = " + session_hash[0]
        gone = lambda: database.execute(query, session_hash[1]).fetchone() == (0,)  # noqa: E731
        wait_for(gone, "the sweeper forgets it")


def test_canaries_are_started_and_stopped(page: Page, flags) -> None:
    flags.set(EXECUTION, enabled=False)
    token = page.fields(EXECUTION)["form_token"]
    form = {"form_token": token, "reason": "release 43"}
    assert page.post(f"/admin/canaries/{EXECUTION}", action="start", **form).status == 303
    assert b"Running at 1 %" in page.get("/admin").data
    again = page.post(f"/admin/canaries/{EXECUTION}", action="start", **form)
    assert again.status == 409
    assert b"runs already" in again.data
    assert page.post(f"/admin/canaries/{EXECUTION}", action="stop", **form).status == 303
    assert b"Stopped at 1 %" in page.get("/admin").data
    assert page.post(f"/admin/canaries/{EXECUTION}", action="jump", **form).status == 422
    assert page.post("/admin/canaries/unknown", action="start", **form).status == 404
    assert flags.all()[EXECUTION]["pct"] == 1


def test_log_ins_that_fail_are_limited(stack) -> None:
    """By the other process, so that no other test is locked out."""
    page = Page(stack.client_url("api-2"))
    statuses = [page.post("/admin/login", token=f"guess {n}").status for n in range(12)]
    assert statuses == [401] * 10 + [429] * 2
    reply = page.post("/admin/login", token="one more")
    assert (reply.status, page.cookie) == (429, "")
    assert 1 <= int(reply.headers["retry-after"]) <= 60
    # Nobody can lock an administrator out.
    page.log_in(stack.admin_token)
    assert page.get("/admin").status == 200


def test_a_form_of_another_kind_is_refused(page: Page) -> None:
    page.headers = {"Content-Type": "application/json"}
    assert page.post("/admin/login", token="x").status == 400
