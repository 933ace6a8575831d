"""Training: the model class, schedule, sampler, checkpoints."""
