"""What a recipe costs, from its numbers alone: FLOPs, parameters, memory, traffic. Torch only draws masks and times."""
