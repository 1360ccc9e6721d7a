"""Writes training.json: what PyTorch says about training the networks of resnet_golden.py.

All in 64 bits: a ResNet-50 that trains on two small volumes amplifies rounding so much that two correct 32-bit
programs differ by percents. Per case: logits and loss of a batch of two, the gradient of every parameter, the parameters after one step of
torch.optim.Adam, and BatchNorm's running statistics after it. A tensor is given as its sums with three waves (a
tensor that differs anywhere has other sums), in the order of the state_dict, which keeps the file small. The dilated
network is MedicalNet's own geometry, for the claim that `faithful` computes its features, subsampled. Needs torch:

    python3 tests/golden/training.py > tests/golden/training.json
"""

import json

import torch
from torch import nn
from torch.nn import functional as F

import resnet_golden
from resnet_golden import ResNet, ZeroPaddedShortcut, fill, wave

WAVES = 3
LEARNING_RATE = 1e-3


def number(value):
    return float(f"{value:.9g}")


def sums(tensor):
    flat = tensor.detach().double().flatten()
    return [number(float((flat * wave(flat.numel(), 2000 + k)).sum())) for k in range(WAVES)]


def batch(shape):
    volumes = (2 * wave(2 * shape[0] * shape[1] * shape[2], 1000)).float().double().reshape(2, 1, *shape)
    return volumes, torch.tensor([0, 1])


class CutShortcut(ZeroPaddedShortcut):
    """As MedicalNet's code has it: `out.data` cuts the gradient."""

    def forward(self, x):
        return super().forward(x).detach()


def learns(name, trainable):
    return trainable == "all" or name.startswith(("layer4.", "fc."))


def freeze(net, trainable):
    """What does not learn keeps its weights; its batch normalisations stay in evaluation mode."""
    for name, module in net.named_modules():
        if not learns(name + ".", trainable):
            if isinstance(module, nn.BatchNorm3d):
                module.eval()
            for parameter in module.parameters(recurse=False):
                parameter.requires_grad = False


def case(architecture, width, geometry, shape, mode, trainable="all", detach_shortcut=False):
    resnet_golden.ZeroPaddedShortcut = CutShortcut if detach_shortcut else ZeroPaddedShortcut
    net = ResNet(architecture, width, geometry)
    with torch.no_grad():
        fill(net)
    net.double().train(mode == "train")
    freeze(net, trainable)
    learning = [(name, p) for name, p in net.named_parameters() if p.requires_grad]
    before = {name: p.detach().clone() for name, p in learning}
    optimizer = torch.optim.Adam([p for _, p in learning], lr=LEARNING_RATE)
    volumes, classes = batch(shape)
    logits = net.classify(net.features(volumes))
    loss = F.cross_entropy(logits, classes)
    loss.backward()
    gradients = [sums(p.grad) for _, p in learning]
    optimizer.step()
    return {
        "architecture": architecture,
        "width": width,
        "geometry": geometry,
        "input": list(shape),
        "mode": mode,
        "trainable": trainable,
        "detach_shortcut": detach_shortcut,
        "logits": [number(x) for x in logits.detach().flatten().tolist()],
        "loss": number(loss.item()),
        "learning": [name for name, _ in learning] if trainable != "all" else [],
        "gradients": gradients,
        # In units of the learning rate: a first step of Adam moves almost everything by almost one.
        "moved": [sums((p - before[name]) / LEARNING_RATE) for name, p in learning],
        "running": [
            sums(buffer) for name, buffer in net.named_buffers() if not name.endswith("num_batches_tracked")
        ],
    }


class Dilated(ResNet):
    """MedicalNet's geometry: stages 3 and 4 keep their resolution and dilate by 2 and 4."""

    def __init__(self, architecture, width):
        super().__init__(architecture, width, "faithful")
        for stage, dilation in ((self.layer3, 2), (self.layer4, 4)):
            for module in stage.modules():
                if isinstance(module, nn.Conv3d):
                    module.stride = (1, 1, 1)
                    if module.kernel_size == (3, 3, 3):
                        module.dilation = module.padding = (dilation,) * 3
                elif isinstance(module, ZeroPaddedShortcut):
                    module.stride = 1


def dilated(architecture, width, shape):
    resnet_golden.ZeroPaddedShortcut = ZeroPaddedShortcut
    net = Dilated(architecture, width).eval()
    volumes, _ = batch(shape)
    with torch.no_grad():
        fill(net)
        features = net.double().features(volumes)
    assert features.shape[2] == -(-shape[0] // 8)
    subsampled = features[:, :, ::4, ::4, ::4]
    return {
        "architecture": architecture,
        "width": width,
        "input": list(shape),
        "shape": list(subsampled.shape),
        "features": [number(x) for x in subsampled.flatten().tolist()],
    }


def adam():
    """Three steps of three parameters along gradients that span twelve orders of magnitude."""
    gradient = lambda step: wave(6, 3000 + step) * torch.tensor([1e3, 1.0, 1e-3, 1e-6, 1e-9, 0.0], dtype=torch.float64)
    parameter = nn.Parameter(wave(6, 3100).float())
    optimizer = torch.optim.Adam([parameter], lr=1e-2)
    after = []
    for step in range(4):
        if step == 3:
            optimizer.param_groups[0]["lr"] = 1e-3
        parameter.grad = gradient(step).float()
        optimizer.step()
        after.append(parameter.detach().double().tolist())
    state = optimizer.state[parameter]
    return {
        "after": after,
        "first_moment": state["exp_avg"].double().tolist(),
        "second_moment": state["exp_avg_sq"].double().tolist(),
    }


if __name__ == "__main__":
    torch.set_num_threads(1)
    strided, faithful = (17, 33, 34), (33, 33, 34)
    cases = [
        case(architecture, 2, "paper", strided, mode)
        for architecture in ("resnet10", "resnet18", "resnet34", "resnet50")
        for mode in ("train", "evaluate")
    ]
    cases.append(case("resnet10", 2, "faithful", faithful, "train"))
    cases.append(case("resnet18", 2, "faithful", faithful, "train"))
    cases.append(case("resnet18", 2, "paper", strided, "train", detach_shortcut=True))
    cases.append(case("resnet18", 2, "paper", strided, "train", trainable="layer4"))
    cases.append(case("resnet50", 2, "paper", strided, "train", trainable="layer4"))
    golden = {
        "cases": cases,
        "dilated": [dilated("resnet10", 2, (33, 47, 34)), dilated("resnet18", 2, (33, 47, 34)), dilated("resnet50", 1, (33, 33, 34))],
        "adam": adam(),
    }
    text = json.dumps(golden, separators=(",", ":"))
    print(text.replace('{"architecture"', '\n{"architecture"').replace('"adam"', '\n"adam"'))
