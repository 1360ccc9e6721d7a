"""Writes files like MedicalNet's into a folder: make_pth.py FOLDER. Exit status 77: there is no PyTorch here.

Weights by the formula of tests/golden/resnet_golden.py, in the zip container and in the legacy stream, on the CPU and
on `cuda:0` (which only the storages' tag says), and one file for each mistake.
"""

import collections
import sys
from pathlib import Path

try:
    import torch
except ImportError as error:
    print(error, file=sys.stderr)
    sys.exit(77)

sys.path.insert(0, str(Path(__file__).parent.parent / "golden"))
from resnet_golden import ResNet, fill  # noqa: E402

location = "cpu"
# Asked before PyTorch's own taggers (10 and up): what was saved on a GPU says so, and nothing else differs.
torch.serialization.register_package(0, lambda _: location, lambda *_: None)


def medicalnet(architecture, batches_tracked):
    net = ResNet(architecture, 2, "paper")
    with torch.no_grad():
        fill(net)
    state = collections.OrderedDict(("module." + key, value) for key, value in net.state_dict().items())
    for key in list(state):
        if key.startswith("module.fc.") or (key.endswith("num_batches_tracked") and not batches_tracked):
            del state[key]
    state["module.conv_seg.0.weight"] = torch.ones(4, 16, 2, 2, 2)
    state["module.conv_seg.0.bias"] = torch.ones(4)
    return state


def save(name, state, legacy, device="cpu"):
    global location
    location = device
    whole = {"ecoph": 30, "batch_id": 0, "state_dict": state, "optimizer": {"param_groups": [{"lr": 0.001}]}}
    torch.save(whole, folder / name, _use_new_zipfile_serialization=not legacy)


folder = Path(sys.argv[1])
for architecture in ("resnet10", "resnet18", "resnet34", "resnet50"):
    for legacy in (False, True):
        state = medicalnet(architecture, batches_tracked=not legacy)
        kind = "legacy" if legacy else "zip"
        save(f"{architecture}_{kind}.pth", state, legacy)
        save(f"{architecture}_{kind}_cuda0.pth", state, legacy, "cuda:0")
        assert b"cuda:0" in (folder / f"{architecture}_{kind}_cuda0.pth").read_bytes()

missing = medicalnet("resnet18", False)
del missing["module.layer3.1.bn2.running_var"]
save("missing.pth", missing, True)

unexpected = medicalnet("resnet18", False)
unexpected["module.layer5.0.conv1.weight"] = torch.ones(2)
save("unexpected.pth", unexpected, False)

with_fc = medicalnet("resnet18", False)
with_fc["module.fc.weight"] = torch.ones(2, 16)
save("with_fc.pth", with_fc, False)

double = medicalnet("resnet18", False)
double["module.conv1.weight"] = double["module.conv1.weight"].double()
save("double.pth", double, True)

not_finite = medicalnet("resnet18", False)
not_finite["module.layer1.0.conv1.weight"][0, 0, 0, 0, 0] = float("nan")
save("not_finite.pth", not_finite, False)

torch.save(medicalnet("resnet18", False), folder / "no_state_dict.pth")
