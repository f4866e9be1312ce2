"""Galleries: the same images by all models, with real models whose weights are random."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image

pytest.importorskip('mmdet')
pytest.importorskip('mmpretrain')
pytest.importorskip('mmseg')

import evidence_camvid as camvid
import evidence_gallery as gallery
import evidence_peers as peers

from cvt_backbone.data.digits import make_splits, write_scenes
from cvt_backbone.models import build_random

CHOSEN = ('cvt', 'convnext')


def save(work_dir, job, classes):
    path = gallery.last_checkpoint(work_dir, job)
    path.parent.mkdir(parents=True)
    state = build_random(job.cfg).state_dict()
    torch.save({'state_dict': state, 'meta': {'dataset_meta': {'classes': classes}}}, path)


def row_of(picture, index, count, columns=slice(60, None)):
    height = len(picture) // count
    return picture[index * height : (index + 1) * height, columns]


@pytest.mark.slow
def test_detections(tmp_path, monkeypatch):
    write_scenes(tmp_path / 'digits', make_splits(0)[1], 6, 160)
    monkeypatch.setattr(gallery, 'SCORE', 0.0)  # random weights are sure of nothing
    jobs = {peer: peers.detector(tmp_path, peer, 'random', 1e-3, 0, tmp_path) for peer in CHOSEN}
    assert gallery.draw_detections(tmp_path, jobs) is None
    for job in jobs.values():
        save(tmp_path, job, tuple('0123456789'))
    gallery.plots.save(gallery.draw_detections(tmp_path, jobs), tmp_path / 'gallery.png')
    picture = np.array(Image.open(tmp_path / 'gallery.png').convert('RGB')).astype(float)
    rows = [row_of(picture, i, 3) for i in range(3)]
    assert all(row.std() > 20 for row in rows)
    assert all(np.abs(rows[a] - rows[b]).mean() > 2 for a, b in ((0, 1), (0, 2), (1, 2)))


@pytest.mark.slow
def test_label_maps(tmp_path):
    (tmp_path / 'camvid/images/test').mkdir(parents=True)
    (tmp_path / 'camvid/annotations/test').mkdir(parents=True)
    labels = np.full((360, 480), 3, np.uint8)  # road below, void above
    labels[:180] = 255
    for i in range(6):
        Image.fromarray(np.full((360, 480, 3), 40 * i, np.uint8)).save(tmp_path / f'camvid/images/test/{i}.jpg')
        Image.fromarray(labels).save(tmp_path / f'camvid/annotations/test/{i}.png')
    jobs = {peer: camvid.training(tmp_path, peer, 1e-3, 0) for peer in CHOSEN}
    assert gallery.draw_label_maps(tmp_path, jobs) is None
    for job in jobs.values():
        save(tmp_path, job, camvid.CLASSES)
    figure = gallery.draw_label_maps(tmp_path, jobs)
    truth = figure.axes[6].images[0].get_array()
    assert truth.shape == (360, 480, 3)
    assert truth[0, 0].tolist() == [0, 0, 0]
    assert truth[-1, 0].tolist() == [128, 64, 128]
    assert [text.get_text() for text in figure.legends[0].get_texts()] == [*camvid.CLASSES, 'not labelled']
    assert [axes.texts[0].get_text() for axes in figure.axes[::6]] == ['image', 'ground truth', *CHOSEN]
    gallery.plots.save(figure, tmp_path / 'gallery.png')


def test_a_page_shows_its_gallery(tmp_path):
    notes = tmp_path / 'runs/peers'
    assert gallery.line(notes, 'peers_gallery.png', 'title', 'text') == ''
    (tmp_path / 'peers_gallery.png').touch()
    assert '[![title](peers_gallery.png)](peers_gallery.png)\n\ntext' in gallery.line(
        notes, 'peers_gallery.png', 'title', 'text'
    )
