"""Writes resnet_golden.json: what PyTorch says about small networks whose weights follow a formula.

A plain implementation of the design's 3D ResNets, written independently of the Rust code: the logits come
from an ordinary forward pass and the map from Grad-CAM by autograd, before ReLU. Needs torch (CPU) only:

    python3 tests/golden/resnet_golden.py > tests/golden/resnet_golden.json
"""

import json

import torch
from torch import nn
from torch.nn import functional as F

BLOCKS = {"resnet10": [1, 1, 1, 1], "resnet18": [2, 2, 2, 2], "resnet34": [3, 4, 6, 3], "resnet50": [3, 4, 6, 3]}
TYPE_B = {"resnet10", "resnet50"}


class ZeroPaddedShortcut(nn.Module):
    """Type A: subsample, then channels of zeros."""

    def __init__(self, channels, stride):
        super().__init__()
        self.channels, self.stride = channels, stride

    def forward(self, x):
        x = F.avg_pool3d(x, kernel_size=1, stride=self.stride)
        zeros = x.new_zeros(x.shape[0], self.channels - x.shape[1], *x.shape[2:])
        return torch.cat([x, zeros], dim=1)


class Basic(nn.Module):
    expansion = 1

    def __init__(self, inside, planes, stride, dilation, downsample):
        super().__init__()
        self.conv1 = nn.Conv3d(inside, planes, 3, stride, dilation, dilation, bias=False)
        self.bn1 = nn.BatchNorm3d(planes)
        self.conv2 = nn.Conv3d(planes, planes, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm3d(planes)
        self.downsample = downsample

    def forward(self, x):
        y = F.relu(self.bn1(self.conv1(x)))
        y = self.bn2(self.conv2(y))
        return F.relu(y + (x if self.downsample is None else self.downsample(x)))


class Bottleneck(nn.Module):
    expansion = 4

    def __init__(self, inside, planes, stride, dilation, downsample):
        super().__init__()
        self.conv1 = nn.Conv3d(inside, planes, 1, bias=False)
        self.bn1 = nn.BatchNorm3d(planes)
        self.conv2 = nn.Conv3d(planes, planes, 3, stride, dilation, dilation, bias=False)
        self.bn2 = nn.BatchNorm3d(planes)
        self.conv3 = nn.Conv3d(planes, planes * 4, 1, bias=False)
        self.bn3 = nn.BatchNorm3d(planes * 4)
        self.downsample = downsample

    def forward(self, x):
        y = F.relu(self.bn1(self.conv1(x)))
        y = F.relu(self.bn2(self.conv2(y)))
        y = self.bn3(self.conv3(y))
        return F.relu(y + (x if self.downsample is None else self.downsample(x)))


class ResNet(nn.Module):
    def __init__(self, name, width, geometry):
        super().__init__()
        block = Bottleneck if name == "resnet50" else Basic
        stem_stride = (1, 2, 2) if geometry == "paper" else (2, 2, 2)
        self.conv1 = nn.Conv3d(1, width, 7, stem_stride, 3, bias=False)
        self.bn1 = nn.BatchNorm3d(width)
        inside = width
        for stage, count in enumerate(BLOCKS[name]):
            planes = width * 2**stage
            outside = planes * block.expansion
            layers = []
            for index in range(count):
                stride = 2 if stage > 0 and index == 0 else 1
                dilation = 2 if geometry == "faithful" and stage >= 2 and index == 0 else 1
                downsample = None
                if stride != 1 or inside != outside:
                    if name in TYPE_B:
                        downsample = nn.Sequential(
                            nn.Conv3d(inside, outside, 1, stride, bias=False), nn.BatchNorm3d(outside)
                        )
                    else:
                        downsample = ZeroPaddedShortcut(outside, stride)
                layers.append(block(inside, planes, stride, dilation, downsample))
                inside = outside
            setattr(self, f"layer{stage + 1}", nn.Sequential(*layers))
        self.fc = nn.Linear(inside, 2)

    def features(self, x):
        x = F.max_pool3d(F.relu(self.bn1(self.conv1(x))), 3, 2, 1)
        return self.layer4(self.layer3(self.layer2(self.layer1(x))))

    def classify(self, features):
        return self.fc(F.adaptive_avg_pool3d(features, 1).flatten(1))


def wave(count, phase):
    """Values in -1..1 that any language computes alike: fractional parts of multiples of the golden ratio."""
    index = torch.arange(count, dtype=torch.float64)
    return 2 * torch.remainder((index + 1) * 0.6180339887498949 + phase * 0.7548776662466927, 1.0) - 1


def fill(net):
    """Weights by formula; `phase` numbers the tensors in the order of their names."""
    state = {k: v for k, v in net.state_dict().items() if not k.endswith("num_batches_tracked")}
    for phase, name in enumerate(sorted(state)):
        tensor = state[name]
        values = wave(tensor.numel(), phase)
        if tensor.dim() == 5:
            values = values * (3.0 / tensor[0].numel()) ** 0.5
        elif name.startswith("fc."):
            values = values
        elif name.endswith(".weight"):
            values = 1 + 0.25 * values
        elif name.endswith(".running_var"):
            values = 1 + 0.5 * values
        else:
            values = 0.2 * values
        tensor.copy_(values.float().reshape(tensor.shape))


def golden(name, width, geometry, shape):
    net = ResNet(name, width, geometry).eval()
    with torch.no_grad():
        fill(net)
    count = shape[0] * shape[1] * shape[2]
    volume = (2 * wave(count, 1000)).float().reshape(1, 1, *shape)
    features = net.features(volume)
    features.retain_grad()
    logits = net.classify(features)
    logits[0, 1].backward()
    weights = features.grad.mean(dim=(2, 3, 4), keepdim=True)
    cam = (weights * features).sum(dim=1, keepdim=True)
    trainable = sum(parameter.numel() for parameter in net.parameters())
    return {
        "architecture": name,
        "width": width,
        "geometry": geometry,
        "input": list(shape),
        "trainable_parameters": trainable,
        "map": list(cam.shape[2:]),
        "logits": logits.detach().flatten().tolist(),
        "cam": cam.detach().flatten().tolist(),
    }


if __name__ == "__main__":
    torch.set_num_threads(1)
    cases = [
        golden("resnet10", 4, "paper", (33, 64, 70)),
        golden("resnet18", 8, "paper", (33, 64, 70)),
        golden("resnet34", 4, "paper", (32, 65, 64)),
        golden("resnet50", 4, "paper", (33, 64, 70)),
        golden("resnet18", 4, "faithful", (65, 64, 70)),
    ]
    print(json.dumps(cases, indent=1))
