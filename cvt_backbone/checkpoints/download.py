"""Checkpoints behind an address: downloaded once into torch's cache, whole or not at all."""

from __future__ import annotations

import hashlib
from glob import escape
from http.client import HTTPException, HTTPResponse
from pathlib import Path
from typing import BinaryIO
from urllib.error import HTTPError, URLError
from urllib.parse import urlparse
from urllib.request import Request, urlopen

import torch
from filelock import FileLock  # which torch brings
from tqdm import tqdm

from ..errors import CheckpointError
from ..files import check_writable, replacing
from .readers import read_file

TIMEOUT = 30.0  # seconds without an answer or a byte
CHUNK = 1 << 20  # bytes


class _BrokenError(ConnectionError):
    """An answer ended early."""


def fetch(url: str) -> Path:
    """Download a checkpoint into torch's cache, once.

    Of several processes on one cache, one downloads and the others wait for its file. What is no checkpoint, such as
    the page of a login, does not get into the cache.

    Args:
        url: An http or https address.

    Returns:
        The cached file.

    Raises:
        CheckpointError: Another kind of address, the download failed, or it gave no checkpoint; nothing is left of it.
        InputError: The cache cannot be written.
    """
    target = cache_path(url)
    if target.is_file():
        return target
    check_writable('TORCH_HOME', target.parent)
    advice = f'Fetch the file by hand and save it as {target}'
    try:
        with FileLock(target.with_name(f'.{target.name}.lock')):
            if not target.is_file():
                for left in target.parent.glob(f'.{escape(target.name)}.*.part'):  # by a process that was killed
                    left.unlink()
                with replacing(target) as part:
                    with part.open('wb', buffering=0) as file:
                        _download(url, file)
                    _check(url, part, advice)
    except (OSError, HTTPException) as error:
        raise CheckpointError(f'{url} cannot be downloaded: {_reason(error)}. {advice}') from error
    return target


def cache_path(url: str) -> Path:
    """Where torch's cache keeps the file of an address, which need not be there yet.

    Raises:
        CheckpointError: The address is not an http or https one.
    """
    try:
        address = urlparse(url)
    except ValueError as error:
        raise CheckpointError(f'{url}: not an address ({error})') from error
    if address.scheme not in ('http', 'https'):
        raise CheckpointError(
            f'{url}: only http and https addresses are downloaded; fetch it yourself and give the path'
        )
    digest = hashlib.sha256(url.encode()).hexdigest()[:8]
    return Path(torch.hub.get_dir()) / 'checkpoints' / f'{digest}-{Path(address.path).name}'


def _check(url: str, part: Path, advice: str) -> None:
    try:
        read_file(part)
    except CheckpointError as error:
        found = str(error).replace(str(part), 'what came')
        raise CheckpointError(f'{url} does not give a checkpoint: {found}. {advice}') from error


def _download(url: str, file: BinaryIO) -> None:
    """Receive a file, and ask for the rest for as long as each answer brings some before the connection breaks."""
    etag, reached = None, 0
    with tqdm(desc=f'downloading {Path(urlparse(url).path).name}', unit='B', unit_scale=True) as bar:
        while True:
            with _ask(url, file.tell(), etag) as answer:
                try:
                    _receive(answer, file, bar)
                    return
                except _BrokenError:
                    if file.tell() <= reached:
                        raise
                etag, reached = answer.headers.get('ETag'), file.tell()


def _ask(url: str, start: int, etag: str | None) -> HTTPResponse:
    """Ask for a file from a byte on; the whole of it comes if its tag has changed or the server cannot do that."""
    headers = {'User-Agent': 'cvt_backbone'}
    if start and etag and not etag.startswith('W/'):
        headers |= {'Range': f'bytes={start}-', 'If-Range': etag}
    return urlopen(Request(url, headers=headers), timeout=TIMEOUT)


def _receive(answer: HTTPResponse, file: BinaryIO, bar: tqdm) -> None:
    """Write an answer behind what is there, or, if it is the whole file, in its place.

    Raises:
        _BrokenError: It ends early, or stalls.
    """
    if answer.status != 206:
        file.seek(0)
        file.truncate()
    length = answer.headers.get('Content-Length')
    total = file.tell() + int(length) if length else None
    bar.reset(total)
    bar.update(file.tell())
    while data := _read(answer):
        file.write(data)
        bar.update(len(data))
    if total is not None and file.tell() < total:
        raise _BrokenError(f'the connection broke after {file.tell()} of {total} bytes')


def _read(answer: HTTPResponse) -> bytes:
    try:
        return answer.read(CHUNK)
    except (OSError, HTTPException) as error:
        raise _BrokenError(_reason(error)) from error


def _reason(error: Exception) -> str:
    if isinstance(error, URLError) and not isinstance(error, HTTPError):
        error = error.reason if isinstance(error.reason, Exception) else error
    if isinstance(error, TimeoutError):
        return f'nothing came for {TIMEOUT:g} seconds'
    return str(error) or type(error).__name__
