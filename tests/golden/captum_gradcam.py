"""Writes captum_gradcam.json: Captum's LayerGradCam, with its own defaults, on a network of resnet_golden.py.

The raw map of the last stage (no ReLU), and its interpolation to the input grid, nearest (Captum's default, profile
`paper`) and trilinear, at every 31st voxel. Needs torch and captum:

    python3 tests/golden/captum_gradcam.py > tests/golden/captum_gradcam.json
"""

import json

import torch
from captum.attr import LayerAttribution, LayerGradCam
from resnet_golden import ResNet, fill, wave

EVERY = 31


class Logits(torch.nn.Module):
    def __init__(self, net):
        super().__init__()
        self.net = net

    def forward(self, x):
        return self.net.classify(self.net.features(x))


def golden(name, width, geometry, shape):
    net = ResNet(name, width, geometry).eval()
    with torch.no_grad():
        fill(net)
    volume = (2 * wave(shape[0] * shape[1] * shape[2], 1000)).float().reshape(1, 1, *shape)
    raw = LayerGradCam(Logits(net), net.layer4).attribute(volume, target=1).detach()
    probe = lambda mode: LayerAttribution.interpolate(raw, shape, mode).flatten()[::EVERY]
    # Which cell each voxel shows, rather than its value: a file of numbers that repeat says less.
    cells = torch.arange(raw.numel(), dtype=torch.float32).reshape(raw.shape)
    shown = LayerAttribution.interpolate(cells, shape, "nearest").flatten()[::EVERY]
    assert torch.equal(probe("nearest"), raw.flatten()[shown.long()])
    return {
        "architecture": name,
        "width": width,
        "geometry": geometry,
        "input": list(shape),
        "map": list(raw.shape[2:]),
        "raw": raw.flatten().tolist(),
        "every": EVERY,
        "nearest_cells": shown.long().tolist(),
    }


if __name__ == "__main__":
    torch.set_num_threads(1)
    cases = [
        golden("resnet18", 4, "paper", (33, 40, 47)),
        golden("resnet50", 2, "paper", (17, 33, 34)),
        golden("resnet10", 2, "faithful", (33, 34, 35)),
    ]
    print(json.dumps(cases, separators=(",", ":")).replace('{"arch', '\n{"arch'))
