"""What a training step costs in PyTorch: takes and prints what `fcdd-trainer bench-step` does.

A plain ResNet as one would write it (in-place ReLU, torch.optim.Adam, gradients set to None), with the network of
tests/golden/resnet_golden.py. Frozen layers have requires_grad off and their BatchNorms in evaluation mode, so autograd
keeps nothing for them either.

    python3 benches/peers/step_pytorch.py --architecture resnet18 --input 96,112,96 --batch 2
"""

import argparse
import json
import statistics
import sys
import time
from pathlib import Path

import torch
from torch import nn
from torch.nn import functional as F

sys.path.insert(0, str(Path(__file__).parents[2] / "tests" / "golden"))
import resnet_golden  # noqa: E402


class InPlace:
    """torch.nn.functional with ReLU in place, which is what every published ResNet does."""

    def __getattr__(self, name):
        return getattr(F, name)

    @staticmethod
    def relu(x):
        return F.relu(x, inplace=True)


resnet_golden.F = InPlace()

parser = argparse.ArgumentParser()
parser.add_argument("--architecture", required=True)
parser.add_argument("--width", type=int, default=64)
parser.add_argument("--input", required=True)
parser.add_argument("--batch", type=int, default=2)
parser.add_argument("--trainable", choices=["all", "layer4"], default="all")
parser.add_argument("--steps", type=int, default=5)
parser.add_argument("--threads", type=int, default=2)
parser.add_argument("--device", default="cpu")
arguments = parser.parse_args()

torch.set_num_threads(arguments.threads)
net = resnet_golden.ResNet(arguments.architecture, arguments.width, "paper").to(arguments.device).train()
for name, module in net.named_modules():
    if arguments.trainable == "layer4" and not f"{name}.".startswith(("layer4.", "fc.")):
        for parameter in module.parameters(recurse=False):
            parameter.requires_grad = False
        if isinstance(module, nn.BatchNorm3d):
            module.eval()
optimizer = torch.optim.Adam([p for p in net.parameters() if p.requires_grad], lr=1e-3)
shape = [int(n) for n in arguments.input.split(",")]
volumes = torch.randn(arguments.batch, 1, *shape, device=arguments.device)
classes = torch.arange(arguments.batch, device=arguments.device) % 2

seconds = []
for index in range(arguments.steps + 1):
    start = time.perf_counter()
    optimizer.zero_grad(set_to_none=True)
    loss = F.cross_entropy(net.classify(net.features(volumes)), classes)
    loss.backward()
    optimizer.step()
    loss.item()
    if arguments.device.startswith("cuda"):
        torch.cuda.synchronize()
    if index > 0:
        seconds.append(time.perf_counter() - start)

status = Path("/proc/self/status").read_text()
peak = next(line for line in status.splitlines() if line.startswith("VmHWM:"))
print(
    json.dumps(
        {
            "median_seconds": statistics.median_high(seconds),
            "seconds": seconds,
            "peak_resident_mb": int(peak.split()[1]) * 1024 / 1e6,
        }
    )
)
