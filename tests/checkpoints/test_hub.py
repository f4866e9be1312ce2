"""Ids of the Hugging Face hub, with a server on this machine in its place."""

import hashlib
import json
from http.server import SimpleHTTPRequestHandler

import pytest

from cvt_backbone.archs import ZOO
from cvt_backbone.checkpoints import CheckpointError, locate, read
from cvt_backbone.checkpoints.huggingface import config_of_arch
from helpers import ROOT
from helpers.folder_server import serve
from helpers.foreign import Classifier, write_torch
from helpers.hostile import touch
from helpers.tools import python

hub = pytest.importorskip('huggingface_hub')


class Hub(SimpleHTTPRequestHandler):
    """Gives ``OWNER/NAME/FILE`` of its folder as OWNER/NAME/resolve/REVISION/FILE."""

    def log_message(self, *args):
        pass

    def translate_path(self, path):
        owner, name, _, revision, file = path.lstrip('/').split('/')
        return super().translate_path(f'/{owner}/{name}/{"" if revision == "main" else f"{revision}/"}{file}')

    def send_error(self, code, message=None, explain=None):
        self.send_response(code)
        self.send_header('X-Error-Code', 'EntryNotFound')
        self.end_headers()

    def end_headers(self):
        self.send_header('ETag', f'"{hashlib.md5(self.path.encode()).hexdigest()}"')
        self.send_header('X-Repo-Commit', '0123456789abcdef0123456789abcdef01234567')
        super().end_headers()


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A hub with one model, and an empty cache."""
    path = tmp_path / 'hub/owner/cvt-small'
    path.mkdir(parents=True)
    state = Classifier('cvt-nano', 3).official()
    write_torch(path / 'pytorch_model.bin', state)
    (path / 'config.json').write_text(json.dumps(config_of_arch(ZOO['cvt-nano'], 3, 3)))
    with serve(tmp_path / 'hub', Hub) as address:
        template = f'{address}/{{repo_id}}/resolve/{{revision}}/{{filename}}'
        monkeypatch.setattr(hub.constants, 'ENDPOINT', address)
        monkeypatch.setattr(hub.file_download, 'HUGGINGFACE_CO_URL_TEMPLATE', template)
        monkeypatch.setattr(hub.constants, 'HF_HUB_OFFLINE', False)
        monkeypatch.setattr(hub.constants, 'HF_HUB_CACHE', str(tmp_path / 'cache'))
        yield path


def test_weights_by_id(folder):
    for address in ('hf://owner/cvt-small', 'hf://owner/cvt-small/', 'hf://owner/cvt-small@main'):
        checkpoint = read(address)
        assert (checkpoint.arch_name, checkpoint.num_classes) == ('cvt-nano', 3)
    found = locate('hf://owner/cvt-small')
    assert {path.name for path in found.iterdir()} == {'config.json', 'pytorch_model.bin'}


def test_what_goes_wrong(folder, tmp_path):
    write_torch(folder / 'pytorch_model.bin', {'weight': touch(tmp_path / 'ran')})
    with pytest.raises(CheckpointError, match='asks for'):
        read('hf://owner/cvt-small')
    assert not (tmp_path / 'ran').exists()
    with pytest.raises(CheckpointError, match=r'^hf://owner/nothing cannot be fetched: .*[Nn]ot [Ff]ound'):
        read('hf://owner/nothing')
    (folder / 'pytorch_model.bin').rename(folder / 'tf_model.h5')
    with pytest.raises(CheckpointError, match=r'cvt-small@main cannot be fetched: .*pytorch_model\.bin'):
        read('hf://owner/cvt-small@main')


@pytest.mark.slow
def test_extra_that_is_missing():
    code = """
import sys
sys.modules['huggingface_hub'] = None
import cvt_backbone.checkpoints as checkpoints
try:
    checkpoints.read('hf://microsoft/cvt-13')
except checkpoints.CheckpointError as error:
    print(error)
"""
    done = python(code)
    assert 'needs huggingface_hub, which is not installed: pip install "cvt_backbone[hub]"' in done.stdout
    assert 'huggingface_hub' in (ROOT / 'requirements/hub.txt').read_text()
