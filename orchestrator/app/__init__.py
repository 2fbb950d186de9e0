"""Between the command line and the engine: what files, variables and notes say, turned into stores, inputs and services."""
