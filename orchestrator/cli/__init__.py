"""The command line. One file per verb, imported when the verb is called: start-up is imports."""
