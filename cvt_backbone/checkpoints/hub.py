"""Weights of the Hugging Face hub by id: ``hf://microsoft/cvt-13``."""

from __future__ import annotations

import re
from pathlib import Path

from ..errors import CheckpointError
from .readers import FOLDER_FILES

SCHEME = 'hf://'
_ID = re.compile(r'hf://(?P<repo>[\w.-]+/[\w.-]+?)/?(?:@(?P<revision>[\w./-]+))?')


def fetch_from_hub(address: str) -> Path:
    """Download a model's weights and ``config.json`` into the hub's cache, once, however many processes ask for them.

    Args:
        address: ``hf://OWNER/NAME``, or ``hf://OWNER/NAME@REVISION`` with a branch, tag or commit.

    Returns:
        The folder with both files.

    Raises:
        CheckpointError: It is no such id, ``huggingface_hub`` is not installed, or the hub does not give the files.
    """
    match = _ID.fullmatch(address)
    if match is None:
        raise CheckpointError(f'{address}: give a model of the hub as hf://OWNER/NAME or hf://OWNER/NAME@REVISION')
    try:
        from huggingface_hub import hf_hub_download
        from huggingface_hub.errors import EntryNotFoundError
    except ImportError as error:
        raise CheckpointError(
            f'{address} needs huggingface_hub, which is not installed: pip install "cvt_backbone[hub]", or give the '
            f'https address of the file'
        ) from error

    def get(name: str) -> Path:
        return Path(hf_hub_download(match['repo'], name, revision=match['revision']))

    try:
        get('config.json')
        for name in FOLDER_FILES:
            try:
                return get(name).parent
            except EntryNotFoundError as error:  # without a network also: it is not in the cache
                problem = error
        raise problem
    except Exception as error:  # of the hub, of its cache, of the network
        raise CheckpointError(f'{address} cannot be fetched: {" ".join(str(error).split())}') from error
