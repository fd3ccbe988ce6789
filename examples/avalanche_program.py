"""TEEN in a plain Avalanche program: six digits first, then two more in each of two sessions."""

import torch
from avalanche.benchmarks import class_incremental_benchmark
from avalanche.benchmarks.utils import as_classification_dataset
from avalanche.evaluation.metrics import accuracy_metrics
from avalanche.models import SimpleMLP
from avalanche.training.plugins import EvaluationPlugin
from avalanche.training.templates import SupervisedTemplate
from sklearn.datasets import load_digits
from torch.utils.data import TensorDataset

from cl_suite.strategies import TEENPlugin

images, labels = load_digits(return_X_y=True)  # 1,797 digits of 8 x 8 pixels


def half(rows: slice):
    data = TensorDataset(torch.tensor(images[rows] / 16).float(), torch.tensor(labels[rows]))
    data.targets = labels[rows].tolist()
    return as_classification_dataset(data)


benchmark = class_incremental_benchmark(
    {"train": half(slice(0, None, 2)), "test": half(slice(1, None, 2))},
    class_order=list(range(10)),
    num_classes_per_exp=[6, 2, 2],
)

torch.manual_seed(0)
model = SimpleMLP(input_size=64, hidden_size=128)
strategy = SupervisedTemplate(
    model=model,
    optimizer=torch.optim.SGD(model.parameters(), lr=0.05, momentum=0.9),
    criterion=torch.nn.CrossEntropyLoss(),
    train_mb_size=32,
    train_epochs=20,
    plugins=[TEENPlugin(softmax_t=16.0, shift_weight=0.1)],
    evaluator=EvaluationPlugin(accuracy_metrics(stream=True), loggers=[]),
)
for session, experience in enumerate(benchmark.train_stream):
    strategy.train(experience)
    results = strategy.eval(benchmark.test_stream[: session + 1])
    print(session, results["Top1_Acc_Stream/eval_phase/test_stream"])
