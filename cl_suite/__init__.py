"""cl-suite: continual and few-shot class-incremental learning."""

__version__ = "0.1.0"
