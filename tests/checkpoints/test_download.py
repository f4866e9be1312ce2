"""Downloads: once, whole or not at all, whatever the server does."""

import re
import threading
import time
from pathlib import Path

import pytest
import torch

from cvt_backbone.checkpoints import CheckpointError, download, locate, read
from cvt_backbone.errors import InputError
from helpers.foreign import Classifier, write_torch
from helpers.server import serve
from helpers.tiny import TINY


@pytest.fixture(scope='module')
def source(tmp_path_factory):
    return write_torch(tmp_path_factory.mktemp('weights') / 'w.pth', Classifier(TINY).official())


@pytest.fixture
def server(source, tmp_path, monkeypatch):
    monkeypatch.setenv('TORCH_HOME', str(tmp_path / 'torch'))
    monkeypatch.setattr(download, 'TIMEOUT', 0.5)
    monkeypatch.setattr(download, 'CHUNK', 1000)
    with serve(source.read_bytes()) as server:
        yield server


def kept():
    """What is in the cache, but for locks."""
    folder = Path(torch.hub.get_dir()) / 'checkpoints'
    return [path for path in folder.glob('*') if path.suffix != '.lock'] if folder.is_dir() else []


def test_an_address_is_fetched_once(server, source, capsys):
    url = server.url('whole', 'w.pth?download=true')
    first, again = locate(url), locate(url)
    assert first == again == download.cache_path(url)
    assert re.fullmatch(r'[0-9a-f]{8}-w\.pth', first.name)
    assert first.read_bytes() == source.read_bytes()
    assert [path for path, _ in server.requests] == ['/whole/w.pth?download=true']
    assert kept() == [first]
    bar = capsys.readouterr().err
    assert 'downloading w.pth: 100%' in bar
    state, expected = read(url, TINY).state, read(source, TINY).state
    assert all(torch.equal(state[name], tensor) for name, tensor in expected.items())
    assert len(server.requests) == 1


def test_files_of_one_name_stay_apart(server):
    assert locate(server.url('whole', 'a/model.bin')) != locate(server.url('whole', 'b/model.bin'))
    assert len(kept()) == 2


@pytest.mark.slow
@pytest.mark.parametrize('manner', ['breaks', 'restarts', 'changes'])
def test_a_broken_connection_is_taken_up_again(server, source, manner):
    assert locate(server.url(manner)).read_bytes() == source.read_bytes()
    size = len(source.read_bytes())
    ranges = [asked for _, asked in server.requests]
    third, half = size // 3, size // 2
    if manner == 'breaks':
        assert ranges == [None, *(f'bytes={i * third}-' for i in range(1, 3 + (size % 3 > 0)))]
    else:
        assert ranges == [None, f'bytes={half}-']


@pytest.mark.slow
@pytest.mark.parametrize(
    ('manner', 'reason', 'requests'),
    [
        ('missing', 'cannot be downloaded: HTTP Error 404: Not Found', 1),
        ('broken', 'cannot be downloaded: HTTP Error 500: Internal Server Error', 1),
        ('truncated', r'cannot be downloaded: the connection broke after \d+ of \d+ bytes', 2),
        ('stalled', r'cannot be downloaded: nothing came for 0\.5 seconds', 2),
        ('silent', r'cannot be downloaded: nothing came for 0\.5 seconds', 1),
        ('page', 'does not give a checkpoint: what came is no checkpoint: neither a torch file, nor', 1),
    ],
)
def test_what_cannot_be_downloaded_leaves_nothing(server, manner, reason, requests):
    url = server.url(manner)
    start = time.time()
    with pytest.raises(CheckpointError, match=reason) as raised:
        read(url, TINY)
    assert time.time() - start < 5
    assert str(raised.value).startswith(f'{url} ')
    assert f'Fetch the file by hand and save it as {download.cache_path(url)}' in str(raised.value)
    assert '\n' not in str(raised.value)
    assert len(server.requests) == requests
    assert kept() == []
    download.cache_path(url).write_bytes(server.content)  # by hand
    assert read(url, TINY).num_classes == 7
    assert len(server.requests) == requests


def test_what_a_killed_download_left_is_swept_away(server):
    target = download.cache_path(server.url('whole'))
    target.parent.mkdir(parents=True)
    left = target.with_name(f'.{target.name}.123.part')
    other = target.with_name('.other.pth.123.part')
    for path in (left, other):
        path.write_bytes(b'half')
    locate(server.url('whole'))
    assert sorted(kept()) == sorted([target, other])


def test_several_at_a_time_download_once(server, source):
    found = []
    threads = [threading.Thread(target=lambda: found.append(locate(server.url('whole')))) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [path.read_bytes() == source.read_bytes() for path in found] == [True] * 4
    assert len(server.requests) == 1


def test_a_cache_that_cannot_be_written(server, tmp_path, monkeypatch):
    (tmp_path / 'file').touch()
    monkeypatch.setenv('TORCH_HOME', str(tmp_path / 'file'))
    with pytest.raises(InputError, match=r'TORCH_HOME: cannot write into .*file/hub/checkpoints'):
        locate(server.url('whole'))
    assert server.requests == []


def test_a_full_disk(server, monkeypatch):
    def full(answer, file, bar):
        file.write(b'x')
        raise OSError(28, 'No space left on device')

    monkeypatch.setattr(download, '_receive', full)
    with pytest.raises(CheckpointError, match='No space left on device'):
        locate(server.url('whole'))
    assert kept() == []
