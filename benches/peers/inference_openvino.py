"""One ONNX file on OpenVINO's own runtime: one timed run, in seconds, with its logit, for each line on standard input.

    python3 benches/peers/inference_openvino.py fold_0.onnx fp32 2
"""
import sys
import time
from pathlib import Path

import numpy as np
import openvino as ov
from openvino import properties

path, precision, threads = sys.argv[1:]
core = ov.Core()
compiled = core.compile_model(
    core.read_model(path),
    "CPU",
    {
        properties.hint.performance_mode: properties.hint.PerformanceMode.LATENCY,
        properties.hint.inference_precision: ov.Type.bf16 if precision == "bf16" else ov.Type.f32,
        properties.inference_num_threads: int(threads),
    },
)
shape = tuple(compiled.input("input").shape)
volume = np.sin(np.arange(np.prod(shape), dtype=np.float32) * np.float32(0.37)).reshape(shape)
tensor = ov.Tensor(volume, shared_memory=True)
request = compiled.create_infer_request()
for _ in sys.stdin:
    began = time.perf_counter()
    request.infer({"input": tensor})
    seconds = time.perf_counter() - began
    logits = request.get_tensor("logits").data
    print(seconds, float(logits[0, 1]) - float(logits[0, 0]), flush=True)
status = Path("/proc/self/status").read_text()
peak = next(line for line in status.splitlines() if line.startswith("VmHWM:"))
print(int(peak.split()[1]) * 1024 / 1e6)
