"""What this library costs, beside what a program without it would pay: ``python -m benchmarks``."""
