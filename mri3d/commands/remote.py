"""Score the subjects of an input on a server, and write what ``mri3d detect`` would have written here."""

from __future__ import annotations

import json
import logging
import re
import time
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx
from tqdm import tqdm

from mri3d.commands.detect import Summary, in_words, taken
from mri3d.errors import Mri3dError, UsageError
from mri3d.reporting.names import SIDECAR, SIMPLE_VIEW, clear, path_of
from mri3d.reporting.output import OutputFolder
from mri3d.reporting.ownership import writable
from mri3d.reporting.subject_files import origin_of
from mri3d.reporting.table import failed_row, row_of_sidecar
from mri3d.scoring.modality_sets import modality_sets
from mri3d.serving.access import is_loopback, read_token
from mri3d.serving.model import NAME
from mri3d.volumes.atomic import atomic_write, write_json
from mri3d.volumes.subject import Subject
from mri3d.workflow import find_subjects

logger = logging.getLogger(__name__)

AHEAD = 4
"""How many subjects are with the server at a time, so that it has the next one when it is done with one."""

POLL_SECONDS = 0.5
MODEL_TELLS = ("name", "version", "sha256", "device", "modalities", "optional", "settings")
"""What is asked of a server's model."""

TRIES = 6
"""How often a request is made that gets no answer, waiting twice as long each time: a server may start anew."""

AWAY = (502, 503, 504)
"""What a server or the proxy before it answers while it starts anew or is overrun."""

TIMEOUT = httpx.Timeout(60.0, read=180.0)
_ENDING = r"(\w*\.nii\.gz|\w*\.png|\.json|_slices\.csv|_regions\.csv|_view\.js|_slices/slice_\d+\.png)"
KNOWN_FILE = re.compile(NAME + _ENDING, re.ASCII)
"""What a server may have written here: what a detection consists of, and nothing beside it."""

VIEW_START, VIEW_END = "var mri3dView = ", ";\n"


class RemoteError(Mri3dError):
    """What a server says of a subject.

    Args:
        where: the subject's file.
        detail: the server's words.
    """

    def __init__(self, where: Path, detail: str) -> None:
        super().__init__(where, "", "", "")
        self._detail = detail

    @property
    def cause(self) -> str:
        """The server's words."""
        return self._detail


@dataclass(frozen=True)
class Server:
    """Where a server is.

    Args:
        url: its address, such as ``http://127.0.0.1:8080``.
        token: what it asks for; None where it asks for nothing.
    """

    url: str
    token: str | None

    @classmethod
    def of(cls, url: str, token_file: Path | None) -> Server:
        """A server by its address.

        Raises:
            UsageError: that is no address, or there is no token in the file.
        """
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise UsageError(f"--server {url}", "an address such as http://127.0.0.1:8080", url, "Mend it")
        if parts.scheme == "http" and not _is_here(parts.hostname):
            logger.warning("scans travel to %s unencrypted; use https where others share the network", parts.hostname)
        return cls(url.rstrip("/"), None if token_file is None else read_token(token_file))

    def client(self) -> httpx.Client:
        """A connection to it."""
        headers = {} if self.token is None else {"Authorization": f"Bearer {self.token}"}
        # what stays on this machine goes through no proxy
        through_proxy = not _is_here(urlsplit(self.url).hostname or "")
        return httpx.Client(base_url=self.url, headers=headers, timeout=TIMEOUT, trust_env=through_proxy)


def detect(
    source: Path, server: Server, output: Path, existing: str, modalities: Sequence[str] | None = None
) -> Summary:
    """Have every subject of an input scored by a server and write the results here.

    Args:
        source: a volume, folder or datalist.
        server: who scores.
        output: where the results go.
        existing: what to do with results that stand there; see :class:`mri3d.reporting.output.OutputFolder`.
        modalities: what is sent of each subject; all that the server's model knows when left out.

    Returns:
        What became of them.

    Raises:
        UsageError: the server cannot be reached or refuses the token, or what :func:`mri3d.commands.detect.detect`
            raises.
    """
    with server.client() as client:
        remote = Remote(client, server.url)
        model = remote.model()
        own = list(model["modalities"])
        given = own if modalities is None else taken(modalities, modality_sets(own, bool(model["optional"])))
        subjects = [_without_mask(subject) for subject in find_subjects(source, given)]
        bundle = {key: str(model[key]) for key in ("name", "version", "sha256")}
        device = f"{model['device']} of {server.url}"
        folder = OutputFolder(output, source, subjects, bundle, device, existing, model["settings"])
        for subject, outcome in remote.scored(folder.pending):
            made = outcome if isinstance(outcome, RemoteError) else remote.fetch(subject, outcome, folder)
            if isinstance(made, RemoteError):
                folder.keep(subject, failed_row(subject, made, folder.source))
            else:
                folder.keep(subject, row_of_sidecar(made, subject, folder.source))
        folder.finish()
    failures = tuple(f"{row['input']}: {row['error']}" for row in folder.ordered if row["status"] == "failed")
    return Summary(in_words(folder.ordered), failures)


class Remote:
    """What is asked of a server.

    Args:
        client: the connection.
        url: the server's address, for what is said of it.
    """

    def __init__(self, client: httpx.Client, url: str) -> None:
        self._client, self._url = client, url

    def model(self) -> dict[str, Any]:
        """The model that it serves.

        Raises:
            UsageError: it does not answer, or not as a server of mri3d does.
        """
        try:
            (model,) = self._ask("GET", "/v1/models").json()["models"]
            return {name: model[name] for name in MODEL_TELLS}
        except (httpx.HTTPStatusError, ValueError, KeyError, TypeError) as error:
            expected, remedy = "a server of mri3d", "Check the address"
            raise UsageError(f"--server {self._url}", expected, f"{error!r}", remedy) from None

    def scored(self, subjects: Sequence[Subject]) -> Iterator[tuple[Subject, dict[str, Any] | RemoteError]]:
        """Every subject with the job that is done, or why there is none; in order, with a progress bar."""
        waiting: deque[tuple[Subject, dict[str, Any] | RemoteError]] = deque()
        to_send = iter(subjects)
        with tqdm(total=len(subjects), desc="detect", unit="subject") as bar:
            while True:
                while len(waiting) < AHEAD and (subject := next(to_send, None)) is not None:
                    waiting.append((subject, self._send(subject)))
                if not waiting:
                    return
                subject, job = waiting.popleft()
                yield subject, job if isinstance(job, RemoteError) else self._wait(subject, job)
                bar.update()

    def fetch(
        self, subject: Subject, job: Mapping[str, Any], folder: OutputFolder
    ) -> dict[str, Any] | RemoteError:
        """Write the files of a job that is done, the sidecar last.

        Returns:
            What the sidecar says, or why a file could not be had, as when results have expired.

        Raises:
            UsageError: the server sends what is no part of a detection.
        """
        try:
            return self._fetch(subject, job, folder)
        except httpx.HTTPStatusError as error:
            return RemoteError(subject.reference, _detail(error.response))
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise self._odd(repr(error)) from None

    def _fetch(self, subject: Subject, job: Mapping[str, Any], folder: OutputFolder) -> dict[str, Any]:
        sidecar = f"{NAME}{SIDECAR}"
        # nilearn's viewer is a page of scripts, which nobody should run for a server
        names = {name for name in job["result"]["files"] if not name.endswith(SIMPLE_VIEW)}
        unknown = sorted(name for name in names if not KNOWN_FILE.fullmatch(name))
        if unknown or sidecar not in names:
            raise self._odd(f"a file {unknown[0]!r}" if unknown else "no sidecar")
        # not its links, which might lead elsewhere
        place = f"/v1/jobs/{job['id']}/files"
        with writable(folder.root, "Mend permissions and free space, then use --resume"):
            clear(folder.root, subject.key)
            for name in sorted(names - {sidecar}):
                self._download(f"{place}/{name}", path_of(folder.root, subject.key, name.removeprefix(NAME)))
            made: dict[str, Any] = self._ask("GET", f"{place}/{sidecar}").json()
            # it was scored under another name, and the server knows no paths of this machine
            made |= {"subject": subject.name, "participant": subject.participant}
            made |= origin_of(subject, folder.settings)
            write_json(path_of(folder.root, subject.key, SIDECAR), made)
        return made

    def _send(self, subject: Subject) -> dict[str, Any] | RemoteError:
        while True:
            try:
                with ExitStack() as files:
                    form = {name: files.enter_context(path.open("rb")) for name, path in subject.images.items()}
                    job: dict[str, Any] = self._ask("POST", "/v1/detect", files=form).json()
                    return job
            except OSError as error:
                return RemoteError(subject.reference, f"expected a file that can be read, found {error.strerror}.")
            except httpx.HTTPStatusError as error:
                if error.response.status_code != httpx.codes.TOO_MANY_REQUESTS:
                    return RemoteError(subject.reference, _detail(error.response))
                time.sleep(_seconds(error.response))

    def _wait(self, subject: Subject, job: dict[str, Any]) -> dict[str, Any] | RemoteError:
        try:
            while job["status"] in ("queued", "running"):
                time.sleep(POLL_SECONDS)
                job = self._ask("GET", f"/v1/jobs/{job['id']}").json()
        except httpx.HTTPStatusError as error:
            return RemoteError(subject.reference, _detail(error.response))
        return job if job["status"] == "done" else RemoteError(subject.reference, str(job["error"]["detail"]))

    def _download(self, link: str, path: Path) -> None:
        with atomic_write(path) as part:
            content = self._ask("GET", link).content
            if path.suffix == ".js" and not _is_view(content):  # which a page will run
                raise self._odd("a script")
            part.write_bytes(content)

    def _ask(self, method: str, path: str, **options: Any) -> httpx.Response:
        """An answer that is no refusal; where none comes, some more tries.

        Raises:
            httpx.HTTPStatusError: a refusal.
            UsageError: no answer, or the token is refused.
        """
        for attempt in range(TRIES):
            try:
                answer = self._client.request(method, path, **options)
            except httpx.TransportError:
                answer = None
            if answer is not None and (answer.status_code not in AWAY or attempt == TRIES - 1):
                if answer.status_code == httpx.codes.UNAUTHORIZED:
                    remedy = "Give the server's token with --token-file"
                    raise UsageError(f"--server {self._url}", "to be let in", "a refusal", remedy)
                return answer.raise_for_status()
            time.sleep(0 if attempt == TRIES - 1 else 0.5 * 2**attempt)
            for file in options.get("files", {}).values():
                file.seek(0)
        remedy = "See whether it runs, then go on with --resume"
        raise UsageError(f"--server {self._url}", "an answer", "none", remedy)

    def _odd(self, found: str) -> UsageError:
        remedy = "Use a server of this version of mri3d that you trust"
        return UsageError(f"--server {self._url}", "the files of a detection", found, remedy)


def _is_here(host: str) -> bool:
    """Whether a server is on this machine; a name that only a proxy knows is not."""
    try:
        return is_loopback(host)
    except UsageError:
        return False


def _without_mask(subject: Subject) -> Subject:
    if subject.mask is not None:
        logger.warning("%s is not sent: the server finds the brain itself", subject.mask)
    return replace(subject, mask=None)


def _is_view(content: bytes) -> bool:
    """Whether a script is what a viewer shows: one value, as JSON, and nothing that does anything."""
    try:
        text = content.decode("utf-8")
        json.loads(text.removeprefix(VIEW_START).removesuffix(VIEW_END))
    except ValueError:
        return False
    return text.startswith(VIEW_START) and text.endswith(VIEW_END)


def _detail(answer: httpx.Response) -> str:
    try:
        return str(answer.json()["detail"])
    except (ValueError, KeyError, TypeError):
        return f"expected a result, found the answer {answer.status_code}. Ask who runs the server."


def _seconds(answer: httpx.Response) -> float:
    """How long a server that is full wants to be left alone."""
    told = answer.headers.get("Retry-After", "")
    return float(min(int(told), 60)) if told.isdecimal() else 5.0
