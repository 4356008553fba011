"""A server with a token and narrow limits: who is let in, how much, how slowly."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from mri3d.errors import UsageError
from mri3d.serving.access import is_loopback, read_token
from tests.browser import drop, needs_chromium, open_page, picture
from tests.command_line import mri3d
from tests.serving.server import WAIT, Server

TOKEN = "a-token-that-nobody-guesses"
KNOWN = {"Authorization": f"Bearer {TOKEN}"}


@pytest.fixture(scope="module")
def narrow(bundle: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    root = tmp_path_factory.mktemp("narrow")
    (root / "token").write_text(f"{TOKEN}\n")
    limits = ("--max-upload-mb", 1, "--upload-timeout", 2, "--queue", 1)
    started = Server(bundle, root / "state", "--token-file", root / "token", *limits)
    yield started
    started.stop()


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"Authorization": "Bearer another-token-of-some-length"},
        {"Authorization": f"Basic {TOKEN}"},
        {"Authorization": TOKEN},
        {"Authorization": "Bearer"},
        {"Authorization": f"Bearer {TOKEN}x"},
        {"Authorization": b"Bearer \xff\xfe"},
    ],
)
def test_who_does_not_know_the_token_gets_nothing(narrow: Server, scan: Path, headers: dict):
    before = narrow.files()
    with narrow.client(headers=headers) as client:
        for path in ("/v1/models", "/metrics", "/v1/jobs/x", "/v1/jobs/x/files/scan.png", "/v1/nothing"):
            answer = client.get(path)
            assert answer.status_code == 401 and answer.headers["www-authenticate"] == "Bearer"
        answer = client.post("/v1/detect", files={"file": scan.read_bytes()})
    assert answer.status_code == 401 and "Authorization: Bearer" in answer.json()["detail"]
    assert TOKEN not in answer.text
    assert narrow.files() == before


def test_no_byte_of_a_body_is_waited_for_without_the_token(narrow: Server):
    start = time.monotonic()
    answer = narrow.send_raw(b"POST /v1/detect HTTP/1.1\r\nHost: x\r\nContent-Length: 10000000000\r\n\r\n")
    assert answer.startswith(b"HTTP/1.1 401") and time.monotonic() - start < 10


def test_who_knows_the_token_may_use_any_name_of_the_server(narrow: Server, scan: Path):
    with narrow.client(headers={**KNOWN, "Host": "scans.hospital.example"}) as client:
        answer = client.post("/v1/detect", files={"file": scan.read_bytes()}, headers=WAIT)
        assert answer.status_code == 200
        assert client.get(answer.json()["result"]["maps"]["zscore"]).status_code == 200
        assert client.get("/metrics").status_code == 200


def test_what_is_of_no_subject_is_open(narrow: Server):
    with narrow.client() as client:
        for path in ("/", "/static/style.css", "/health", "/ready", "/openapi.json"):
            assert client.get(path).status_code == 200, path


@needs_chromium
def test_the_token_is_asked_for_and_kept_nowhere(narrow: Server, scan: Path):
    with open_page(narrow.url, expected="status of 401") as page:
        page.locator("#token").wait_for()
        picture(page, "light-5-token")
        page.locator("#token").fill("wrong")
        page.keyboard.press("Enter")
        page.locator("#status", has_text="Expected the server's token").wait_for()
        page.locator("#token").fill(TOKEN)
        page.keyboard.press("Enter")
        page.locator(".drop").wait_for()
        drop(page, bytes(2**21), "large.nii")
        assert "more than the 1 MiB" in page.locator("#limits").inner_text()
        drop(page, scan.read_bytes(), "scan.nii.gz")
        page.get_by_role("button", name="Find anomalies").click()
        page.locator("#verdict").wait_for()
        stored = "JSON.stringify([localStorage, sessionStorage, document.cookie, location.href])"
        assert TOKEN not in page.evaluate(stored)


def test_more_than_the_limit_is_refused_whether_or_not_it_was_declared(narrow: Server):
    before = narrow.files()
    with narrow.client(headers=KNOWN) as client:
        declared = client.post("/v1/detect", files={"file": bytes(5 * 2**20)})
        assert declared.status_code == 413 and "at most 1 MiB" in declared.json()["detail"]
        head = b'--b\r\nContent-Disposition: form-data; name="file"; filename="x"\r\n\r\n'
        chunks = [head, *[bytes(2**16)] * 80]
        chunked = client.post(
            "/v1/detect", content=iter(chunks), headers={"content-type": "multipart/form-data; boundary=b"}
        )
        assert chunked.status_code == 413
    assert narrow.files() == before


def test_a_slow_sender_is_given_up(narrow: Server):
    before = narrow.files()
    head = (
        f"POST /v1/detect HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {TOKEN}\r\nContent-Length: 5000\r\n"
        "Content-Type: multipart/form-data; boundary=b\r\n\r\n"
        '--b\r\nContent-Disposition: form-data; name="file"; filename="x"\r\n\r\nslow'
    )
    answer = narrow.send_raw(head.encode())
    assert answer.startswith(b"HTTP/1.1 408") and b"faster connection" in answer
    assert narrow.files() == before


def test_who_does_not_even_ask_is_not_waited_for(narrow: Server):
    start = time.monotonic()
    assert narrow.send_raw(b"GET /health HTTP/1.1\r\nHost", seconds=60) == b""
    assert 5 < time.monotonic() - start < 30


def test_a_full_queue_says_when_to_come_back_before_it_reads_anything(narrow: Server, scan: Path):
    head = (
        f"POST /v1/detect HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {TOKEN}\r\nContent-Length: 50000\r\n"
        "Content-Type: multipart/form-data; boundary=b\r\n\r\n"
    )
    with narrow.client(headers=KNOWN) as client:
        for _ in range(20):  # a job may be done, and a place free again, just before the second request
            answers = [client.post("/v1/detect", files={"file": scan.read_bytes()})]
            while answers[-1].status_code == 202 and len(answers) < 20:
                answers.append(client.post("/v1/detect", files={"file": scan.read_bytes()}))
            early = narrow.send_raw(head.encode())
            if early.startswith(b"HTTP/1.1 429"):
                break
        assert answers[-1].status_code == 429 and int(answers[-1].headers["retry-after"]) >= 1
        assert "Try again in" in answers[-1].json()["detail"]
        assert early.startswith(b"HTTP/1.1 429")
        end = time.monotonic() + 60
        while client.post("/v1/detect", files={"file": scan.read_bytes()}).status_code == 429:
            assert time.monotonic() < end
            time.sleep(0.5)


def test_any_other_address_needs_a_token(tmp_path: Path):
    for host in ("0.0.0.0", "::"):
        told = mri3d("serve", "--host", host, "--state", tmp_path / "state", exit_code=2).output
        assert "--token-file" in told and "127.0.0.1" in told
    assert not (tmp_path / "state").exists()


@pytest.mark.parametrize(("token", "found"), [("", "0 characters"), ("short", "5 characters"), ("a b " * 9, "35")])
def test_a_token_that_could_be_guessed_is_refused(tmp_path: Path, token: str, found: str):
    (tmp_path / "token").write_text(token)
    with pytest.raises(UsageError, match=found):
        read_token(tmp_path / "token")
    told = mri3d("serve", "--token-file", tmp_path / "missing", exit_code=2).output
    assert "token_urlsafe" in told


def test_loopback_is_told_by_the_address():
    assert is_loopback("127.0.0.1") and is_loopback("127.8.8.8") and is_loopback("::1") and is_loopback("localhost")
    assert not is_loopback("0.0.0.0") and not is_loopback("192.168.1.1") and not is_loopback("::")
    with pytest.raises(UsageError, match="an address of this machine"):
        is_loopback("no.such.host.invalid")
