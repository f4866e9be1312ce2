"""Class activation maps and colours on models whose answer is known."""

import numpy as np
import pytest
import torch
from torch import nn

pytest.importorskip('sklearn')
pytest.importorskip('pytorch_grad_cam')

from pytorch_grad_cam.utils.model_targets import ClassifierOutputTarget

from cvt_backbone import CvT
from cvt_backbone.analysis.explain import cams
from cvt_backbone.analysis.explain.feature_maps import feature_maps, pca_colours
from helpers.tiny import TINY

BRIGHT = (slice(8, 32), slice(32, 64))  # rows and columns of the bright part of the image


def brightness_model():
    """A CvT whose channels 0 and 1 say bright and dark at every token, and nothing else."""
    model = CvT(TINY).eval()
    for stage in model.stages:
        stage.patch_embed.norm = nn.Identity()
        proj = stage.patch_embed.proj
        nn.init.zeros_(proj.weight)
        nn.init.zeros_(proj.bias)
        centre = proj.kernel_size[0] // 2
        proj.weight.data[:2, 0, centre, centre] = torch.tensor([1.0, -1.0])
        for block in stage.blocks:  # residuals alone
            for layer in (block.attn.proj, block.mlp.fc2):
                nn.init.zeros_(layer.weight)
                nn.init.zeros_(layer.bias)
    return model


class Pooled(nn.Module):
    """Scores: the mean of each channel of the last map, or the cls token."""

    def __init__(self, backbone):
        super().__init__()
        self.backbone = backbone

    def forward(self, image):
        last = self.backbone(image)[-1]
        return last.mean((2, 3)) if last.dim() == 4 else last


@pytest.fixture
def bright_image():
    image = torch.full((1, 3, 64, 96), -1.0)
    image[:, :, BRIGHT[0], BRIGHT[1]] = 1
    return image


@pytest.mark.parametrize('label, inside', [(0, True), (1, False)], ids=['bright', 'dark'])
def test_grad_cam_points_where_it_must(bright_image, label, inside):
    model = brightness_model()
    found = cams.grad_cam(model, Pooled(model).eval(), bright_image, ClassifierOutputTarget(label))
    assert [cam.shape for cam, _ in found] == [(16, 24), (8, 12), (4, 6)]
    expected = np.zeros((64, 96), bool)
    expected[BRIGHT] = True
    for cam, grid in found:
        rows, cols = ((grid.first + np.arange(n) * grid.step).astype(int) for n in cam.shape)
        np.testing.assert_allclose(cam, expected[np.ix_(rows, cols)] == inside, atol=1e-5)


def test_eigen_cam_finds_the_part_that_stands_out(bright_image):
    for cam, grid in cams.eigen_cam(brightness_model(), bright_image):
        rows, cols = ((grid.first + np.arange(n) * grid.step).astype(int) for n in cam.shape)
        bright = (bright_image[0, 0] > 0).numpy()[np.ix_(rows, cols)]
        np.testing.assert_allclose(cam, bright, atol=1e-5)


@pytest.mark.parametrize('out_type', ['featmap', 'cls_token', 'avg_featmap'])
def test_every_stage_gets_a_gradient(build, out_type):
    """With a cls token the map behind the last block has none; a stage may not be mistaken for the next one."""
    model = build(arch={'cls_token': (False, False, True)}, out_type=out_type, frozen_stages=0).eval()
    seen = []
    for score in (0, 1):
        found = cams.grad_cam(model, Pooled(model).eval(), torch.randn(1, 3, 64, 96), ClassifierOutputTarget(score))
        assert [cam.shape for cam, _ in found] == [(16, 24), (8, 12), (4, 6)]
        seen.append(found)
    assert all(any(found[i][0].any() for found in seen) for i in range(3)), 'weights of either sign'
    assert not any(module._forward_hooks for module in model.modules())


def test_eigen_cam_thins_out_large_maps(build, monkeypatch):
    monkeypatch.setattr(cams, 'MOST_TOKENS', 50)
    found = cams.eigen_cam(build(), torch.randn(1, 3, 64, 96))
    assert [(cam.shape, grid.step, grid.first) for cam, grid in found] == [
        ((6, 8), 12, 1),
        ((4, 6), 16, 1),
        ((4, 6), 16, 1),
    ]


def test_feature_maps_of_all_stages(build, image):
    model = build(out_indices=(2,)).eval()
    maps = feature_maps(model, image)
    assert [tuple(features.shape) for features in maps] == [(2, 16, 16, 8), (2, 8, 8, 16), (2, 4, 4, 32)]
    torch.testing.assert_close(maps[2].permute(0, 3, 1, 2), model(image)[0])


def test_colours_tell_regions_apart():
    features = np.zeros((6, 8, 5))
    features[:, 4:] = [1, 2, 0, 0, 1]
    colours = pca_colours(features)
    assert np.ptp(colours[:, :4], axis=(0, 1)).max() == np.ptp(colours[:, 4:], axis=(0, 1)).max() == 0
    assert abs(colours[0, 0, 0] - colours[0, 7, 0]) == 1
    assert pca_colours(np.ones((1, 1, 8))).tolist() == [[[0, 0, 0]]]
