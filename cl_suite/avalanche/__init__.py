"""All code that uses Avalanche; importing this package alone does not import the library."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from cl_suite.data.stream import Stream


def benchmark(stream: Stream) -> Any:
    """Return a stream as an Avalanche benchmark with a `train_stream` and a `test_stream`.

    Example:
        >>> from cl_suite.scenarios import Omniglot
        >>> omniglot = benchmark(Omniglot(base_classes=12, way=115).build())
        >>> len(omniglot.train_stream)
        3
    """
    from cl_suite.avalanche import api

    info = stream.info
    return api.benchmark(stream.train, stream.test, info.train_transform, info.eval_transform)
