"""How a model is dealt out over processes: the plans of DeepSpeed and FSDP2. Nothing here imports torch."""
