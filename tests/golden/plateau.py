"""Golden learning rates of torch.optim.lr_scheduler.ReduceLROnPlateau (PyTorch 2.13.0), written to plateau.json.

    python3 tests/golden/plateau.py > tests/golden/plateau.json
"""
import json
import random

import torch


def case(losses, factor, patience, learning_rate):
    parameter = torch.nn.Parameter(torch.zeros(1))
    optimiser = torch.optim.Adam([parameter], lr=learning_rate)
    scheduler = torch.optim.lr_scheduler.ReduceLROnPlateau(optimiser, mode="min", factor=factor, patience=patience)
    rates = []
    for loss in losses:
        optimiser.step()
        scheduler.step(loss)
        rates.append(optimiser.param_groups[0]["lr"])
    return {"factor": factor, "patience": patience, "learning_rate": learning_rate,
            "losses": losses, "learning_rates": rates}


random.seed(3)
print(json.dumps([
    case([1.0] * 20, 0.1, 5, 1e-3),                                             # ties
    case([1.0 - 1.2e-5 * i for i in range(20)], 0.1, 5, 1e-3),                    # each step below the threshold
    case([1.0 * (1 - 1.01e-4) ** i for i in range(8)] + [2.0] * 8, 0.1, 5, 1e-3),  # each just above, then a plateau
    case([0.7 + 0.1 * random.random() for _ in range(40)], 0.1, 2, 1e-3),       # reaches the smallest change
    case([0.7 - 0.001 * i + 0.02 * random.random() for i in range(60)], 0.5, 3, 0.01),
], indent=1))
