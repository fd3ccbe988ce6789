"""cl-suite: continual and few-shot class-incremental learning."""

__version__ = "0.2.0"
