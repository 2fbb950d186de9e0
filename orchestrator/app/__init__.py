"""Between the command line and the engine: what files, variables and notes say, as stores, inputs, services."""
