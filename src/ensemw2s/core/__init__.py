"""Pure mathematics on tensors: no file, clock, device, global random stream or configuration."""
