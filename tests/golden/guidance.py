"""Writes guidance.json: what PyTorch says about the loss that lesion masks add while a network learns.

After the description of src/trainer/guidance.rs, not after its code: cells are cut out of the volume one by one and not
pooled, the cross-entropy is spelled out, and subjects whose lesion is unknown are taken out of the batch and not given
a weight. Networks, weights and volumes are those of resnet_golden.py, in training mode and 64 bits; a lesion is a list
of boxes with the share of their voxels that is lesion, `null` where it is unknown. Per case: the loss of the guidance
alone, and the gradient of cross-entropy and guidance together by every parameter that learns, the network's and then
the guidance's, as sums with three waves (training.py). Needs torch:

    python3 tests/golden/guidance.py > tests/golden/guidance.json
"""

import itertools
import json

import torch
from torch import nn
from torch.nn import functional as F

from resnet_golden import ResNet, fill, wave
from training import freeze, number, sums

EARLY_WEIGHT, LATE_WEIGHT = 20, 15
HC, FCD = 0, 1


def stride_of(geometry, stage):
    """Voxels per cell behind a stage: the stem's stride, its pooling, and the stages from the second."""
    return [stem * 2 * 2 ** (stage - 1) for stem in ((1, 2, 2) if geometry == "paper" else (2, 2, 2))]


def of_cells(lesions, stride, shape, judge):
    """What `judge` says of the voxels around each cell's centre, `stride · i`; beyond the volume there is no lesion."""
    told = torch.zeros(lesions.shape[0], 1, *shape, dtype=torch.float64)
    for cell in itertools.product(*map(range, shape)):
        starts = [index * step - step // 2 for index, step in zip(cell, stride)]
        window = [slice(max(start, 0), start + step) for start, step in zip(starts, stride)]
        told[(slice(None), 0, *cell)] = judge(lesions[(slice(None), 0, *window)].flatten(1))
    return told


def cross_entropy(logits, targets, weight):
    """Mean over cells of −(w · t · log p + (1 − t) · log(1 − p))."""
    return (weight * targets * F.softplus(-logits) + (1 - targets) * F.softplus(logits)).mean()


def each_cell(features, weight, bias):
    """A linear classifier of every cell's channels."""
    return (features * weight.reshape(1, -1, 1, 1, 1)).sum(dim=1, keepdim=True) + bias


def stages(net, x):
    x = F.max_pool3d(F.relu(net.bn1(net.conv1(x))), 3, 2, 1)
    for layer in (net.layer1, net.layer2, net.layer3, net.layer4):
        x = layer(x)
        yield x


def guidance(net, geometry, outputs, heads, lesions, known):
    if not any(known):
        return torch.zeros((), dtype=torch.float64)
    lesions, outputs = lesions[known], [output[known] for output in outputs]
    difference = net.fc.weight[FCD] - net.fc.weight[HC]
    said = each_cell(outputs[3], difference, heads["map.offset"])
    reached = of_cells(lesions, stride_of(geometry, 4), said.shape[2:], lambda voxels: voxels.amax(dim=1))
    loss = cross_entropy(said, reached, LATE_WEIGHT)
    for stage in (1, 2):
        if f"stage{stage}.weight" in heads:
            said = each_cell(outputs[stage - 1], heads[f"stage{stage}.weight"], heads[f"stage{stage}.bias"])
            stride = stride_of(geometry, stage)
            voxels_of_cell = stride[0] * stride[1] * stride[2]
            share = of_cells(lesions, stride, said.shape[2:], lambda voxels: voxels.sum(dim=1) / voxels_of_cell)
            loss = loss + cross_entropy(said, share, EARLY_WEIGHT)
    return loss


def drawn(boxes, shape):
    lesion = torch.zeros(shape, dtype=torch.float64)
    for box in boxes or []:
        lesion[tuple(slice(start, end) for start, end in zip(box["from"], box["to"]))] = box["share"]
    return lesion


def case(geometry, shape, subjects, weight, trainable="all"):
    width = 2
    net = ResNet("resnet10", width, geometry)
    with torch.no_grad():
        fill(net)
    net.double().train()
    freeze(net, trainable)
    sizes = {}
    if trainable == "all":
        for stage in (1, 2):
            sizes[f"stage{stage}.weight"] = width * 2 ** (stage - 1)
            sizes[f"stage{stage}.bias"] = 1
    sizes["map.offset"] = 1
    heads = {
        name: wave(size, 4000 + index).float().double().requires_grad_()
        for index, (name, size) in enumerate(sizes.items())
    }

    count = len(subjects)
    volumes = (2 * wave(count * shape[0] * shape[1] * shape[2], 1000)).float().double().reshape(count, 1, *shape)
    classes = [HC if boxes == [] else FCD for boxes in subjects]
    lesions = torch.stack([drawn(boxes, shape) for boxes in subjects]).unsqueeze(1)
    known = [boxes is not None for boxes in subjects]
    outputs = list(stages(net, volumes))
    loss = weight * guidance(net, geometry, outputs, heads, lesions, known)
    logits = net.classify(outputs[3])
    learning = [(name, p) for name, p in net.named_parameters() if p.requires_grad] + list(heads.items())
    whole = F.cross_entropy(logits, torch.tensor(classes)) + loss
    gradients = torch.autograd.grad(whole, [p for _, p in learning])
    return {
        "architecture": "resnet10",
        "width": width,
        "geometry": geometry,
        "input": list(shape),
        "trainable": trainable,
        "weight": weight,
        "classes": classes,
        "lesions": subjects,
        "loss": number(loss.item()),
        "learning": [name for name, _ in learning],
        "gradients": [sums(gradient) for gradient in gradients],
    }


def box(start, end, share=1.0):
    return {"from": start, "to": end, "share": share}


if __name__ == "__main__":
    torch.set_num_threads(1)
    strided, faithful = (17, 33, 34), (33, 33, 34)
    # Across cells, and up to the volume's last voxels; a share below 1 is what turning makes of an edge.
    across = [box([3, 5, 6], [9, 14, 13]), box([9, 5, 6], [11, 14, 13], 0.375)]
    at_the_end = [box([13, 27, 30], [17, 33, 34])]
    cases = [
        case("paper", strided, [across, []], 1.0),
        case("paper", strided, [at_the_end, None, []], 0.7),
        case("paper", strided, [None, [], across, None], 1.0),
        case("paper", strided, [across, None, []], 1.0, trainable="layer4"),
        case("faithful", faithful, [across, at_the_end], 1.0),
    ]
    print(json.dumps(cases, separators=(",", ":")).replace('{"architecture"', '\n{"architecture"'))
