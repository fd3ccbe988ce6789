"""Predicts, learns a class, predicts again, without PyTorch: NAME.onnx LABEL QUERY PICTURE..."""

import sys
from pathlib import Path

import numpy as np
import onnxruntime
from PIL import Image, ImageOps

path, label, query, *shots = sys.argv[1:]
classes_path = Path(path).with_suffix(".classes.npz")
classes = dict(np.load(classes_path))
graph = onnxruntime.InferenceSession(path)
new_row = onnxruntime.InferenceSession(classes["row_graph"].tobytes())


def run(picture, *outputs):
    image = ImageOps.exif_transpose(Image.open(picture)).convert("RGB")
    inputs = {name: classes[name] for name in ("keys", "offsets", "scale", "threshold")}
    inputs["image"] = np.asarray(image).transpose(2, 0, 1)[None]
    return [output[0] for output in graph.run(list(outputs), inputs)]


def predict():
    probabilities, unknown = run(query, "probabilities", "unknown")
    best = probabilities.argmax()
    print(classes["labels"][best], f"{probabilities[best]:.4f}", "(unknown)" if unknown else "")


predict()
embeddings = np.stack([run(picture, "embedding")[0] for picture in shots])
added = [[label], *new_row.run(["key", "offset"], {"embeddings": embeddings})]
for name, rows in zip(("labels", "keys", "offsets"), added, strict=True):
    classes[name] = np.concatenate([classes[name], rows])
predict()
np.savez(classes_path, **classes)
