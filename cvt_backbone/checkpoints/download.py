"""Checkpoints behind an address."""

from __future__ import annotations

import hashlib
from pathlib import Path
from urllib.error import URLError
from urllib.parse import urlparse

import torch
from mmengine.dist import barrier, get_rank

from ..errors import CheckpointError


def fetch(url: str) -> Path:
    """Download a file into torch's cache, once; with several processes, the first one downloads.

    Args:
        url: An http or https address.

    Returns:
        The cached file.

    Raises:
        CheckpointError: Another kind of address, or the download failed; no part of a file is left behind.
    """
    address = urlparse(url)
    if address.scheme not in ('http', 'https'):
        raise CheckpointError(
            f'{url}: only http and https addresses are downloaded; fetch it yourself and give the path'
        )
    digest = hashlib.sha256(url.encode()).hexdigest()[:8]
    target = Path(torch.hub.get_dir()) / 'checkpoints' / f'{digest}-{Path(address.path).name}'
    problem = None
    if get_rank() == 0 and not target.is_file():
        target.parent.mkdir(parents=True, exist_ok=True)
        try:
            torch.hub.download_url_to_file(url, str(target))  # to a temporary name, then renamed
        except (URLError, OSError) as error:
            problem = error
    barrier()
    if not target.is_file():
        raise CheckpointError(f'{url} cannot be downloaded: {problem or "the first process failed"}') from problem
    return target
