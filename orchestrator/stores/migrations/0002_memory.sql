-- What agents remember over runs.
CREATE TABLE {prefix}memory (
    scope {id} NOT NULL,
    "key" {id} NOT NULL,
    "text" {text} NOT NULL,
    at {int} NOT NULL,
    by_run {id} NOT NULL,
    PRIMARY KEY (scope, "key")
) {clustered};
