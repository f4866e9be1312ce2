"""Write the labels of ImageNet ReaL or ImageNet-V2. The same as `cvt-backbone imagenet-labels`."""

from cvt_backbone.cli import imagenet_labels, run

run(imagenet_labels.main)
