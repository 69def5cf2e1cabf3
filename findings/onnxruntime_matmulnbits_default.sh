#!/usr/bin/env bash
# onnxruntime 1.32.0: MatMulNBits with 8-bit weights is some hundred times slower unless accuracy_level=4 is given.
#
# Expected: the operator's default (accuracy_level 0) multiplies one row of states by packed 8-bit weights about as fast
#           as by 4-bit ones, whose default path is quick: half the numbers, so about twice the time.
# Seen:     on the CPU one row takes 20 to 180 times as long with 8 bits as with 4 (35 ms instead of 0.5 ms for 4,864
#           rows of 896 numbers); with accuracy_level=4, states rounded to 8 bits, both are quick (0.2 ms).
# Harm:     a model that is packed in 8 bits with the operator's defaults writes an answer slower than in float32, and
#           nothing says why.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
export PIP_DISABLE_PIP_VERSION_CHECK=1

cat > "$folder/product.py" << 'PYTHON'
import time

import numpy as np
import onnxruntime
from onnx import TensorProto, helper, numpy_helper

ROWS, WIDTH, BLOCK = 4864, 896, 32
random = np.random.default_rng(0)
states = random.standard_normal((1, WIDTH)).astype(np.float32)


def milliseconds(bits, level):
    codes = random.integers(0, 255, (ROWS, WIDTH // BLOCK, BLOCK * bits // 8), dtype=np.uint8)
    scales = np.full(ROWS * WIDTH // BLOCK, 0.01, np.float32)
    sizes = {"K": WIDTH, "N": ROWS, "bits": bits, "block_size": BLOCK, "accuracy_level": level}
    node = helper.make_node("MatMulNBits", ["x", "codes", "scales"], ["y"], domain="com.microsoft", **sizes)
    weights = [numpy_helper.from_array(codes, "codes"), numpy_helper.from_array(scales, "scales")]
    sizes = {"x": WIDTH, "y": ROWS}
    ends = [helper.make_tensor_value_info(name, TensorProto.FLOAT, ["n", size]) for name, size in sizes.items()]
    graph = helper.make_graph([node], "product", ends[:1], ends[1:], weights)
    domains = [helper.make_opsetid("", 21), helper.make_opsetid("com.microsoft", 1)]
    model = helper.make_model(graph, opset_imports=domains, ir_version=10)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    took = []
    for _ in range(12):
        start = time.perf_counter()
        session.run(None, {"x": states})
        took.append(time.perf_counter() - start)
    return 1000 * sorted(took)[2]


print("onnxruntime", onnxruntime.__version__)
found = {(bits, level): milliseconds(bits, level) for bits in (4, 8) for level in (0, 4)}
for (bits, level), took in found.items():
    print(f"{bits} bits, accuracy_level {level}: {took:.2f} ms a row")
print("8 bits by default, more than 10 times as slow as with 4 bits:", found[8, 0] > 10 * found[4, 0])
print("8 bits by default, more than 10 times as slow as with accuracy_level 4:", found[8, 0] > 10 * found[8, 4])
PYTHON

python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install -qq "onnxruntime==1.32.0" "onnx==1.23.2" "numpy==2.4.6"
"$folder/venv/bin/python" "$folder/product.py" > "$folder/seen"
cat "$folder/seen"
grep -qF "as slow as with 4 bits: True" "$folder/seen"
grep -qF "as slow as with accuracy_level 4: True" "$folder/seen"
