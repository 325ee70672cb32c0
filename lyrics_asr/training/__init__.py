"""Training.

Inference imports nothing from here, nor lhotse, wandb or peft. It does import accelerate where that is installed,
because transformers does.
"""
