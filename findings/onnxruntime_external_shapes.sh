#!/usr/bin/env bash
# onnxruntime 1.32.0: weights given beside a graph are taken, but not the shape of a Reshape among them.
#
# Expected: `SessionOptions.add_external_initializers` hands over any initializer that the graph names as external data,
#           so that a graph of a few hundred bytes can be opened over numbers that lie in memory.
# Seen:     a float weight is taken; the int64 shape of a Reshape given in the same way ends the opening with a
#           ShapeInferenceError ("Cannot parse data from external tensors"), though its numbers are at hand. With the
#           same shape inside the graph it opens.
# Harm:     who moves all initializers of a graph out of it, as for a large model, can't open it any more; shapes have to
#           stay inside.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
export PIP_DISABLE_PIP_VERSION_CHECK=1

cat > "$folder/shapes.py" << 'PYTHON'
import numpy as np
import onnxruntime
from onnx import TensorProto, helper, numpy_helper

weight, shape = np.arange(12, dtype=np.float32).reshape(3, 4), np.array([-1, 2, 2], np.int64)


def outside(name, values, kind):
    tensor = TensorProto(name=name, data_type=kind, dims=values.shape, data_location=TensorProto.EXTERNAL)
    tensor.external_data.add(key="location", value=name)
    return tensor


def opened(shape_inside):
    product = helper.make_node("MatMul", ["x", "weight"], ["h"])
    formed = helper.make_node("Reshape", ["h", "shape"], ["y"])
    held = numpy_helper.from_array(shape, "shape") if shape_inside else outside("shape", shape, TensorProto.INT64)
    x = helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 3])
    y = helper.make_tensor_value_info("y", TensorProto.FLOAT, ["n", 2, 2])
    weights = [outside("weight", weight, TensorProto.FLOAT), held]
    graph = helper.make_graph([product, formed], "shapes", [x], [y], weights)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)], ir_version=10)
    given = {"weight": weight} if shape_inside else {"weight": weight, "shape": shape}
    values = [onnxruntime.OrtValue.ortvalue_from_numpy(one) for one in given.values()]
    options = onnxruntime.SessionOptions()
    options.add_external_initializers(list(given), values)
    session = onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    return session.run(None, {"x": np.ones((2, 3), np.float32)})[0].shape


print("onnxruntime", onnxruntime.__version__)
print("shape inside the graph:", opened(shape_inside=True))
try:
    print("shape beside the graph:", opened(shape_inside=False))
except Exception as error:
    print("shape beside the graph:", "Cannot parse data from external tensors" in str(error))
PYTHON

python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install -qq "onnxruntime==1.32.0" "onnx==1.23.2" "numpy==2.4.6"
"$folder/venv/bin/python" "$folder/shapes.py" > "$folder/seen" 2> "$folder/errors"
cat "$folder/seen"
grep -qF "shape inside the graph: (2, 2, 2)" "$folder/seen"
grep -qF "shape beside the graph: True" "$folder/seen"
